"""What generation keeps of the tokens it has seen: keys and values, per layer."""

import numpy as np

from litegpt.kernels.reference.attention import KEY_BLOCK


class LayerCache:
    """One layer's keys (B, G, S/32, D, 32) and values (B, G, S, D); see kernels.cache_append.

    `lengths` (B,) int64, the positions that each row has filled, is shared by all layers.
    """

    __slots__ = ("keys", "lengths", "values")

    def __init__(self, keys: np.ndarray, values: np.ndarray, lengths: np.ndarray) -> None:
        self.keys, self.values, self.lengths = keys, values, lengths


class KVCache:
    """The caches of all layers of a model, for a batch of rows.

    capacity, in positions, is rounded up to a multiple of 32.
    """

    def __init__(
        self, num_layers: int, batch: int, num_kv_heads: int, head_dim: int, capacity: int
    ) -> None:
        self.capacity = -(-capacity // KEY_BLOCK) * KEY_BLOCK
        self.lengths = np.zeros(batch, np.int64)
        blocks = self.capacity // KEY_BLOCK
        # Each in one piece of memory: the operating system gives it in large pages, without which
        # a long cache is read more slowly.
        rows = (num_layers, batch, num_kv_heads)
        self._keys = np.zeros((*rows, blocks, head_dim, KEY_BLOCK), np.float32)
        self._values = np.zeros((*rows, self.capacity, head_dim), np.float32)
        self.layers = [
            LayerCache(keys, values, self.lengths)
            for keys, values in zip(self._keys, self._values, strict=True)
        ]

    @property
    def batch(self) -> int:
        return self.lengths.shape[0]

    @property
    def nbytes(self) -> int:
        return self._keys.nbytes + self._values.nbytes

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
