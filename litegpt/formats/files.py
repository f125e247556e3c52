"""Files that are there whole, or as they were before."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path


def partial_name(name: str) -> str:
    """The hidden neighbour under which a file is written before it takes its name."""
    return f".{name}.partial"


def write_together(writers: Mapping[Path, Callable[[Path], None]]) -> None:
    """Calls each writer with a path beside its file; all written and on disk, they take place.

    If anything fails, every file is as it was before, and nothing lies about.
    """
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
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)
    for directory in {path.parent for path in writers}:
        _sync(directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
