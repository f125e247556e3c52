"""The rules by which the next token is chosen."""

from dataclasses import dataclass

from litegpt.generation.arguments import check_integer, refuse
from litegpt.nn.arrays import is_number


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
        if not is_number(self.temperature, 0):
            allowed = "0 (the likeliest token) or a positive finite number"
            raise refuse("temperature", allowed, self.temperature)
        if self.top_k is not None:
            check_integer("top_k", self.top_k, 0, " (None or 0: no limit)")
        if self.top_p is not None and (not is_number(self.top_p, 0, 1) or self.top_p == 0):
            raise refuse("top_p", "above 0 and at most 1 (None or 1: no limit)", self.top_p)
        if self.min_p is not None and not is_number(self.min_p, 0, 1):
            raise refuse("min_p", "from 0 to 1 (None or 0: no limit)", self.min_p)

    def kernel_arguments(self, vocab_size: int) -> tuple[float, int, float, float]:
        """temperature, top_k, top_p, min_p as kernels.sample takes them."""
        top_k = min(int(self.top_k or 0), vocab_size)
        top_p = 1.0 if self.top_p is None else float(self.top_p)
        return float(self.temperature), top_k, top_p, float(self.min_p or 0)
