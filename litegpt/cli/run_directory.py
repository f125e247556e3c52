"""The directory that a training run fills: its own, or nobody's."""

import os
import tempfile
from pathlib import Path

from litegpt.cli.errors import InputError
from litegpt.formats.files import partial_name

LOG = "log.jsonl"
_FILES = (LOG, "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
_OF_A_RUN = {*_FILES, *map(partial_name, _FILES)}  # a run that was killed may have left partials


def claim(directory: Path) -> bool:
    """Makes sure that a run may write here; returns whether the directory is new.

    InputError if it holds anything but an earlier run (a downloaded model has no log.jsonl, and
    stays untouched), or if nothing can be written to it.
    """
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory}: a file; --out needs a directory")
    new = not directory.exists()
    if not new:
        held = set(os.listdir(directory))
        if held and (LOG not in held or held - _OF_A_RUN):
            something = min(held - _OF_A_RUN or held)
            raise InputError(
                f"{directory}: holds something else ({something}); "
                "--out needs a directory that is new, empty, or of an earlier run"
            )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        raise InputError(f"{directory}: can't be written to ({error.strerror})") from error
    return new


def release(directory: Path, new: bool) -> None:
    """Removes the directory again if claim made it and nothing came of the run."""
    if new and not os.listdir(directory):
        directory.rmdir()
