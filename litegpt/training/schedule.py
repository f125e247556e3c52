"""The learning rate over a run: a straight rise, then one of several ways down."""

import math
from collections.abc import Callable


def _cosine(share: float, decay_share: float) -> float:
    """Half a cosine. Loshchilov and Hutter, 2016 (arXiv:1608.03983)."""
    return 0.5 * (1.0 + math.cos(math.pi * share))


def _linear(share: float, decay_share: float) -> float:
    return 1.0 - share


def _constant(share: float, decay_share: float) -> float:
    return 1.0


def _wsd(share: float, decay_share: float) -> float:
    """Warmup, stable, decay: the peak, and a straight fall over the last decay_share of the steps.

    Hu et al., 2024 (arXiv:2404.06395); the straight fall: Hägele et al., 2024 (arXiv:2405.18392).
    """
    left = 1.0 - share
    return 1.0 if left >= decay_share else left / decay_share


# How high the rate is, from 1 (the peak) to 0 (the floor), when a share from 0 to 1 of the steps
# after the rise has been taken.
SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "cosine": _cosine,
    "linear": _linear,
    "constant": _constant,
    "wsd": _wsd,
}


def scheduled_rate(
    schedule: str,
    step: int,
    peak: float,
    floor: float,
    warmup_steps: int,
    steps: float,
    decay_share: float = 0.2,
) -> float:
    """Learning rate of a step (counted from 0).

    peak * (step + 1) / (warmup_steps + 1) for the first warmup_steps steps, then
    floor + (peak - floor) * SCHEDULES[schedule](share, decay_share), where share goes from 0 at
    the end of the rise to 1 at `steps`, and stays there.
    """
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    share = 1.0 if step >= steps else (step - warmup_steps) / (steps - warmup_steps)
    return floor + (peak - floor) * SCHEDULES[schedule](share, decay_share)
