"""The repeating part of a transformer."""

from copy import deepcopy
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from litegpt.nn.arrays import Backward, floats
from litegpt.nn.attention import MultiHeadAttention
from litegpt.nn.cache import LayerCache
from litegpt.nn.documents import Documents
from litegpt.nn.mlp import FeedForward
from litegpt.nn.module import Module
from litegpt.nn.norm import LayerNorm, RMSNorm
from litegpt.nn.random import Seed, generator


class TransformerBlock(Module):
    """x + attention(ln1(x)), then x + ffn(ln2(x)): pre-norm, two residuals.

    The constructor makes the parts of a GPT-2 block, without biases in the attention; `of`
    takes any parts. Xiong et al., 2020 (arXiv:2002.04745), on where the norm stands.
    """

    def __init__(
        self, hidden_dim: int, num_heads: int, ffn_dim: int, dropout: float = 0.1, seed: Seed = None
    ) -> None:
        rng = generator(seed)
        self.ln1: LayerNorm | RMSNorm = LayerNorm(hidden_dim)
        self.attention = MultiHeadAttention(hidden_dim, num_heads, dropout, seed=rng)
        self.ln2: LayerNorm | RMSNorm = LayerNorm(hidden_dim)
        self.ffn = FeedForward(hidden_dim, ffn_dim, dropout, seed=rng)

    @classmethod
    def of(
        cls,
        ln1: LayerNorm | RMSNorm,
        attention: MultiHeadAttention,
        ln2: LayerNorm | RMSNorm,
        ffn: FeedForward,
    ) -> Self:
        """A block of these parts."""
        block = cls.__new__(cls)
        block.ln1, block.attention, block.ln2, block.ffn = ln1, attention, ln2, ffn
        return block

    def forward(
        self,
        x: ArrayLike,
        mask: ArrayLike | None = None,
        *,
        causal: bool = False,
        documents: Documents | None = None,
        cache: LayerCache | None = None,
    ) -> np.ndarray:
        """(B, T, C) -> (B, T, C); another shape: ValueError.

        Masks: litegpt.nn.mask; the rest: MultiHeadAttention.forward.
        """
        x = floats(x, self.ln1.weight.data.dtype)
        x = self.attention(
            self.ln1(x), mask=mask, causal=causal, documents=documents, cache=cache, residual=x
        )
        return self.ffn(self.ln2(x), x)

    def forward_train(
        self,
        x: ArrayLike,
        rng: Seed = None,
        mask: ArrayLike | None = None,
        *,
        causal: bool = False,
        documents: Documents | None = None,
    ) -> tuple[np.ndarray, Backward]:
        """The same without a cache, and backward, dy (B, T, C) -> dx (B, T, C)."""
        x = floats(x, self.ln1.weight.data.dtype)
        normed, ln1_backward = self.ln1.forward_train(x)
        x, attention_backward = self.attention.forward_train(
            normed, mask=mask, rng=rng, causal=causal, documents=documents, residual=x
        )
        normed, ln2_backward = self.ln2.forward_train(x)
        y, ffn_backward = self.ffn.forward_train(normed, rng, x)

        def backward(dy: np.ndarray) -> np.ndarray:
            dx = ln2_backward(ffn_backward(dy), dy)  # dy: past the feed-forward
            return ln1_backward(attention_backward(dx), dx)  # dx: past the attention

        return y, backward

    def forward_recomputed(
        self, x: ArrayLike, rng: Seed = None, **options: Any
    ) -> tuple[np.ndarray, Backward]:
        """forward_train, whose backward keeps x alone and computes the rest again.

        What is dropped is dropped again, if rng is a seed or a Generator.
        """
        again = deepcopy(rng)  # before anything is drawn from it
        y = self.forward_train(x, rng, **options)[0]

        def backward(dy: np.ndarray) -> np.ndarray:
            return self.forward_train(x, again, **options)[1](dy)

        return y, backward
