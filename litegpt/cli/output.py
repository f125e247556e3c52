"""Lines on stdout, whoever reads them."""

import os


def say(line: str) -> None:
    """Prints a line at once; once the reader has gone away, nothing."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        discard_stdout()


def discard_stdout() -> None:
    """Lets whatever is written to stdout from now on go nowhere, and what is still buffered."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
