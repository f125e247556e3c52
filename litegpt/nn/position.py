"""Where a token stands: vectors added to the embedding, or rotations of queries and keys."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from litegpt import kernels
from litegpt.nn.arrays import check_size, is_number
from litegpt.nn.module import Module
from litegpt.nn.parameter import Parameter
from litegpt.nn.random import Seed, normal


def _first(table: np.ndarray, seq_len: int) -> np.ndarray:
    check_size("seq_len", seq_len, 0)
    if seq_len > table.shape[0]:
        raise ValueError(f"seq_len {seq_len} is outside 0 to max_seq_len {table.shape[0]}")
    return table[:seq_len]


class PositionalEncoding(Module):
    """Sines and cosines of falling frequency, fixed.

    table[p, 2i] = sin(p / 10000^(2i/C)), table[p, 2i + 1] = cos(p / 10000^(2i/C)).
    Vaswani et al., 2017 (arXiv:1706.03762). An odd width ends with a sine. More positions than
    max_seq_len: ValueError.
    """

    def __init__(self, max_seq_len: int, embedding_dim: int) -> None:
        check_size("max_seq_len", max_seq_len)
        check_size("embedding_dim", embedding_dim)
        rates = 10000.0 ** (-np.arange(0, embedding_dim, 2) / embedding_dim)  # (ceil(C / 2),)
        angles = np.arange(max_seq_len)[:, None] * rates  # (T, ceil(C / 2))
        self.table = np.empty((max_seq_len, embedding_dim), np.float32)
        self.table[:, 0::2] = np.sin(angles)
        self.table[:, 1::2] = np.cos(angles[:, : embedding_dim // 2])

    def forward(self, seq_len: int) -> np.ndarray:
        """The vectors of the first seq_len positions: (seq_len, C)."""
        return _first(self.table, seq_len).copy()

    def forward_train(
        self, seq_len: int, rng: Seed = None, positions: np.ndarray | None = None
    ) -> tuple[np.ndarray, Callable[[np.ndarray], None]]:
        """The vectors, or those of positions (B, T); and backward, which has nothing to do."""
        if positions is None:
            return self.forward(seq_len), lambda dy: None
        return kernels.embedding(positions, self.table), lambda dy: None

    def add(self, x: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """x (B, T, C) plus the vectors of its places, row b's first token at offsets[b] (int64)."""
        return kernels.add_positions(x, self.table, offsets)


