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
