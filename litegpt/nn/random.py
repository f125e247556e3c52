"""Where random numbers come from: a passed seed or Generator, else NumPy's global state.

NumPy loads numpy.random when it is first used, which takes a tenth of a program's start: what
draws nothing (weights that are read, greedy generation) leaves it alone.
"""

from typing import TypeAlias

import numpy as np

Seed: TypeAlias = "int | np.random.Generator | None"


def generator(seed: Seed = None) -> "np.random.Generator":
    """A Generator: seed itself if it is one, one seeded with an int >= 0, or, for None, one
    seeded from NumPy's global state, so that np.random.seed(0) makes a whole script repeatable.
    """
    if isinstance(seed, np.random.Generator):
        return seed
    if seed is None:
        return np.random.default_rng(np.random.randint(2**63 - 1, dtype=np.int64))
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise ValueError(
            f"seed must be None, an integer from 0 on, or a numpy Generator, not {seed!r}"
        )
    return np.random.default_rng(seed)


def draw_seed(seed: Seed) -> int:
    """A 63-bit seed for a kernel with a generator of its own (dropout)."""
    return int(generator(seed).integers(2**63))


def normal(seed: Seed, shape: tuple[int, ...], std: float) -> np.ndarray:
    """float32 draws from N(0, std^2); std 0 gives zeros and draws nothing."""
    if std == 0:
        return np.zeros(shape, np.float32)
    weights = generator(seed).standard_normal(shape, np.float32)
    weights *= np.float32(std)
    return weights
