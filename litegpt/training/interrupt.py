"""Signals where they do no harm."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # those that ask a run to end


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Within the block Ctrl-C and its like wait; at its end the first does what it would have done.

    Keeps whole what must not be left half done: an optimizer step, a file being written. Signals
    that no Python function handles stay as they are. Outside the main thread, where Python
    delivers no signals, there is nothing to defer.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[tuple[int, FrameType | None]] = []
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    handled = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handled:
        signal.signal(number, lambda number, frame: arrived.append((number, frame)))
    try:
        yield
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)
        if arrived:
            first, frame = arrived[0]
            handled[signal.Signals(first)](first, frame)
