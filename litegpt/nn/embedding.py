"""Token embedding."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from litegpt import kernels
from litegpt.nn.arrays import check_size, token_ids
from litegpt.nn.frozen import FrozenParameter
from litegpt.nn.module import Module
from litegpt.nn.parameter import Parameter
from litegpt.nn.random import Seed, normal


class Embedding(Module):
    """Row id of the table `weight` (V, C) for every id.

    An id outside 0..V-1 is an IndexError that names it and its place; negative ones don't wrap.
    """

    def __init__(
        self, vocab_size: int, embedding_dim: int, std: float = 0.02, seed: Seed = None
    ) -> None:
        check_size("vocab_size", vocab_size)
        check_size("embedding_dim", embedding_dim)
        self.weight: Parameter = Parameter(normal(seed, (vocab_size, embedding_dim), std))

    def forward(self, ids: ArrayLike) -> np.ndarray:
        """(...) integers -> (..., C)."""
        if isinstance(self.weight, FrozenParameter):
            return self.weight.rows(token_ids(ids))
        return kernels.embedding(token_ids(ids), self.weight.data)

    def forward_train(
        self, ids: ArrayLike, rng: Seed = None
    ) -> tuple[np.ndarray, Callable[[np.ndarray], None]]:
        """The vectors, and backward, which returns nothing: ids have no gradient."""
        weight, ids = self.weight, token_ids(ids)

        def backward(dy: np.ndarray) -> None:
            if weight.trainable:
                kernels.embedding_backward(dy, ids, weight.grad)

        return self.forward(ids), backward
