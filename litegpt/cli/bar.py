"""A bar that says how far work has come, and how long the rest will take."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(what: str, in_bytes: bool = False) -> Iterator[Callable[[int, int], None] | None]:
    """With rich on a terminal: what is to be told of the work done, and of all; else None."""
    if not sys.stdout.isatty():
        yield None
        return
    try:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
        )
        from rich.progress import TimeRemainingColumn as TimeLeft
    except ImportError:  # rich is an extra
        yield None
        return
    amount = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = TextColumn(what), amount, BarColumn(bar_width=None), TimeLeft()
    with Progress(*columns, transient=True) as shown:
        task = shown.add_task("", total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
