"""Lines on stdout, whoever reads them."""

import json
import math
import os
from typing import Any


def say(line: str) -> None:
    """Prints a line at once; once the reader has gone away, nothing.

    OSError naming the standard output, if that is a file on a full disk, say.
    """
    try:
        write(f"{line}\n")
    except BrokenPipeError:
        discard_stdout()


def write(text: str) -> None:
    """Prints a text, without an end of line, at once; errors as in say, and BrokenPipeError."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from error


def counted(number: float, what: str) -> str:
    """`1 step`, `2,000 steps`"""
    shown = f"{number:,.0f}"
    return f"{shown} {what}" if shown == "1" else f"{shown} {what}s"


def say_json(value: Any) -> None:
    """Prints a value as JSON, which knows no NaN and no infinity: those become null."""
    say(json.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(held) for held in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def discard_stdout() -> None:
    """Lets whatever is written to stdout from now on go nowhere, and what is still buffered."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def print_table(header: list[str], rows: list[list[str]], words: int) -> None:
    """With rich where it is there, else plainly; the first columns hold words, others numbers."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        for cells in (header, *rows):
            placed = [
                cell.ljust(width) if place < words else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
            ]
            say("  ".join(placed).rstrip())
        return
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(header):
        table.add_column(name, justify="left" if place < words else "right", no_wrap=True)
    for cells in rows:
        table.add_row(*cells)
    console = Console()
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no width to keep to
    console.print(table, highlight=False, markup=False)
