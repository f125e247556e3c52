"""The directory that a training run fills: its own, or nobody's."""

import fcntl
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from litegpt.cli.corpus import TOKENS
from litegpt.cli.errors import InputError
from litegpt.formats.files import partial_name
from litegpt.models.peft import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from litegpt.training.checkpoint import FOLDER

LOG, SAMPLES, REPORT = "log.jsonl", "samples.jsonl", "report.html"
_MODEL = "model.safetensors"
_FILES = (
    *(LOG, SAMPLES, REPORT, "config.json", _MODEL),
    *(TOKENS, "tokenizer.json", "tokenizer_config.json", "generation_config.json"),
    *(ADAPTER_CONFIG, ADAPTER_WEIGHTS),
)
# A run that was killed may have left partials.
_OF_A_RUN = {*_FILES, *map(partial_name, _FILES), FOLDER}


def check_replaceable(directory: Path, files: Collection[str], whose: str) -> None:
    """InputError if a directory exists and holds anything but such files, or their partials."""
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory}: a file; --out needs a directory")
    held = {path.name for path in directory.iterdir()} if directory.exists() else set()
    foreign = held - {*files, *map(partial_name, files)}
    if foreign:
        raise InputError(
            f"{directory}: holds something else ({min(foreign)}); "
            f"--out needs a directory that is new, empty, or {whose}"
        )


@contextmanager
def claimed(directory: Path, restart: bool) -> Iterator[None]:
    """Within the block the directory is this run's alone; one in which no run began is removed.

    InputError if it holds anything but an earlier run (a downloaded model has no log.jsonl, and
    stays untouched), a model without checkpoints unless the run restarts, if another process
    trains into it, or if nothing can be written to it.
    """
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory}: a file; --out needs a directory")
    new = not directory.exists()
    if not new:
        _check_held(directory, restart)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        raise InputError(f"{directory}: can't be written to ({error.strerror})") from error
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        _lock(descriptor, directory)
        yield
    finally:
        os.close(descriptor)  # and the lock goes, as it does when the process is killed
        if new and set(os.listdir(directory)) <= {TOKENS}:
            (directory / TOKENS).unlink(missing_ok=True)
            directory.rmdir()


def _check_held(directory: Path, restart: bool) -> None:
    held = set(os.listdir(directory))
    if held and (held - _OF_A_RUN or not held & {LOG, FOLDER, TOKENS, partial_name(TOKENS)}):
        something = min(held - _OF_A_RUN or held)
        raise InputError(
            f"{directory}: holds something else ({something}); "
            "--out needs a directory that is new, empty, or of an earlier run"
        )
    if _MODEL in held and FOLDER not in held and not restart:
        raise InputError(
            f"{directory}: holds a model, but no checkpoints of its run to go on from; "
            "--restart replaces it"
        )


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"{directory}: another process trains into it") from None
    except OSError:
        pass  # a file system without locks
