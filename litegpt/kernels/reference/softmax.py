"""Softmax over the last axis, with an additive mask."""

import numpy as np


def softmax(x: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """y = exp(x + mask - max) / sum, over the last axis.

    x is (..., N) with one to four axes; mask broadcasts to x's shape and its last axis is N.
    A masked entry (-inf) gives exactly 0; a row that is -inf throughout gives zeros, not NaN.
    A row that holds NaN or +inf is NaN throughout.
    """
    scores = x if mask is None else x + mask  # (..., N)
    if scores.shape[-1] == 0:
        return np.zeros_like(x)
    top = scores.max(axis=-1, keepdims=True)  # (..., N) -> (..., 1)
    top = np.where(np.isneginf(top), 0, top)  # an empty row: exp(-inf - 0) = 0
    with np.errstate(invalid="ignore"):
        e = np.exp(scores - top)
        total = e.sum(axis=-1, keepdims=True)
        return (e / np.where(total == 0, 1, total)).astype(x.dtype, copy=False)


def softmax_backward(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """dx = y * (dy - sum(dy * y)), row by row; y is what softmax returned."""
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))
