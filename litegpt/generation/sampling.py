"""The rules by which the next token is chosen."""

import math
from dataclasses import dataclass
from numbers import Integral, Real


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen; a value that makes no sense: ValueError saying what is allowed.

    In this order: temperature divides the logits (0: always the likeliest token), top_k keeps
    that many of the likeliest (None or 0: all), top_p the fewest that together have this
    probability (None or 1: all), min_p those with at least this share of the highest probability
    (None or 0: all).
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    def __post_init__(self) -> None:
        if not _is_number(self.temperature) or not 0 <= self.temperature < math.inf:
            raise ValueError(
                "temperature must be 0 (the likeliest token) or a positive finite number, "
                f"not {self.temperature!r}"
            )
        if self.top_k is not None and (not _is_integer(self.top_k) or self.top_k < 0):
            raise ValueError(
                f"top_k must be an integer of 0 or more (None or 0: no limit), not {self.top_k!r}"
            )
        if self.top_p is not None and (not _is_number(self.top_p) or not 0 < self.top_p <= 1):
            raise ValueError(
                f"top_p must be above 0 and at most 1 (None or 1: no limit), not {self.top_p!r}"
            )
        if self.min_p is not None and (not _is_number(self.min_p) or not 0 <= self.min_p <= 1):
            raise ValueError(f"min_p must be from 0 to 1 (None or 0: no limit), not {self.min_p!r}")

    def kernel_arguments(self, vocab_size: int) -> tuple[float, int, float, float]:
        """temperature, top_k, top_p, min_p as kernels.sample takes them."""
        top_k = min(int(self.top_k or 0), vocab_size)
        top_p = 1.0 if self.top_p is None else float(self.top_p)
        return float(self.temperature), top_k, top_p, float(self.min_p or 0)


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
