"""Rows that hold several documents: where each of them lies, and attention that stays within."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from litegpt import kernels
from litegpt.nn.random import Seed, draw_seed

Heads = tuple[np.ndarray, np.ndarray, np.ndarray]  # queries, keys, values, or their gradients


class Documents:
    """Where documents lie in rows (B, T); all positions belong to one.

    starts: (B, T) booleans, True where a document begins; a row's first position always begins
    one. `positions` (B, T) int64 count from 0 in each document; `places` are the slices of a
    (B, T, ...) array that hold one document each, in reading order.
    """

    def __init__(self, starts: ArrayLike, shape: tuple[int, ...]) -> None:
        starts = np.array(starts)
        if starts.dtype != bool or starts.shape != shape:
            raise ValueError(
                f"document_starts must be booleans of input_ids' shape {shape}, "
                f"not {starts.dtype} {starts.shape}"
            )
        starts[:, 0] = True
        begins = np.flatnonzero(starts)  # counted through all rows
        lengths = np.diff(begins, append=starts.size)
        self.positions = (np.arange(starts.size) - np.repeat(begins, lengths)).reshape(shape)
        rows, firsts = np.divmod(begins, shape[1])
        self.places = [
            (slice(row, row + 1), slice(first, first + length))
            for row, first, length in zip(
                rows.tolist(), firsts.tolist(), lengths.tolist(), strict=True
            )
        ]

    @classmethod
    def of(cls, starts: ArrayLike | None, shape: tuple[int, ...]) -> "Documents | None":
        """None where every row is one document, which needs no care."""
        documents = None if starts is None else cls(starts, shape)
        return None if documents is None or len(documents.places) == shape[0] else documents


def attend_causally(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    documents: Documents | None = None,
    dropout: float = 0.0,
    rng: Seed = None,
) -> tuple[np.ndarray, Callable[[np.ndarray], Heads]]:
    """kernels.causal_attention, (B, T, H, D) and twice (B, S, G, D) -> (B, T, H D), and backward.

    With documents (S = T then) each is attended to alone: bit for bit as if it were a row.
    """
    everything = [(slice(None), slice(None))]
    places = everything if documents is None else documents.places
    seeds = [draw_seed(rng) if dropout else 0 for _ in places]
    parts, sums = [], []
    for at, seed in zip(places, seeds, strict=True):
        y, lse = kernels.causal_attention(q[at], k[at], v[at], None, dropout, seed)
        parts.append(y)
        sums.append(lse)
    y = _rows(parts, q.shape)

    def backward(dy: np.ndarray) -> Heads:
        dy = dy.reshape(y.shape)
        gradients = [
            kernels.causal_attention_backward(
                dy[at], q[at], k[at], v[at], y[at], lse, None, dropout, seed
            )
            for at, seed, lse in zip(places, seeds, sums, strict=True)
        ]
        dq, dk, dv = zip(*gradients, strict=True)
        return _rows(dq, q.shape), _rows(dk, k.shape), _rows(dv, v.shape)

    return y.reshape(*q.shape[:2], -1), backward


def _rows(parts: list[np.ndarray] | tuple[np.ndarray, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Documents (1, n, H, D) in reading order, as rows (B, T, H, D)."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1).reshape(shape)
