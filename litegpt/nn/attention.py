"""Attention: the product with explicit weights, and the multi-head layer of a block."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from litegpt import kernels
from litegpt.nn.arrays import check_size, floats
from litegpt.nn.cache import LayerCache
from litegpt.nn.documents import Documents, Heads, attend_causally
from litegpt.nn.dropout import Dropout
from litegpt.nn.linear import Linear
from litegpt.nn.mask import scores_mask
from litegpt.nn.module import Module
from litegpt.nn.position import RotaryPositionalEncoding
from litegpt.nn.random import Seed, generator


class ScaledDotProductAttention(Module):
    """output = dropout(weights) value, weights = softmax(query key^T / sqrt(D) + mask).

    Vaswani et al., 2017 (arXiv:1706.03762). `attention_weights` keeps the last weights, as they
    are before dropout: every row adds up to 1, or to 0 where the mask leaves nothing to attend to.
    """

    def __init__(self, dropout: float = 0.1) -> None:
        self.dropout = Dropout(dropout)
        self.attention_weights: np.ndarray | None = None

    def forward(
        self, query: ArrayLike, key: ArrayLike, value: ArrayLike, mask: ArrayLike | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(B, T, D) or (B, H, T, D) -> output of query's shape, weights (B, T, S) or (B, H, T, S).

        key and value hold S positions, and may have fewer heads than query (see
        MultiHeadAttention). Masks: litegpt.nn.mask. ValueError for shapes that don't fit.
        """
        output, _ = self.forward_train(floats(query), floats(key), floats(value), mask)
        assert self.attention_weights is not None
        return output, self.attention_weights

    def forward_train(
        self,
        query: np.ndarray,
        key: np.ndarray,
        value: np.ndarray,
        mask: ArrayLike | None = None,
        rng: Seed = None,
    ) -> tuple[np.ndarray, Callable[[np.ndarray], Heads]]:
        """The output, and backward, which returns the gradients of query, key and value."""
        _check_shapes(query, key, value)
        shape = query.shape
        one_head = query.ndim == 3
        if one_head:  # (B, T, D) -> (B, 1, T, D)
            query, key, value = query[:, None], key[:, None], value[:, None]
        batch, heads, length, width = query.shape
        groups, attended = key.shape[1:3]
        grouped = (batch, groups, heads // groups * length)  # heads of a group, one below another
        scale = query.dtype.type(1 / math.sqrt(width))
        q = (query * scale).reshape(*grouped, width)
        if mask is not None:
            mask = scores_mask(mask, batch, length, attended, query.dtype)
        scores = kernels.matmul(q, key, transpose_b=True)  # (B, G, H/G T, S)
        weights = kernels.softmax(scores.reshape(batch, heads, length, attended), mask)
        self.attention_weights = weights[:, 0] if one_head else weights
        kept, drop_backward = self.dropout.forward_train(weights, rng)
        kept = kept.reshape(*grouped, attended)
        output = kernels.matmul(kept, value).reshape(*shape[:-1], value.shape[-1])

        def backward(dy: np.ndarray) -> Heads:
            dy = dy.reshape(*grouped, -1)
            dkept = kernels.matmul(dy, value, transpose_b=True).reshape(weights.shape)
            dscores = kernels.softmax_backward(drop_backward(dkept), weights)
            dscores = dscores.reshape(*grouped, attended)
            dq = kernels.matmul(dscores, key) * scale
            dk = kernels.matmul(dscores, q, transpose_a=True)
            dv = kernels.matmul(kept, dy, transpose_a=True)
            if one_head:
                dk, dv = dk[:, 0], dv[:, 0]
            return dq.reshape(shape), dk, dv

        return output, backward


def _check_shapes(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> None:
    fits = (
        query.ndim == key.ndim == value.ndim
        and query.ndim in (3, 4)
        and query.shape[0] == key.shape[0]
        and query.shape[-1] == key.shape[-1]
        and key.shape[:-1] == value.shape[:-1]
        and (query.ndim == 3 or (key.shape[1] and query.shape[1] % key.shape[1] == 0))
    )
    if not fits:
        raise ValueError(
            f"query {query.shape}, key {key.shape} and value {value.shape} don't fit together: "
            f"allowed are (B, T, D) with (B, S, D), or (B, H, T, D) with (B, G, S, D), "
            f"H a multiple of G"
        )


class MultiHeadAttention(Module):
    """Attention of H query heads, head h to key/value head h // (H / G).

    G = num_kv_heads, H by default (grouped-query attention: Ainslie et al., 2023,
    arXiv:2305.13245). One projection `qkv` computes [q heads | k heads | v heads]; `output`
    projects back. dropout is that of the weights, and of the output, as in GPT-2. hidden_dim
    that isn't divisible by num_heads, or num_heads by num_kv_heads, and arrays of another shape
    than forward's: ValueError.
    """

    def __init__(
        self,
        hidden_dim: int,
        num_heads: int,
        dropout: float = 0.1,
        num_kv_heads: int | None = None,
        qkv_bias: bool = False,
        output_bias: bool = False,
        rotary: RotaryPositionalEncoding | None = None,
        std: float = 0.02,
        output_std: float = 0.02,
        seed: Seed = None,
    ) -> None:
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        check_heads(hidden_dim, num_heads, num_kv_heads)
        self.hidden_dim, self.num_heads, self.num_kv_heads = hidden_dim, num_heads, num_kv_heads
        self.head_dim = hidden_dim // num_heads
        self.rotary = rotary
        rng = generator(seed) if std or output_std else None
        width = (num_heads + 2 * num_kv_heads) * self.head_dim
        self.qkv = Linear(hidden_dim, width, qkv_bias, std=std, seed=rng)
        self.output = Linear(hidden_dim, hidden_dim, output_bias, dropout, output_std, rng)
        self.attend = ScaledDotProductAttention(dropout)

    def forward(
        self,
        query: ArrayLike,
        key: ArrayLike | None = None,
        value: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        *,
        causal: bool = False,
        documents: Documents | None = None,
        cache: LayerCache | None = None,
        residual: np.ndarray | None = None,
    ) -> np.ndarray:
        """(B, T, C), (B, S, C), (B, S, C) -> (B, T, C); without key and value, they are query.

        causal: no position looks at later ones; without a mask this goes to the streaming
        kernel, which makes no (T, S) array; with documents none looks outside its own, and
        positions are counted in it. With a cache: causal self-attention over the positions that
        it holds and the new ones, which are written to it. residual is added.
        """
        plain = mask is None and _alone(query, key, value)
        if cache is None and (not (plain and causal) or self.attend.dropout.active):
            return self.forward_train(
                query, key, value, mask, causal=causal, documents=documents, residual=residual
            )[0]
        if not plain:
            raise ValueError("with a cache there is only self-attention, without a mask")
        heads = self._heads(self.qkv(query))
        batch, length = heads.shape[:2]
        offsets = _offsets(batch, documents) if cache is None else cache.lengths
        q, k, v = self._rotated(heads, offsets)
        if cache is None:
            y, _ = attend_causally(q, k, v, documents)
        else:
            kernels.cache_append(k, v, cache.keys, cache.values, cache.lengths)
            y = kernels.cached_attention(q, cache.keys, cache.values, cache.lengths)
        return self.output(y.reshape(batch, length, self.hidden_dim), residual)

    def forward_train(
        self,
        query: ArrayLike,
        key: ArrayLike | None = None,
        value: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        rng: Seed = None,
        *,
        causal: bool = False,
        documents: Documents | None = None,
        residual: np.ndarray | None = None,
    ) -> tuple[np.ndarray, Callable[[np.ndarray], Any]]:
        """The same without a cache, and backward.

        backward returns the gradient of query, or, where key and value are arrays of their own,
        those of query, key and value; dy is the gradient of the residual too.
        """
        if key is None or _alone(query, key, value):
            projections = [self._project(query, rng, documents)] * 3
        else:
            values = key if value is None else value
            projections = [self._project(x, rng) for x in (query, key, values)]
        q, k, v = (parts[i] for i, (parts, _) in enumerate(projections))
        if causal and mask is None:
            p = self.attend.dropout.p if self.training else 0.0
            y, attend_backward = attend_causally(q, k, v, documents, p, rng)
        elif documents is not None:
            raise ValueError("with documents there is only causal self-attention, without a mask")
        else:
            y, attend_backward = self._attend_masked(q, k, v, mask, causal, rng)
        y, output_backward = self.output.forward_train(y, rng, residual)

        def backward(dy: np.ndarray) -> Any:
            gradients = attend_backward(output_backward(dy))
            if projections[0] is projections[1]:
                return projections[0][1](*gradients)
            dinputs = []
            for i, (parts, project_backward) in enumerate(projections):  # each gave one part
                dparts = [np.zeros_like(part) for part in parts]
                dparts[i] = gradients[i]
                dinputs.append(project_backward(*dparts))
            return tuple(dinputs)

        return y, backward

    def weights(self, x: ArrayLike, mask: ArrayLike | None = None) -> np.ndarray:
        """(B, T, C) -> (B, H, T, T): how much each position of x takes of each, head by head.

        Self-attention without dropout; rows add up to 1, or to 0 where the mask leaves nothing.
        """
        heads = self._heads(self.qkv(x))
        q, k, v = map(_swapped, self._rotated(heads, np.zeros(len(heads), np.int64)))
        return ScaledDotProductAttention(0.0)(q, k, v, mask)[1]

    def _heads(self, projected: np.ndarray) -> np.ndarray:
        """(B, T, (H + 2G) D) -> (B, T, H + 2G, D)."""
        if projected.ndim != 3:
            shape = (*projected.shape[:-1], self.hidden_dim)
            raise ValueError(f"attention takes (B, T, {self.hidden_dim}), not {shape}")
        return projected.reshape(*projected.shape[:2], -1, self.head_dim)

    def _rotated(self, heads: np.ndarray, offsets: np.ndarray) -> Heads:
        """q (B, T, H, D), k and v (B, T, G, D), views of the projection (B, T, H + 2G, D)."""
        queries, keys = self.num_heads, self.num_heads + self.num_kv_heads
        if self.rotary is None:
            return heads[:, :, :queries], heads[:, :, queries:keys], heads[:, :, keys:]
        turned = self.rotary(heads[:, :, :keys], offsets)
        return turned[:, :, :queries], turned[:, :, queries:], heads[:, :, keys:]

    def _project(
        self, x: ArrayLike, rng: Seed, documents: Documents | None = None
    ) -> tuple[Heads, Callable[..., np.ndarray]]:
        """q, k and v of x, and backward from their gradients to that of x."""
        projected, linear_backward = self.qkv.forward_train(x, rng)
        heads, shape = self._heads(projected), projected.shape
        offsets = _offsets(shape[0], documents)
        rotary = self.rotary

        def backward(dq: np.ndarray, dk: np.ndarray, dv: np.ndarray) -> np.ndarray:
            if rotary is None:
                return linear_backward(_side_by_side(dq, dk, dv).reshape(shape))
            dqk = rotary.backward(_side_by_side(dq, dk), offsets)
            return linear_backward(_side_by_side(dqk, dv).reshape(shape))

        return self._rotated(heads, offsets), backward

    def _attend_masked(
        self,
        q: np.ndarray,
        k: np.ndarray,
        v: np.ndarray,
        mask: ArrayLike | None,
        causal: bool,
        rng: Seed,
    ) -> tuple[np.ndarray, Callable[[np.ndarray], Heads]]:
        """Explicit weights: (B, T, H, D) and twice (B, S, G, D) -> (B, T, C)."""
        (batch, length), attended = q.shape[:2], k.shape[1]
        if causal and mask is not None:
            later = np.arange(attended) > np.arange(length)[:, None] + (attended - length)  # (T, S)
            mask = np.where(later, -np.inf, scores_mask(mask, batch, length, attended, q.dtype))
        y, attend_backward = self.attend.forward_train(
            _swapped(q), _swapped(k), _swapped(v), mask, rng
        )

        def backward(dy: np.ndarray) -> Heads:
            dq, dk, dv = attend_backward(_swapped(dy.reshape(q.shape)))
            return _swapped(dq), _swapped(dk), _swapped(dv)

        return _swapped(y).reshape(batch, length, self.hidden_dim), backward


def _alone(query: ArrayLike, key: ArrayLike | None, value: ArrayLike | None) -> bool:
    """Self-attention: one array for all three."""
    return key is None or (key is query and (value is None or value is query))


def _offsets(batch: int, documents: Documents | None) -> np.ndarray:
    """Where rows begin, (B,), or where each of their positions stands, (B, T)."""
    return np.zeros(batch, np.int64) if documents is None else documents.positions


def _side_by_side(*parts: np.ndarray) -> np.ndarray:
    """(B, T, h, D) each -> (B, T, all h, D); what stands like that already isn't copied."""
    whole, heads = parts[0].base, sum(part.shape[2] for part in parts)
    if whole is not None and all(part.base is whole for part in parts):
        return whole[:, :, :heads]
    return np.concatenate(parts, axis=2)


def _swapped(x: np.ndarray) -> np.ndarray:
    """(B, T, H, D) <-> (B, H, T, D), contiguous."""
    return np.ascontiguousarray(x.swapaxes(1, 2))


def check_heads(hidden_dim: int, num_heads: int, num_kv_heads: int) -> None:
    """ValueError unless heads share hidden_dim, and groups of heads share key/value heads."""
    check_size("hidden_dim", hidden_dim)
    check_size("num_heads", num_heads)
    check_size("num_kv_heads", num_kv_heads)
    if hidden_dim % num_heads:
        raise ValueError(f"hidden_dim {hidden_dim} must be divisible by num_heads {num_heads}")
    if num_heads % num_kv_heads:
        raise ValueError(f"num_heads {num_heads} must be divisible by num_kv_heads {num_kv_heads}")
