"""Rotary position embedding."""

import numpy as np


def check_positions(offsets: np.ndarray, length: int, capacity: int) -> None:
    """IndexError unless each row's `length` positions from its offset on are 0..capacity-1."""
    if length and offsets.size and not (offsets.min() >= 0 and offsets.max() + length <= capacity):
        raise IndexError(
            f"positions {offsets.min()} to {offsets.max() + length - 1} are outside the "
            f"{capacity} positions that there are"
        )


def rotary(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Rotates the pairs (i, i + R) of each head by the angle of the token's position.

    Su et al., 2021 (arXiv:2104.09864), in the half-split order of the Llama weights. x is
    (B, T, H, D), last axis contiguous; cos and sin are tables (positions, R) with 2R <= D, and
    entries past 2R stay as they are. Row b's tokens stand at offsets[b], offsets[b] + 1, ...
    (int64). A position outside the table: IndexError.
    """
    check_positions(offsets, x.shape[1], cos.shape[0])
    half = cos.shape[1]
    positions = offsets[:, None] + np.arange(x.shape[1])  # (B, T)
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
