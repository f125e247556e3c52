"""What `litegpt train` shows: a live panel on a terminal, plain lines elsewhere."""

import sys
import time

from litegpt.cli.output import say
from litegpt.training import Callback, Record, Samples, Trainer

_PLAIN_INTERVAL = 5.0  # seconds between plain lines, evaluations apart


def progress(samples: Samples | None = None) -> Callback:
    """Live with rich on a terminal that has its signs; plain lines elsewhere.

    samples: whose texts are shown, told of the run before this.
    """
    if sys.stdout.isatty() and "utf" in (sys.stdout.encoding or "").lower():
        try:
            from rich.console import Console

            from litegpt.cli.panel import Panel
        except ImportError:
            return _Plain()  # rich is an extra
        console = Console()
        if console.is_terminal and not console.is_dumb_terminal:
            return Panel(samples)
    return _Plain()


def describe(record: Record) -> str:
    """`step 250  loss 2.1043  val 2.1178  60,000 tokens/s`"""
    validation = "" if record.val_loss is None else f"  val {record.val_loss:.4f}"
    return (
        f"step {record.step}  loss {record.loss:.4f}{validation}  "
        f"{record.tokens_per_s:,.0f} tokens/s"
    )


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class TimeLeft:
    """Of a run, at the pace that it has had since this was made."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self._first = trainer, trainer.step
        self._started = time.monotonic()

    def __str__(self) -> str:
        """`  0:42 left`, or nothing as long as the end isn't known."""
        last, taken = self._trainer.last_step, self._trainer.step - self._first
        if last is None or not taken:
            return ""
        seconds = (time.monotonic() - self._started) / taken * (last - self._trainer.step)
        return f"  {clock(seconds)} left"


class _Plain(Callback):
    def on_start(self, trainer: Trainer) -> None:
        self._left, self._printed = TimeLeft(trainer), time.monotonic()

    def on_record(self, trainer: Trainer, record: Record) -> None:
        now = time.monotonic()
        if record.val_loss is None and now - self._printed < _PLAIN_INTERVAL:
            return
        self._printed = now
        self.on_notice(trainer, f"{describe(record)}{self._left}")

    def on_notice(self, trainer: Trainer, text: str) -> None:
        try:
            say(text)
        except OSError:  # a file on a full disk
            if trainer.config.on_save_error == "stop":
                raise
