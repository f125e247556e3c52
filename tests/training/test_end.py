"""Runs that end early, and runs that end on time."""

import time

import numpy as np
import pytest

from litegpt.training import Callback, Checkpoints, Trainer


class Forgets(Callback):
    """From step 12 on, the head is another one after every step."""

    def on_step(self, trainer: Trainer) -> None:
        if trainer.step >= 12:
            head = trainer.model.head.weight.data
            head[...] = np.random.default_rng(trainer.step).standard_normal(head.shape)


def test_patience_ends_a_run_that_gets_no_better(make_run, tmp_path) -> None:
    options = {"max_steps": 100, "patience": 3, "on_spike": "ignore"}
    trainer = make_run(checkpoints=Checkpoints(tmp_path), callbacks=[Forgets()], **options)
    records = trainer.fit()
    best = trainer.state.best_step
    assert best <= 10
    assert trainer.step == best + 3 * 5
    assert trainer.ended == (f"the last 3 evaluations were no better than that of step {best}")
    validated = {r.step: r.val_loss for r in records if r.val_loss is not None}
    assert validated[best] == min(validated.values()) == trainer.state.best_loss
    again = make_run(checkpoints=Checkpoints(tmp_path), **options)
    assert again.resume()
    assert again.ended == trainer.ended
    more = make_run(checkpoints=Checkpoints(tmp_path), **options | {"patience": 4})
    assert more.resume()
    assert more.ended is None


def test_without_patience_it_goes_on(make_run) -> None:
    trainer = make_run(max_steps=30, callbacks=[Forgets()], on_spike="ignore")
    trainer.fit()
    assert trainer.step == 30


class Clock(Callback):
    """Time as a run would have it whose steps take `step` seconds, and evaluations five."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: float = 1.0) -> None:
        self.now, self.of_step = 0.0, step
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def watch(self, trainer: Trainer) -> None:
        batch, evaluate = trainer.data.batch, trainer.evaluate

        def timed_batch(*arguments: object) -> object:
            self.now += self.of_step
            return batch(*arguments)

        def timed_evaluate() -> float:
            self.now += 5.0
            return evaluate()

        trainer.data.batch, trainer.evaluate = timed_batch, timed_evaluate


SLOW = {"eval_interval": 50, "eval_steps": 1, "save_interval": 1000, "log_interval": 10}


@pytest.mark.parametrize("seconds", [60, 400])
def test_a_run_ends_on_time_and_its_schedule_with_it(seconds, make_run, monkeypatch) -> None:
    clock = Clock(monkeypatch)
    trainer = make_run(max_time=float(seconds), min_learning_rate=1e-4, **SLOW)
    clock.watch(trainer)
    records = trainer.fit()
    assert 0.95 * seconds < clock.now <= seconds + 5
    assert trainer.last_step == trainer.step == records[-1].step
    assert records[0].lr == pytest.approx(1e-2, rel=1e-3)  # the peak, while speed is measured
    assert records[-1].lr == pytest.approx(1e-4, rel=0.2)


def test_a_run_of_a_few_long_steps_ends_on_time_too(make_run, monkeypatch) -> None:
    clock = Clock(monkeypatch, step=4.0)
    trainer = make_run(max_time=30.0, min_learning_rate=1e-4, warmup_steps=0, **SLOW)
    clock.watch(trainer)
    records = trainer.fit()
    assert 0.9 * 30 < clock.now <= 30 + 5
    assert trainer.last_step == trainer.step == 7
    assert records[-1].lr < 1e-3  # nearly the lowest


def test_evaluations_may_take_longer_than_what_is_between_them(make_run, monkeypatch) -> None:
    clock = Clock(monkeypatch)
    trainer = make_run(max_time=400.0, **SLOW | {"eval_interval": 3})
    clock.watch(trainer)
    trainer.fit()
    assert 0.95 * 400 < clock.now <= 400 + 5
    assert 140 < trainer.step < 160  # 8 seconds for 3 of them


def test_a_machine_that_slows_down_gets_fewer_steps(make_run, monkeypatch) -> None:
    clock = Clock(monkeypatch)

    class Slower(Callback):
        def on_step(self, trainer: Trainer) -> None:
            if trainer.step == 100:
                assert trainer.last_step > 300
                clock.of_step = 3.0

    trainer = make_run(max_time=400.0, min_learning_rate=1e-4, callbacks=[Slower()], **SLOW)
    clock.watch(trainer)
    records = trainer.fit()
    assert 0.95 * 400 < clock.now <= 400 + 3 + 5
    assert 150 < trainer.step < 200
    assert records[-1].lr < 2e-4


def test_the_plan_is_kept_and_so_are_the_bits(
    at, make_run, everything, monkeypatch, tmp_path
) -> None:
    def run(folder: str, *splits: int) -> Trainer:
        for split in (*splits, 0):
            clock = Clock(monkeypatch)
            trainer = make_run(
                checkpoints=Checkpoints(tmp_path / folder), callbacks=[at(split)], max_time=200.0,
                **SLOW,
            )  # fmt: skip
            trainer.resume()
            clock.watch(trainer)
            trainer.fit()
        return trainer

    whole, parts = run("whole"), run("parts", 60, 110)
    assert parts.last_step == whole.last_step == whole.step
    assert everything(parts) == everything(whole)


def test_more_time_is_another_plan(make_run, monkeypatch, tmp_path) -> None:
    clock = Clock(monkeypatch)
    first = make_run(checkpoints=Checkpoints(tmp_path), max_time=60.0, **SLOW)
    clock.watch(first)
    first.fit()
    again = make_run(checkpoints=Checkpoints(tmp_path), max_time=60.0, **SLOW)
    assert again.resume()
    assert again.ended == f"all {first.step} steps are done"
    longer = make_run(checkpoints=Checkpoints(tmp_path), max_time=160.0, **SLOW)
    assert longer.resume()
    assert longer.ended is None
    clock.watch(longer)
    before = clock.now
    longer.fit()
    assert 90 < clock.now - before < 110
