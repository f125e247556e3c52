"""What the directory of a training run tells: its log, its samples, its settings."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from litegpt import json_text
from litegpt.formats import read_json

LOG, SAMPLES = "log.jsonl", "samples.jsonl"
_LONGEST = 1 << 20  # bytes of a line
_CHECKPOINT = re.compile(r"step-(\d{6,12})")


@dataclass(frozen=True)
class Run:
    """Arrays (N,) have a number for each record of the log, by rising step; NaN where it has none.

    settings are TrainConfig's, model GPTConfig's fields, data tells the text from others, state
    says where the run stands: those of the newest checkpoint, empty if there is none.
    """

    name: str
    step: np.ndarray
    loss: np.ndarray
    val_loss: np.ndarray
    lr: np.ndarray
    grad_norm: np.ndarray
    tokens_per_s: np.ndarray
    samples: tuple[tuple[int, str], ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    state: dict[str, Any] = field(default_factory=dict)

    @property
    def last_step(self) -> int:
        """That of the newest record, or of a checkpoint that was made before the next was due.

        One that is further on is of another run, which this one is about to replace.
        """
        recorded, kept = int(self.step[-1]), self.state.get("step")
        due = self.settings.get("log_interval")
        if isinstance(kept, int) and isinstance(due, int) and recorded < kept < recorded + due:
            return kept
        return recorded

    @property
    def evaluations(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps and validation losses, where one was taken."""
        taken = np.isfinite(self.val_loss)
        return self.step[taken], self.val_loss[taken]


_COLUMNS = ("loss", "val_loss", "lr", "grad_norm", "tokens_per_s")


def read_run(directory: Path) -> Run:
    """The run in a directory; ValueError naming the file and line that isn't as it should be."""
    if not (directory / LOG).is_file():
        raise ValueError(f"{directory}: holds no run ({LOG} is missing)")
    records: dict[int, dict[str, Any]] = {}  # of a step that was taken twice, the later one
    for where, line in _lines(directory / LOG):
        records[_step(where, line)] = {
            name: _number(where, name, line.get(name)) for name in _COLUMNS
        }
    if not records:
        raise ValueError(f"{directory / LOG}: holds no record yet")
    steps = sorted(records)
    columns = {name: np.array([records[step][name] for step in steps], float) for name in _COLUMNS}
    samples: dict[int, str] = {}
    if (directory / SAMPLES).is_file():
        for where, line in _lines(directory / SAMPLES):
            samples[_step(where, line)] = str(line.get("text", ""))
    state = _newest_state(directory)
    return Run(
        directory.resolve().name,
        np.array(steps, float),
        **columns,
        samples=tuple(sorted(samples.items())),
        settings=_object(state, "settings"),
        model=_object(state, "model"),
        data=str(state.get("data", "")),
        state=_object(state, "run"),
    )


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """`file: line 3` and the object of every line; a last one that was cut off is left out."""
    with path.open("rb") as file:
        for number in range(1, 1 << 62):
            line = file.readline(_LONGEST + 1)
            if not line.endswith(b"\n") and len(line) <= _LONGEST:
                return
            where = f"{path}: line {number}"
            try:
                value = json_text.parse(line) if len(line) <= _LONGEST else None
            except ValueError:
                value = None
            if not isinstance(value, dict):
                raise ValueError(f"{where} isn't a JSON object")
            yield where, value


def _step(where: str, line: dict[str, Any]) -> int:
    step = line.get("step")
    if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step < 2**53:
        raise ValueError(f"{where}: step must be an integer of 0 or more")
    return step


def _number(where: str, name: str, value: Any) -> float:
    if value is None:
        return float("nan")
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{where}: {name} must be a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{where}: {name} is beyond any float") from None


def _newest_state(directory: Path) -> dict[str, Any]:
    """state.json of the newest checkpoint."""
    found = [
        (int(match[1]), path)
        for path in (directory / "checkpoints").glob("step-*")
        if (match := _CHECKPOINT.fullmatch(path.name)) and (path / "state.json").is_file()
    ]
    return dict(read_json(max(found)[1] / "state.json").fields) if found else {}


def _object(fields: dict[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}
