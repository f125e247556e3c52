"""Runs made for tests: their curves are what a test says."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from litegpt.pictures.run import Run


def make_run(
    loss: Sequence[float], val_loss: Sequence[float | None] = (), every: int = 100, **fields: Any
) -> Run:
    """A record every `every` steps; val_loss is that of each record, None or absent for none."""
    count = len(loss)
    validation = [np.nan if value is None else value for value in val_loss]
    columns = {
        "loss": np.array(loss, float),
        "val_loss": np.array([*validation, *[np.nan] * (count - len(validation))], float),
        "lr": np.full(count, 1e-3),
        "grad_norm": np.full(count, 0.5),
        "tokens_per_s": np.full(count, 1e4),
    }
    steps = every * np.arange(1.0, count + 1)
    return Run("made", steps, **(columns | fields))


def write_run(directory: Path, lines: Sequence[dict[str, Any]], **state: Any) -> Path:
    """A directory as `litegpt train` leaves it, of these records."""
    directory.mkdir(exist_ok=True)
    log = "".join(json.dumps(line) + "\n" for line in lines)
    (directory / "log.jsonl").write_text(log)
    if state:
        checkpoint = directory / "checkpoints" / f"step-{lines[-1]['step']:06}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "state.json").write_text(json.dumps(state))
    return directory


def record(step: int, loss: float, val_loss: float | None = None) -> dict[str, Any]:
    return {
        "step": step, "loss": loss, "val_loss": val_loss, "lr": 1e-3, "grad_norm": 0.5,
        "tokens_per_s": 1e4,
    }  # fmt: skip
