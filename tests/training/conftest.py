"""A small run that many tests of this folder are about."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from litegpt.models import GPTModel
from litegpt.training import Callback, Record, TextWindows, TrainConfig, Trainer

TEXT = np.array(list(b"the cat sat on the mat, and the dog on the log. " * 40)) % 32


def small_trainer(dropout: float = 0.2, text: np.ndarray = TEXT, **options: Any) -> Trainer:
    """20 steps, with evaluations, records and checkpoints at intervals that don't coincide."""
    arguments = {
        name: options.pop(name) for name in ("callbacks", "checkpoints") if name in options
    }
    settings = {
        "batch_size": 4, "max_steps": 20, "learning_rate": 1e-2, "warmup_steps": 5, "seed": 7,
        "eval_interval": 5, "eval_steps": 2, "log_interval": 3, "save_interval": 4,
    } | options  # fmt: skip
    model = GPTModel(32, 16, 2, 2, 16, dropout=dropout, seed=0)
    return Trainer(model, TextWindows(text, 16), TrainConfig(**settings), **arguments)


class At(Callback):
    """Does something after a step."""

    def __init__(self, step: int, what: Callable[[Trainer], object] = Trainer.stop) -> None:
        self.step, self.what = step, what

    def on_step(self, trainer: Trainer) -> None:
        if trainer.step == self.step:
            self.what(trainer)


@pytest.fixture
def at() -> type[At]:
    """at(step): a callback that stops the run then; at(step, what): calls what with its trainer."""
    return At


@pytest.fixture
def make_run() -> Callable[..., Trainer]:
    return small_trainer


@pytest.fixture
def everything() -> Callable[[Trainer], dict[str, bytes]]:
    """Weights, moments, and what a run knows beside them, but for the time it took."""

    def bits(trainer: Trainer) -> dict[str, bytes]:
        arrays = trainer.model.state_dict() | trainer.optimizer.state_dict()
        state = {n: v for n, v in vars(trainer.state).items() if n != "seconds"}
        return {name: array.tobytes() for name, array in arrays.items()} | {
            "state": repr(state).encode()
        }

    return bits


@pytest.fixture
def losses() -> Callable[[list[Record]], list[tuple[object, ...]]]:
    """Records, but for the speed."""
    return lambda records: [(r.step, r.loss, r.val_loss, r.lr, r.grad_norm) for r in records]
