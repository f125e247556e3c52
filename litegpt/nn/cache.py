"""What generation keeps of the tokens it has seen: keys and values, per layer."""

import numpy as np

from litegpt.kernels.reference.attention import KEY_BLOCK


class LayerCache:
    """One layer's keys (B, G, S/32, D, 32) and values (B, G, S, D); see kernels.cache_append.

    `lengths` (B,) int64, the positions that each row has filled, is shared by all layers.
    """

    __slots__ = ("keys", "lengths", "values")

    def __init__(
        self, batch: int, num_kv_heads: int, capacity: int, head_dim: int, lengths: np.ndarray
    ) -> None:
        blocks = capacity // KEY_BLOCK
        self.keys = np.zeros((batch, num_kv_heads, blocks, head_dim, KEY_BLOCK), np.float32)
        self.values = np.zeros((batch, num_kv_heads, capacity, head_dim), np.float32)
        self.lengths = lengths


class KVCache:
    """The caches of all layers of a model, for a batch of rows.

    capacity, in positions, is rounded up to a multiple of 32.
    """

    def __init__(
        self, num_layers: int, batch: int, num_kv_heads: int, head_dim: int, capacity: int
    ) -> None:
        self.capacity = -(-capacity // KEY_BLOCK) * KEY_BLOCK
        self.lengths = np.zeros(batch, np.int64)
        self.layers = [
            LayerCache(batch, num_kv_heads, self.capacity, head_dim, self.lengths)
            for _ in range(num_layers)
        ]

    @property
    def batch(self) -> int:
        return self.lengths.shape[0]

    @property
    def nbytes(self) -> int:
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers)

    def advance(self, count: int) -> None:
        """Counts the positions that every layer has just been given."""
        self.lengths += count

    def reset(self) -> None:
        """Forgets every position; the memory stays."""
        self.lengths.fill(0)

    def copy_rows(self, rows: np.ndarray, other: "KVCache", other_rows: np.ndarray) -> None:
        """Makes rows (n,) hold what other_rows (n,) of another cache of these sizes hold.

        ValueError if that doesn't fit in.
        """
        filled = int(other.lengths[other_rows].max(initial=0))
        if filled > self.capacity:
            raise ValueError(f"{filled} positions are more than the capacity {self.capacity}")
        blocks = -(-filled // KEY_BLOCK)
        for ours, theirs in zip(self.layers, other.layers, strict=True):
            ours.keys[rows, :, :blocks] = theirs.keys[other_rows, :, :blocks]
            ours.values[rows, :, :filled] = theirs.values[other_rows, :, :filled]
        self.lengths[rows] = other.lengths[other_rows]
