"""Files and directories that are there whole, or as they were before."""

import errno
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path


def partial_name(name: str) -> str:
    """The hidden neighbour under which a file is written before it takes its name."""
    return f".{name}.partial"


def _discarded_name(name: str) -> str:
    return f".{name}.discarded"


def write_together(writers: Mapping[Path, Callable[[Path], None]]) -> None:
    """Calls each writer with a path beside its file; all written and on disk, they take place.

    If anything fails, every file is as it was before, and nothing lies about. A path that leads to
    a device or a pipe (/dev/null, for one) is refused: who may write there could replace it.
    """
    for path in writers:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise FileExistsError(errno.EEXIST, "not a file, which could be replaced", str(path))
    partials = {path: path.with_name(partial_name(path.name)) for path in writers}
    try:
        for path, write in writers.items():
            partial = partials[path]
            partial.touch()
            mode = partial.stat().st_mode  # as the umask wants it; a writer may be stricter
            write(partial)
            partial.chmod(mode)
            _sync(partial)
        for path, partial in partials.items():
            os.replace(partial, path)
    except OSError as error:
        if error.filename == os.fspath(partial):
            error.filename = os.fspath(path)  # the one that the caller knows
        raise
    finally:
        for partial in partials.values():
            with suppress(OSError):  # what went wrong before is what is to be heard of
                partial.unlink(missing_ok=True)
    for directory in {path.parent for path in writers}:
        _sync(directory)


def write_directory(
    directory: Path, fill: Callable[[Path], None], make_way: Callable[[], None] = lambda: None
) -> None:
    """Calls fill with an empty directory beside this one; all on disk, it takes its name.

    Just before that make_way is called. If anything fails, nothing lies about. There must be no
    such directory by then.
    """
    partial = directory.with_name(partial_name(directory.name))
    _remove(partial, ignore_errors=True)  # of a process that was killed
    partial.mkdir()
    try:
        fill(partial)
        for path in partial.iterdir():
            _sync(path)
        _sync(partial)
        make_way()
        partial.rename(directory)
    except BaseException:
        _remove(partial, ignore_errors=True)
        raise
    _sync(directory.parent)


def discard_directory(directory: Path) -> None:
    """Removes a directory: at once under its name, whatever happens while its files go."""
    hidden = directory.with_name(_discarded_name(directory.name))
    _remove(hidden, ignore_errors=True)
    directory.rename(hidden)
    _remove(hidden)


def remove_leftovers(directory: Path) -> None:
    """Removes what processes that were killed left of write_directory and discard_directory."""
    for ending in (partial_name("*"), _discarded_name("*")):
        for path in directory.glob(ending):
            _remove(path)


def _remove(directory: Path, ignore_errors: bool = False) -> None:
    import shutil  # not for every import of litegpt: it loads the compressors

    shutil.rmtree(directory, ignore_errors)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
