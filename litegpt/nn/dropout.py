"""Dropout."""

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike

from litegpt import kernels
from litegpt.nn.arrays import Backward, floats
from litegpt.nn.module import Module
from litegpt.nn.random import Seed, draw_seed


def check_dropout(p: float) -> float:
    """p as a float from 0 to 1 (what is above 1 drops everything, as 1 does)."""
    if isinstance(p, bool) or not isinstance(p, Real) or not p >= 0:
        raise ValueError(f"dropout must be a probability from 0 to 1, not {p!r}")
    return min(float(p), 1.0)


class Dropout(Module):
    """y = x / (1 - p) where an entry is kept, 0 where it is dropped, with probability p.

    Srivastava et al., 2014. In evaluation mode, and for p = 0, y is x; p of 1 or more gives zeros.
    A negative p: ValueError.
    """

    def __init__(self, p: float = 0.1) -> None:
        self.p = check_dropout(p)

    @property
    def active(self) -> bool:
        """Whether anything is dropped in the present mode."""
        return self.training and self.p > 0

    def forward(self, x: ArrayLike, seed: Seed = None) -> np.ndarray:
        """(...) -> (...); seed decides which entries are dropped."""
        return self.forward_train(floats(x), seed)[0]

    def forward_train(self, x: np.ndarray, rng: Seed = None) -> tuple[np.ndarray, Backward]:
        """y, and backward, dy -> dx, which drops the same entries."""
        if not self.active:
            return x, lambda dy: dy
        p, seed = self.p, draw_seed(rng)
        return kernels.dropout(x, p, seed), lambda dy: kernels.dropout(dy, p, seed)
