"""Rotary position embedding."""

import numpy as np


def rotary(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Rotates the pairs (i, i + R) of each head by the angle of the token's position.

    Su et al., 2021 (arXiv:2104.09864), in the half-split order of the Llama weights. x is
    (B, T, H, D), last axis contiguous; cos and sin are tables (positions, R) with 2R <= D, and
    entries past 2R stay as they are. Row b's tokens stand at offsets[b], offsets[b] + 1, ...
    (int64). A position outside the table: IndexError.
    """
    batch, length, _, _ = x.shape
    half = cos.shape[1]
    positions = offsets[:, None] + np.arange(length)  # (B, T)
    if batch and length and not (0 <= offsets.min() and positions.max() < cos.shape[0]):
        raise IndexError(
            f"rotary: positions {offsets.min()} to {positions.max()} are outside "
            f"the table of {cos.shape[0]} positions"
        )
    c, s = cos[positions][:, :, None], sin[positions][:, :, None]  # (B, T, 1, R)
    y = x.copy()
    first, second = x[..., :half], x[..., half : 2 * half]
    y[..., :half] = first * c - second * s
    y[..., half : 2 * half] = second * c + first * s
    return y


def rotary_backward(
    dy: np.ndarray, cos: np.ndarray, sin: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
    """The rotation back: the inverse of a rotation is its transpose."""
    return rotary(dy, cos, -sin, offsets)
