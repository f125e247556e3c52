"""What is said of a run, rule by rule: when it is said, and when it isn't."""

import math

import numpy as np
import pytest
from runs import make_run

from litegpt.pictures import verdict as rules
from litegpt.pictures.verdict import RULES, verdict

FALLING = [4.0, 3.0, 2.5, 2.2, 2.0, 1.9, 1.8, 1.7]
RISING = [4.0, 3.0, 2.5, 2.3, 2.2, 2.25, 2.4, 2.6]
FLAT = [4.0, 3.0, 2.5, 2.3, 2.3, 2.3, 2.3, 2.3]


def test_validation_that_rises() -> None:
    found = rules.course(make_run([4.0, 3.0, 2.4, 2.1, 1.9, 1.7, 1.4, 1.0], RISING))
    assert found.good is False
    assert found.text.startswith("Validation rose after step 500, from 2.2000 to 2.6000 while the")
    assert "by heart" in found.text
    assert found.text.endswith("; the best was step 500.")
    kept = rules.course(make_run(FALLING, RISING, state={"best_step": 500}))
    assert kept.text.endswith("; kept step 500.")
    both = rules.course(make_run([2.0] * 4 + [3.0] * 4, RISING))
    assert both.good is False and "by heart" not in both.text


def test_validation_that_still_falls() -> None:
    found = rules.course(make_run(FALLING, FALLING))
    assert found.good is True
    assert "still falling at the end, to 1.7000 at step 800" in found.text


def test_validation_that_levels_off() -> None:
    found = rules.course(make_run(FLAT, FLAT))
    assert found.good is True
    assert "levelled off at 2.3000 (step 400)" in found.text


def test_a_rise_within_the_noise_is_none() -> None:
    noisy = [*FLAT[:-1], 2.309]
    assert "levelled off" in rules.course(make_run(noisy, noisy)).text


def test_too_few_evaluations() -> None:
    found = rules.course(make_run(FALLING, [4.0, None, 3.0]))
    assert found.good is None and "Too few" in found.text


def test_nothing_learned() -> None:
    run = make_run([4.17] * 8, [4.17] * 8, model={"vocab_size": 65})
    found = rules.nothing_learned(run)
    assert found.good is False
    assert f"{math.log(65):.4f}" in found.text and "4.1700" in found.text
    assert rules.course(run) is None  # no word of a level that was reached
    assert rules.nothing_learned(make_run(FALLING, FALLING, model={"vocab_size": 65})) is None
    assert rules.nothing_learned(make_run([4.17] * 8, [4.17] * 8)) is None
    warming = make_run([4.17] * 8, [4.17] * 8, model={"vocab_size": 65},
                       settings={"warmup_steps": 800})  # fmt: skip
    assert rules.nothing_learned(warming).text.endswith("The learning rate was still rising.")


def test_the_gap_between_training_and_validation() -> None:
    found = rules.gap(make_run([1.0] * 8, RISING))
    assert found.good is False
    assert "training loss is 1.0000, the validation loss 2.6000" in found.text
    assert rules.gap(make_run([2.5] * 8, RISING)) is None
    assert rules.gap(make_run([1.0] * 8)) is None


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_losses_that_are_not_finite(wrong: float) -> None:
    found = rules.not_finite(make_run([*FALLING[:3], wrong, wrong]))
    assert found.good is False
    assert "At step 400 " in found.text
    assert rules.not_finite(make_run(FALLING)) is None


def test_spikes() -> None:
    loss = np.linspace(4, 2, 40)
    assert rules.spikes(make_run(loss)) is None
    assert rules.spikes(make_run(loss + 0.02 * np.cos(np.arange(40) ** 2))) is None
    loss[30] = 7.5
    found = rules.spikes(make_run(loss))
    assert found.good is False
    assert "jumped once, at step 3,100 from " in found.text and " to 7.5000" in found.text
    loss[35] = 6
    assert "jumped 2 times, at step 3,100" in rules.spikes(make_run(loss)).text


def test_gradients_that_are_nearly_always_cut_back() -> None:
    settings = {"grad_clip": 1.0, "warmup_steps": 200}
    norms = np.array([0.1, 0.1, *[3.0] * 6])
    found = rules.clipped(make_run(FALLING, grad_norm=norms, settings=settings))
    assert found.good is None
    assert "100% of the gradients were longer than grad_clip 1," in found.text
    assert "median is 3)" in found.text
    norms[3:] = 0.5
    assert rules.clipped(make_run(FALLING, grad_norm=norms, settings=settings)) is None
    assert rules.clipped(make_run(FALLING, grad_norm=norms * 9, settings={"grad_clip": 0})) is None
    assert rules.clipped(make_run(FALLING)) is None


def test_speed_that_varies() -> None:
    speeds = np.array([1e4] * 12 + [5e3] * 4)
    found = rules.speed(make_run([2.0] * 16, tokens_per_s=speeds))
    assert "between 5,000 and 10,000 tokens/s" in found.text
    one_slow_record = np.array([1e4] * 15 + [5e2])
    assert rules.speed(make_run([2.0] * 16, tokens_per_s=one_slow_record)) is None


def test_how_it_ended() -> None:
    settings = {"max_steps": 800, "patience": 3}
    assert rules.end(make_run(FALLING, settings=settings)).text == "All 800 steps were taken."
    early = rules.end(make_run(FALLING[:5], settings=settings, state={"evaluations_since_best": 3}))
    assert early.text == "Ended at step 500 of 800: validation was no better in 3 evaluations."
    cut = rules.end(make_run(FALLING[:5], settings=settings, state={"evaluations_since_best": 2}))
    assert cut.text == "Stands at step 500 of 800; the same command goes on with it."
    timed = rules.end(make_run(FALLING[:5], settings=settings, state={"planned_steps": 500}))
    assert timed.text == "All 500 steps were taken."
    settings["log_interval"] = 10
    for kept, stands in ((507, 507), (510, 500), (490, 500)):
        later = rules.end(make_run(FALLING[:5], settings=settings, state={"step": kept}))
        assert later.text == f"Stands at step {stands} of 800; the same command goes on with it."
    unplanned = rules.end(make_run(FALLING[:1], settings=settings | {"max_time": 3600.0}))
    assert unplanned.text == (
        "Stands at step 100, too early to plan its end; the same command goes on with it."
    )
    diverged = {"diverged": "step 501: loss nan (try another)"}
    stopped = rules.end(make_run(FALLING[:5], settings=settings, state=diverged))
    assert stopped.good is False
    assert stopped.text == "Stopped before step 501: loss nan (try another)."
    one = rules.end(make_run(FALLING[:1], settings={"max_steps": 1}))
    assert one.text == "The only step was taken."
    assert rules.end(make_run(FALLING)) is None


def test_a_good_run_is_said_to_be_good() -> None:
    run = make_run(FALLING, FALLING, settings={"max_steps": 800}, model={"vocab_size": 65})
    assert [finding.good for finding in verdict(run)] == [True, True]


def test_every_rule_is_asked() -> None:
    assert {rule.__name__ for rule in RULES} == {
        "course", "nothing_learned", "gap", "not_finite", "spikes", "clipped", "speed", "end",
    }  # fmt: skip
