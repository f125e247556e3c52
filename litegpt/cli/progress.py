"""What `litegpt train` shows: a live line on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Any

from litegpt.cli.output import say
from litegpt.training import Callback, Record, Trainer

_PLAIN_INTERVAL = 5.0  # seconds between plain lines, evaluations apart


def progress() -> Callback:
    """Live with rich on a terminal; plain lines without it, or where nobody watches."""
    if sys.stdout.isatty():
        try:
            return _Live()
        except ImportError:
            pass  # rich is an extra
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


class _Plain(Callback):
    def on_start(self, trainer: Trainer) -> None:
        self._started = self._printed = time.monotonic()
        self._first = trainer.step

    def on_record(self, trainer: Trainer, record: Record) -> None:
        now = time.monotonic()
        if record.val_loss is None and now - self._printed < _PLAIN_INTERVAL:
            return
        self._printed = now
        last, taken = trainer.last_step, max(1, record.step - self._first)
        left = 0 if last is None else last - record.step
        seconds = (now - self._started) / taken * left
        say(f"{describe(record)}" + (f"  {clock(seconds)} left" if last is not None else ""))

    def on_notice(self, trainer: Trainer, text: str) -> None:
        say(text)


class _Live(Callback):
    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as TimeLeft

        self._progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[state]}"),
            TimeLeft(),
            TextColumn("left"),
            refresh_per_second=4,
        )

    def on_start(self, trainer: Trainer) -> None:
        self._task: Any = self._progress.add_task(
            "", total=trainer.last_step, completed=trainer.step, state=""
        )
        self._progress.start()

    def on_step(self, trainer: Trainer) -> None:
        self._progress.update(self._task, completed=trainer.step, total=trainer.last_step)

    def on_notice(self, trainer: Trainer, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def on_record(self, trainer: Trainer, record: Record) -> None:
        state = f"loss {record.loss:.4f}  {record.tokens_per_s:,.0f} tokens/s"
        self._progress.update(self._task, state=state)
        if record.val_loss is not None:
            self._progress.console.print(describe(record), highlight=False)

    def on_end(self, trainer: Trainer) -> None:
        self._progress.stop()
