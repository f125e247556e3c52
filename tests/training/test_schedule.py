"""The learning rate, step by step."""

import math

import pytest

from litegpt.training import scheduled_rate

RECIPE = {"schedule": "cosine", "peak": 1e-3, "floor": 1e-4, "warmup_steps": 100, "steps": 2000}


@pytest.mark.parametrize("step, expected", [
    (0, 1e-3 / 101),
    (49, 1e-3 * 50 / 101),
    (99, 1e-3 * 100 / 101),
    (100, 1e-3),
    (1050, 5.5e-4),  # half way down
    (100 + 1900 // 4, 1e-4 + 9e-4 * (1 + math.sqrt(0.5)) / 2),
    (2000, 1e-4),
    (10**9, 1e-4),
])  # fmt: skip
def test_values(step: int, expected: float) -> None:
    assert scheduled_rate(step=step, **RECIPE) == pytest.approx(expected, rel=1e-12)


def test_rises_then_falls_and_stays_within_its_bounds() -> None:
    rates = [scheduled_rate(step=step, **RECIPE) for step in range(2001)]
    assert all(a < b for a, b in zip(rates[:100], rates[1:101], strict=True))
    assert all(a > b for a, b in zip(rates[100:-1], rates[101:], strict=True))
    assert max(rates) == 1e-3
    assert min(rates[100:]) == 1e-4


def test_without_warmup_it_starts_at_the_peak() -> None:
    assert scheduled_rate("cosine", 0, 1.0, 0.0, 0, 10) == 1.0


def test_a_run_shorter_than_its_warmup_only_rises() -> None:
    rates = [scheduled_rate("cosine", step, 1.0, 0.1, 100, 10) for step in range(10)]
    assert rates == pytest.approx([(step + 1) / 101 for step in range(10)])


@pytest.mark.parametrize("schedule, at", [
    ("linear", {0: 1 / 11, 9: 10 / 11, 10: 1.0, 35: 0.775, 60: 0.55, 110: 0.1, 200: 0.1}),
    ("constant", {0: 1 / 11, 10: 1.0, 60: 1.0, 110: 1.0, 10**6: 1.0}),
    ("wsd", {0: 1 / 11, 10: 1.0, 84: 1.0, 85: 1.0, 86: 0.964, 110: 0.1, 200: 0.1}),
])  # fmt: skip
def test_the_other_ways_down(schedule: str, at: dict[int, float]) -> None:
    """100 steps after a rise of 10; wsd falls over the last quarter."""
    for step, wanted in at.items():
        rate = scheduled_rate(schedule, step, 1.0, 0.1, 10, 110, decay_share=0.25)
        assert rate == pytest.approx(wanted, rel=1e-12), step


def test_wsd_without_a_fall_is_constant_and_with_nothing_else_linear() -> None:
    for step in range(0, 111, 10):
        arguments = (step, 1.0, 0.1, 10, 110)
        assert scheduled_rate("wsd", *arguments, 0.0) == pytest.approx(
            scheduled_rate("constant", *arguments)
        )
        assert scheduled_rate("wsd", *arguments, 1.0) == pytest.approx(
            scheduled_rate("linear", *arguments)
        )
