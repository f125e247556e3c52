"""A loss that leaps up, or isn't a number: before the weights are touched, the run stops or goes
back.
"""

import json
import math

import numpy as np
import pytest

from litegpt.models import GPTModel
from litegpt.training import (
    Callback,
    Checkpoints,
    DivergenceError,
    RunState,
    TextWindows,
    TrainConfig,
    Trainer,
)

TEXT = np.array(list(b"the cat sat on the mat, and the dog on the log. " * 40)) % 32


class Bad(TextWindows):
    """Draws noise at the 41st step, however often it comes there, or the first `times`."""

    def __init__(self, times: int = 99) -> None:
        super().__init__(TEXT, 16)
        self.times, self.trainer = times, None

    def batch(self, batch_size: int, rng: np.random.Generator) -> tuple:
        inputs, targets = super().batch(batch_size, rng)
        if self.trainer.step == 40 and self.times:
            self.times -= 1
            targets = rng.integers(0, 32, targets.shape)
        return inputs, targets


def make(data: Bad, callbacks: tuple = (), checkpoints: object = None, **settings: object):
    settings = {"max_steps": 60, "warmup_steps": 5, "learning_rate": 2e-2, "seed": 7,
                "eval_interval": 25, "eval_steps": 1, "save_interval": 15} | settings  # fmt: skip
    model = GPTModel(32, 16, 1, 2, 16, dropout=0.1, seed=0)
    trainer = Trainer(model, data, TrainConfig(**settings), callbacks, checkpoints)
    data.trainer = trainer
    return trainer


def weights(trainer: Trainer) -> dict[str, bytes]:
    return {name: a.tobytes() for name, a in trainer.model.state_dict().items()}


def test_a_spike_stops_before_the_weights_are_touched(at, tmp_path) -> None:
    trainer = make(Bad(), checkpoints=Checkpoints(tmp_path))
    with pytest.raises(DivergenceError, match=r"^step 41: loss \d\.\d+, where about \d\.\d+ was"):
        trainer.fit()
    assert trainer.step == trainer.optimizer.steps == 40
    state = json.loads((tmp_path / "checkpoints" / "step-000040" / "state.json").read_text())
    assert state["run"]["diverged"].startswith("step 41: loss")
    stored = GPTModel.from_pretrained(tmp_path / "checkpoints" / "step-000040")
    assert {n: a.tobytes() for n, a in stored.state_dict().items()} == weights(trainer)
    clean = make(Bad(0), max_steps=60)
    clean.callbacks = [at(40)]
    clean.fit()
    assert weights(clean) == weights(trainer)


def test_a_spike_is_ignored_if_asked() -> None:
    trainer = make(Bad(), on_spike="ignore")
    trainer.fit()
    assert trainer.step == 60


class Story(Callback):
    def __init__(self) -> None:
        self.steps: list[int] = []
        self.said: list[str] = []
        self.back_at: list[int] = []

    def on_step(self, trainer: Trainer) -> None:
        self.steps.append(trainer.step)

    def on_notice(self, trainer: Trainer, text: str) -> None:
        self.said.append(text)

    def on_rewind(self, trainer: Trainer) -> None:
        self.back_at.append(trainer.step)


def test_a_rollback_goes_on_with_other_data(tmp_path) -> None:
    story = Story()
    trainer = make(Bad(1), (story,), Checkpoints(tmp_path), on_spike="rollback")
    records = trainer.fit()
    assert story.steps == [*range(1, 41), *range(31, 61)]
    assert story.back_at == [30]
    (said,) = story.said
    assert said.startswith("step 41: loss ")
    assert said.endswith("back to step 30 and on with other data (time 1 of at most 5)")
    assert [record.step for record in records] == [10, 20, 25, 30, 40, 50, 60]
    clean = make(Bad(0))
    others = {record.step: record.loss for record in clean.fit()}
    same = [record.step for record in records if record.loss == others[record.step]]
    assert same == [10, 20, 25, 30]  # from there on other data


def test_rollbacks_are_bounded_also_over_resumptions(at, tmp_path) -> None:
    settings = {"on_spike": "rollback", "max_rollbacks": 2}
    first = make(Bad(), (at(39),), Checkpoints(tmp_path), **settings)
    first.fit()
    story = Story()
    again = make(Bad(), (story,), Checkpoints(tmp_path), **settings)
    again.resume()
    with pytest.raises(DivergenceError, match="step 41"):
        again.fit()
    assert story.back_at == [39, 39]
    third = make(Bad(), (story,), Checkpoints(tmp_path), **settings)
    third.resume()
    assert third.state.rollbacks == 2
    with pytest.raises(DivergenceError, match="step 41"):
        third.fit()
    assert story.back_at == [39, 39]


def test_there_is_something_to_go_back_to_from_the_start(tmp_path) -> None:
    story = Story()
    trainer = make(Bad(1), (story,), Checkpoints(tmp_path), on_spike="rollback", save_interval=99,
                   eval_interval=99)  # fmt: skip
    trainer.fit()
    assert story.back_at == [0]
    assert trainer.step == 60


def test_a_rollback_needs_checkpoints() -> None:
    with pytest.raises(ValueError, match="on_spike 'rollback' needs checkpoints"):
        make(Bad(), on_spike="rollback")


def test_a_run_goes_back_from_nan_too(tmp_path) -> None:
    class Poison(Story):
        def on_step(self, trainer: Trainer) -> None:
            super().on_step(trainer)
            if trainer.step == 20 and not self.back_at:
                trainer.model.blocks[0].ln1.weight.data[0] = np.nan

    story = Poison()
    trainer = make(Bad(0), (story,), Checkpoints(tmp_path), on_spike="rollback")
    trainer.fit()
    assert story.back_at == [15]
    assert "loss nan" in story.said[0]
    assert all(np.isfinite(array).all() for array in trainer.model.state_dict().values())


def state_of(losses: list[float]) -> RunState:
    state = RunState()
    for loss in losses:
        state.take_step(loss, 0.0, 0.0)
    return state


@pytest.mark.parametrize("losses, loss, stops", [
    ([2.0, 2.1] * 25, 3.0, False),  # less than a nat above 2.05
    ([2.0, 2.1] * 25, 3.1, True),
    ([2.0, 2.2] * 25, 4.0, False),  # 2.1 and 20 times 0.1
    ([2.0, 2.2] * 25, 4.2, True),
    ([2.0] * 19, 100.0, False),  # too few to tell
    ([2.0] * 20, 100.0, True),
    ([9.0] * 50 + [2.0] * 50, 4.0, True),  # the last 50 count
    ([2.0] * 50, math.nan, True),
    ([], math.inf, True),
])  # fmt: skip
def test_what_a_spike_is(losses: list[float], loss: float, stops: bool) -> None:
    state = state_of(losses)
    if stops:
        with pytest.raises(DivergenceError):
            state.check_step(loss, 1.0, TrainConfig())
    else:
        state.check_step(loss, 1.0, TrainConfig())


def test_an_endless_gradient_stops_even_if_spikes_are_ignored() -> None:
    ignoring = TrainConfig(on_spike="ignore")
    with pytest.raises(DivergenceError, match="gradient norm inf"):
        state_of([2.0]).check_step(2.0, math.inf, ignoring)
    state_of([2.0] * 50).check_step(50.0, 1.0, ignoring)
