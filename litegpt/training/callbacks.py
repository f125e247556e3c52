"""What follows a run without steering its arithmetic: logs, progress, and the like."""

import json
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from litegpt.training.trainer import Trainer


@dataclass(frozen=True)
class Record:
    """The state of a run after a step (counted from 1); val_loss only where one was taken.

    loss and val_loss are nats per token; lr and grad_norm (before clipping) are those of the step;
    tokens_per_s is the speed of training since the record before, evaluations not counted.
    """

    step: int
    loss: float
    val_loss: float | None
    lr: float
    grad_norm: float
    tokens_per_s: float


class Callback:
    """Told about a run by its Trainer; does nothing unless overridden.

    It may call trainer.stop(), to end the run after the step.
    """

    def on_start(self, trainer: "Trainer") -> None:
        """Before the first step."""

    def on_step(self, trainer: "Trainer") -> None:
        """After every step; trainer.step says which, trainer.loss what it cost."""

    def on_record(self, trainer: "Trainer", record: Record) -> None:
        """After every log_interval steps, and after every evaluation."""

    def on_end(self, trainer: "Trainer") -> None:
        """At the end of the run, however it ended."""


class JsonLinesLog(Callback):
    """Writes every record to a file as a line of JSON, readable while the run goes on.

    The file, and with it the end of an older one of this name, comes with the first step.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._file: FileIO | None = None

    def on_step(self, trainer: "Trainer") -> None:
        if self._file is None:
            self._file = FileIO(self._path, "w")  # unbuffered: a line is there once it is written

    def on_record(self, trainer: "Trainer", record: Record) -> None:
        if self._file:
            try:
                self._file.write((json.dumps(asdict(record)) + "\n").encode())
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(self._path)) from error

    def on_end(self, trainer: "Trainer") -> None:
        if self._file:
            self._file.close()
            self._file = None
