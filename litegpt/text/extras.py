"""Packages that not everybody needs: imported when they are, or the way to get them in one line."""

import importlib
from typing import Any


class MissingExtraError(ImportError):
    """A package of an extra isn't installed."""


def import_extra(module: str, extra: str, purpose: str) -> Any:
    """The module; MissingExtraError saying what to install if there is none."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        if error.name is not None and error.name.split(".")[0] != package:
            raise  # it is there, and broken
        raise MissingExtraError(
            f"{purpose} needs the package {package}: pip install 'litegpt-cpu[{extra}]'",
            name=package,
        ) from None
