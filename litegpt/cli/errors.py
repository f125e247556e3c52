"""Mistakes of the user, in one line each."""

import re
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(Exception):
    """Something that the user has to change: `litegpt: error: ...`, exit code 2."""


@contextmanager
def bad_values(what: str = "", flags: Namespace | None = None) -> Iterator[None]:
    """A ValueError or IndexError within the block becomes an InputError about `what`.

    With flags, the library's names of arguments become those of the command line.
    """
    try:
        yield
    except (ValueError, IndexError) as error:
        message = str(error)
        for name in vars(flags) if flags else ():
            if "_" in name:  # others are words that a message may use as such
                message = re.sub(rf"\b{name}\b", "--" + name.replace("_", "-"), message)
        raise InputError(f"{what}: {message}" if what else message) from error


def check_backend() -> None:
    """Refuses a LITEGPT_BACKEND or LITEGPT_NUM_THREADS that can't be, before anything is made."""
    from litegpt import kernels

    with bad_values():
        kernels.backend()
