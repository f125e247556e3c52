"""The learning rate over a run: a straight rise, then one of several ways down."""

import math
from collections.abc import Callable


def _cosine(share: float) -> float:
    """Half a cosine. Loshchilov and Hutter, 2016 (arXiv:1608.03983)."""
    return 0.5 * (1.0 + math.cos(math.pi * share))


# How high the rate is, from 1 (the peak) to 0 (the floor), when a share from 0 to 1 of the steps
# after the rise has been taken.
SCHEDULES: dict[str, Callable[[float], float]] = {"cosine": _cosine}


def scheduled_rate(
    schedule: str, step: int, peak: float, floor: float, warmup_steps: int, steps: float
) -> float:
    """Learning rate of a step (counted from 0).

    peak * (step + 1) / (warmup_steps + 1) for the first warmup_steps steps, then
    floor + (peak - floor) * SCHEDULES[schedule](share), where share goes from 0 at the end of the
    rise to 1 at `steps`, and stays there.
    """
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    share = 1.0 if step >= steps else (step - warmup_steps) / (steps - warmup_steps)
    return floor + (peak - floor) * SCHEDULES[schedule](share)
