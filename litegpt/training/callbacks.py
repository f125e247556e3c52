"""What follows a run without steering its arithmetic: logs, progress, and the like."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from errno import ENOSPC
from io import FileIO
from itertools import takewhile
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litegpt import json_text
from litegpt.text import Tokenizer

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

    def on_notice(self, trainer: "Trainer", text: str) -> None:
        """When something happened that one should know of, in a line."""

    def on_rewind(self, trainer: "Trainer") -> None:
        """After the run went back to an earlier step: trainer.step."""

    def on_end(self, trainer: "Trainer") -> None:
        """At the end of the run, however it ended."""


class JsonLines(Callback):
    """A file with a line of JSON for some of a run's steps, readable while the run goes on.

    The file comes with the first step, and with it the end of an older one of this name, but for
    the lines of the steps that this run goes on from.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._file: FileIO | None = None

    def on_start(self, trainer: "Trainer") -> None:
        self._first = trainer.step

    def on_step(self, trainer: "Trainer") -> None:
        if self._file is None:
            self._open(self._first)

    def write(self, trainer: "Trainer", fields: dict[str, Any]) -> None:
        """Adds a line; fields has the step. NaN and infinity, which JSON hasn't, become null."""
        if self._file is None:  # of a step that another session took
            self._open(self._first - 1)
        assert self._file
        end = self._file.tell()
        known = {
            name: None if isinstance(value, float) and not isfinite(value) else value
            for name, value in fields.items()
        }
        line = (json.dumps(known) + "\n").encode()
        try:
            if self._file.write(line) != len(line):
                raise OSError(ENOSPC, os.strerror(ENOSPC))
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(end)  # no half a line
                self._file.seek(end)
            problem = OSError(error.errno, error.strerror, str(self._path))
            if trainer.config.on_save_error == "stop":
                raise problem from error
            trainer.notice(f"{self._path}: {error.strerror}; training goes on")

    def on_rewind(self, trainer: "Trainer") -> None:
        self._open(trainer.step)

    def on_end(self, trainer: "Trainer") -> None:
        if self._file:
            self._file.close()
            self._file = None

    def _open(self, last_step: int) -> None:
        """Goes on after the lines up to a step; what comes after them goes."""
        kept = 0  # bytes
        if last_step > 0 and self._path.exists():
            lines = self._path.read_bytes().splitlines(keepends=True)
            kept = sum(map(len, takewhile(lambda line: _step_of(line) <= last_step, lines)))
            os.truncate(self._path, kept)
        if self._file:
            self._file.close()
        self._file = FileIO(self._path, "a" if kept else "w")  # unbuffered


class JsonLinesLog(JsonLines):
    """Writes every record to a file, as a line of JSON."""

    def on_record(self, trainer: "Trainer", record: Record) -> None:
        self.write(trainer, asdict(record))


class Samples(JsonLines):
    """Lets the model write after every evaluation, and keeps the texts in a file.

    Each goes on from the beginning of the validation text, of which it shows `prompt_tokens`, by
    new_tokens more. The lines have step and text; `newest` is the last (step, text). What is drawn
    for them changes nothing in the run.
    """

    def __init__(
        self, path: str | Path, tokenizer: Tokenizer, prompt_tokens: int = 8, new_tokens: int = 100
    ) -> None:
        super().__init__(path)
        self.newest: tuple[int, str] | None = None
        self._tokenizer = tokenizer
        self._prompt_tokens, self._new_tokens = prompt_tokens, new_tokens

    def on_record(self, trainer: "Trainer", record: Record) -> None:
        if record.val_loss is None:
            return
        inputs = next(iter(trainer.data.validation_batches(1, 1)))[0]  # (1, T)
        prompt = inputs[:, : self._prompt_tokens]
        try:
            written = trainer.model.generate(prompt, self._new_tokens, seed=trainer.config.seed)
            text = self._tokenizer.decode(written[0])
        except (ValueError, LookupError) as error:  # a vocabulary with more ids than the tokenizer
            trainer.notice(f"what the model writes can't be shown: {error}")
            return
        self.newest = record.step, text
        self.write(trainer, {"step": record.step, "text": text})


def _step_of(line: bytes) -> float:
    """The step of a record, beyond all steps if the line is none, or has no end."""
    try:
        return int(json_text.parse(line)["step"]) if line.endswith(b"\n") else inf
    except (ValueError, KeyError, TypeError):
        return inf