class LearnedPositionalEncoding(Module):
    """One trained vector per position: `weight` (max_seq_len, C), as in GPT-2.

    More positions than max_seq_len: ValueError.
    """

    def __init__(
        self, max_seq_len: int, embedding_dim: int, std: float = 0.02, seed: Seed = None
    ) -> None:
        check_size("max_seq_len", max_seq_len)
        check_size("embedding_dim", embedding_dim)
        self.weight = Parameter(normal(seed, (max_seq_len, embedding_dim), std))

    def forward(self, seq_len: int) -> np.ndarray:
        """The vectors of the first seq_len positions: (seq_len, C)."""
        return _first(self.weight.data, seq_len).copy()

    def forward_train(
        self, seq_len: int, rng: Seed = None, positions: np.ndarray | None = None
    ) -> tuple[np.ndarray, Callable[[np.ndarray], None]]:
        """The vectors, or those of positions (B, T), and backward.

        backward takes dy (T, C) or, for a batch, (B, T, C).
        """
        weight = self.weight

        def backward(dy: np.ndarray) -> None:
            if not weight.trainable:
                return
            places = np.arange(seq_len) if positions is None else positions
            places = np.broadcast_to(places, dy.shape[:-1])
            kernels.embedding_backward(dy, np.ascontiguousarray(places), weight.grad)

        if positions is None:
            return self.forward(seq_len), backward
        return kernels.embedding(positions, weight.data), backward

    def add(self, x: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """x (B, T, C) plus the vectors of its places, row b's first token at offsets[b] (int64)."""
        return kernels.add_positions(x, self.weight.data, offsets)


# Kinds of scaling for contexts longer than those of the first training -> the numbers they take.
ROPE_SCALINGS: dict[str, tuple[str, ...]] = {
    "linear": ("factor",),
    "dynamic": ("factor", "original_max_position_embeddings"),
    "llama3": (
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    ),
}


def check_rope_scaling(
    scaling: Mapping[str, Any] | None, max_seq_len: int
) -> dict[str, Any] | None:
    """{"rope_type": a kind of ROPE_SCALINGS, its numbers}; ValueError unless it is one, or None.

    The original context of "dynamic" may be left out: then it is max_seq_len, and nothing scaled.
    """
    if scaling is None:
        return None
    kind = scaling.get("rope_type") if isinstance(scaling, Mapping) else None
    if not isinstance(kind, str) or kind not in ROPE_SCALINGS:
        raise ValueError(
            f"rope_scaling must have a rope_type of {', '.join(ROPE_SCALINGS)}, not {scaling!r}"
        )
    if kind == "dynamic":
        scaling = {"original_max_position_embeddings": max_seq_len, **scaling}
    checked: dict[str, Any] = {"rope_type": kind}
    for name in ROPE_SCALINGS[kind]:
        value = scaling.get(name)
        if not is_number(value, 0) or value == 0:
            raise ValueError(f"rope_scaling's {name} must be a positive number, not {value!r}")
        checked[name] = float(value)
    positions = checked.get("original_max_position_embeddings")
    if positions is not None:
        if not positions.is_integer():
            raise ValueError(
                "rope_scaling's original_max_position_embeddings must be a whole number, "
                f"not {positions}"
            )
        checked["original_max_position_embeddings"] = int(positions)  # transformers wants an int
    if set(scaling) != set(checked):
        raise ValueError(f"rope_scaling {kind!r} takes {', '.join(checked)}, not {list(scaling)}")
    if kind == "llama3" and checked["low_freq_factor"] >= checked["high_freq_factor"]:
        raise ValueError("rope_scaling's low_freq_factor must be below high_freq_factor")
    return checked


def scaled_rates(rates: np.ndarray, scaling: Mapping[str, Any] | None) -> np.ndarray:
    """The angles per position, (D/2,), after scaling.

    linear: divided by factor (Chen et al., 2023, arXiv:2306.15595). llama3: divided by factor where
    the original context holds fewer than low_freq_factor turns, as they were where it holds more
    than high_freq_factor, and between the two in between (Dubey et al., 2024, arXiv:2407.21783).
    dynamic leaves them as they are up to the original context: see dynamic_theta.
    """
    if scaling is None or scaling["rope_type"] == "dynamic":
        return rates
    if scaling["rope_type"] == "linear":
        return rates / scaling["factor"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] * rates / (2 * math.pi)
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return rates * (kept + (1 - kept) / scaling["factor"])


def dynamic_theta(theta: float, head_dim: int, scaling: Mapping[str, Any], length: int) -> float:
    """The base for a text of this length, beyond the original context.

    theta * (factor * length / original - factor + 1)^(D / (D - 2)): the slowest angle is divided by
    the bracket, the fastest one stays ("dynamic NTK", Peng et al., 2023, arXiv:2309.00071).
    """
    factor, original = scaling["factor"], scaling["original_max_position_embeddings"]
    stretch = factor * length / original - factor + 1
    return theta * stretch ** (head_dim / (head_dim - 2)) if head_dim > 2 else theta


class RotaryPositionalEncoding(Module):
    """Turns entries (i, i + D/2) of a head at position p by the angle p / theta^(2i/D).

    Su et al., 2021 (arXiv:2104.09864), in the half-split order of the Llama weights. `cos` and
    `sin` are (positions, D/2); they grow with the positions that are met, up to `steady`: so many
    positions turn by angles of their own, whatever follows. That is max_seq_len, but with dynamic
    scaling, by which all angles of a longer text depend on its length. One object serves every
    block of a model.
    """

    def __init__(
        self,
        max_seq_len: int,
        head_dim: int,
        theta: float = 10000.0,
        scaling: Mapping[str, Any] | None = None,
    ) -> None:
        if head_dim % 2:
            raise ValueError(f"rotary positions need an even head width, not {head_dim}")
        self.max_seq_len, self._head_dim, self._theta = max_seq_len, head_dim, theta
        self._scaling = check_rope_scaling(scaling, max_seq_len)
        self.steady = steady_positions(self._scaling, max_seq_len)
        self.rates = scaled_rates(_rates(theta, head_dim), self._scaling)  # (D/2,) float64
        self.cos = self.sin = np.empty((0, head_dim // 2), np.float32)
        self._longer = self.cos, self.sin  # those of the last longer text

    def reach(self, positions: int) -> None:
        """Makes the tables long enough, but never longer than `steady`."""
        if len(self.cos) < min(positions, self.steady):
            self.cos, self.sin = _tables(min(self.steady, max(64, 2 * positions)), self.rates)

    def _of(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """cos and sin for a text of this length."""
        self.reach(length)
        if self._scaling is None or not self.steady < length <= self.max_seq_len:
            return self.cos, self.sin
        if len(self._longer[0]) != length:
            theta = dynamic_theta(self._theta, self._head_dim, self._scaling, length)
            self._longer = _tables(length, _rates(theta, self._head_dim))
        return self._longer

    def forward(self, x: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """x (B, T, H, D), row b's first token standing at offsets[b] (int64).

        Or every token at its own place, offsets being (B, T). A position outside
        0..max_seq_len - 1: IndexError.
        """
        rows, offsets = _each_at(x, offsets)
        cos, sin = self._of(int(offsets.max(initial=0)) + rows.shape[1])
        return kernels.rotary(rows, cos, sin, offsets).reshape(x.shape)

    def backward(self, dy: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """The gradient of x: dy turned back."""
        rows, offsets = _each_at(dy, offsets)
        cos, sin = self._of(int(offsets.max(initial=0)) + rows.shape[1])
        return kernels.rotary_backward(rows, cos, sin, offsets).reshape(dy.shape)


def steady_positions(scaling: Mapping[str, Any] | None, max_seq_len: int) -> int:
    """Positions whose angles don't depend on what follows: see RotaryPositionalEncoding."""
    if scaling is None or scaling["rope_type"] != "dynamic":
        return max_seq_len
    return min(max_seq_len, scaling["original_max_position_embeddings"])


def _rates(theta: float, head_dim: int) -> np.ndarray:
    """(D/2,) float64."""
    return theta ** (-np.arange(0, head_dim, 2) / head_dim)


def _tables(length: int, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    angles = np.arange(length)[:, None] * rates  # (positions, D/2)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def _each_at(x: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """With offsets (B, T), each token as a row of its own: (B, T, H, D) -> (B T, 1, H, D)."""
    if offsets.ndim == 1:
        return x, offsets
    return x.reshape(-1, 1, *x.shape[2:]), offsets.ravel()
