"""The learning rate over a run."""

import math


def warmup_cosine(step: int, peak: float, floor: float, warmup_steps: int, steps: int) -> float:
    """Learning rate of a step (counted from 0): a straight rise, then half a cosine down.

    peak * (step + 1) / (warmup_steps + 1) for the first warmup_steps steps, then
    floor + (peak - floor) * (1 + cos(pi * share)) / 2, where share goes from 0 at the end of the
    rise to 1 at `steps`; floor from there on. Loshchilov and Hutter, 2016 (arXiv:1608.03983).
    """
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    if step >= steps:
        return floor
    share = (step - warmup_steps) / (steps - warmup_steps)
    return floor + (peak - floor) * 0.5 * (1.0 + math.cos(math.pi * share))
