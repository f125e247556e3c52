"""Dropout from a counter-based generator: a mask is a function of seed and place alone.

The generator is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
SC 2011). Since nothing is drawn in sequence, forward and backward see the same mask without
saving it, and so does any number of threads.
"""

import numpy as np

_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def _philox(counter: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Ten rounds on four 32-bit counter words (held in uint64) with a 64-bit key."""
    c0, c1, c2, c3 = counter
    key0, key1 = seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF
    for _ in range(10):
        product0, product1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0 = (product1 >> _SHIFT) ^ c1 ^ np.uint64(key0)
        c2 = (product0 >> _SHIFT) ^ c3 ^ np.uint64(key1)
        c1, c3 = product1 & _LOW, product0 & _LOW
        key0, key1 = (key0 + _WEYL[0]) & 0xFFFFFFFF, (key1 + _WEYL[1]) & 0xFFFFFFFF
    return [c0, c1, c2, c3]


def keep_mask(rows: int, width: int, p: float, seed: int) -> np.ndarray:
    """True where an entry of a (rows, width) array stays; each is dropped with probability p.

    Entries go by blocks of 64 along a row: entry j takes word (j % 64) // 16 of the counter
    16 * (j // 64) + j % 16, so that 16 counters side by side fill a block in order.
    """
    blocks = -(-width // 64)
    q = np.arange(blocks * 16, dtype=np.uint64)[None, :]  # (1, 16 per block)
    r = np.arange(rows, dtype=np.uint64)[:, None]  # (rows, 1)
    counter = [q & _LOW, r & _LOW, r >> _SHIFT, q >> _SHIFT]
    words = _philox([np.broadcast_to(c, (rows, blocks * 16)) for c in counter], seed)
    drawn = np.stack([w.reshape(rows, blocks, 16) for w in words], axis=2)  # (rows, blocks, 4, 16)
    return drawn.reshape(rows, blocks * 64)[:, :width] >= np.uint64(round(p * 2.0**32))


def dropout(x: np.ndarray, p: float, seed: int) -> np.ndarray:
    """y = x / (1 - p) where the mask keeps, else 0; p >= 1 gives zeros, p = 0 gives x.

    The mask is keep_mask(1, x.size, p, seed) over the flattened x; seed is 0..2^64-1. The
    backward pass is dropout itself: dx = dropout(dy, p, seed).
    """
    if p >= 1:
        return np.zeros_like(x)
    keep = keep_mask(1, x.size, p, seed).reshape(x.shape)
    return np.where(keep, x * x.dtype.type(1.0 / (1.0 - p)), 0).astype(x.dtype, copy=False)
