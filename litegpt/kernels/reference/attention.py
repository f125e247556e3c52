"""Causal attention: over the sequence itself (training), and over a cache (generation).

Vaswani et al., 2017 (arXiv:1706.03762); the compiled twin streams over blocks of keys with a
running maximum and sum (Milakov and Gimelshein, 2018, arXiv:1805.02867; Dao et al., 2022,
arXiv:2205.14135), so that no (T, S) array ever stands in memory.

Head h of the H query heads reads key/value head h // (H / G) (grouped-query attention, Ainslie
et al., 2023, arXiv:2305.13245). Arrays are in the order in which the projections write them,
(B, T, H, D): the last axis is contiguous, the others may be strided (slices of one projection).
"""

import numpy as np

from litegpt.kernels.reference.dropout import keep_mask
from litegpt.kernels.reference.rotary import check_positions

KEY_BLOCK = 32  # positions in a block of cached keys


def _heads_first(x: np.ndarray, heads: int) -> np.ndarray:
    """Each of the heads with what it reads: (B, S, G, D) -> (B, H, S, D)."""
    return np.repeat(x.swapaxes(1, 2), heads // x.shape[2], axis=1)


def _causal_scores(q: np.ndarray, k: np.ndarray, key_mask: np.ndarray | None) -> np.ndarray:
    """q k^T / sqrt(D), -inf where a query may not look: twice (B, H, ., D) -> (B, H, T, S)."""
    (length, width), attended = q.shape[2:], k.shape[2]
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.dtype.type(width))
    if key_mask is not None:
        scores = scores + key_mask[:, None, None, :]
    allowed = np.arange(attended) <= np.arange(length)[:, None] + (attended - length)  # (T, S)
    return np.where(allowed, scores, -np.inf).astype(q.dtype, copy=False)


def _dropout_scale(shape: tuple[int, ...], p: float, seed: int) -> np.ndarray | float:
    """What the probabilities (B, H, T, S) are multiplied with: 0, or 1 / (1 - p)."""
    if p == 0:
        return 1.0
    if p >= 1:
        return 0.0
    rows, width = int(np.prod(shape[:-1])), shape[-1]
    return keep_mask(rows, width, p, seed).reshape(shape) / (1.0 - p)


def _probabilities(scores: np.ndarray, lse: np.ndarray) -> np.ndarray:
    """exp(scores - lse), 0 in rows with nothing to attend to (lse = -inf)."""
    finite = np.where(np.isneginf(lse), 0, lse)[..., None]
    return np.exp(scores - finite)


def causal_attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    key_mask: np.ndarray | None = None,
    dropout: float = 0.0,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """y = softmax(q k^T / sqrt(D)) v, each query looking at keys up to its own place.

    q is (B, T, H, D), k and v are (B, S, G, D), S >= T and H a multiple of G; the last query
    stands at the last key (aligned bottom right). key_mask (B, S) is added to the scores: 0, or
    -inf for a key that nobody may look at. dropout drops probabilities with keep_mask(B * H * T,
    S, dropout, seed). Returns y (B, T, H, D) and the log of each row's sum of exponentials, lse
    (B, H, T). A row with nothing to attend to gives zeros, and lse -inf.
    """
    q, k, v = (_heads_first(x, q.shape[2]) for x in (q, k, v))
    scores = _causal_scores(q, k, key_mask)  # (B, H, T, S)
    top = scores.max(axis=-1, initial=-np.inf)
    top = np.where(np.isneginf(top), 0, top)
    with np.errstate(divide="ignore"):
        lse = np.log(np.exp(scores - top[..., None]).sum(axis=-1)) + top  # (B, H, T)
    p = _probabilities(scores, lse) * _dropout_scale(scores.shape, dropout, seed)
    y = (p @ v).swapaxes(1, 2)  # (B, H, T, D) -> (B, T, H, D)
    return np.ascontiguousarray(y, q.dtype), np.ascontiguousarray(lse, q.dtype)


def causal_attention_backward(
    dy: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    y: np.ndarray,
    lse: np.ndarray,
    key_mask: np.ndarray | None = None,
    dropout: float = 0.0,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dq, dk, dv, from what causal_attention took and returned.

    With P the probabilities and dP = dy v^T: dv = P^T dy, dS = P * (dP - sum(dy * y)),
    dq = dS k / sqrt(D), dk = dS^T q / sqrt(D); the heads of a group add up in dk and dv. Where
    S = T the three stand side by side in one array (B, T, H + 2G, D), their base: it is the
    gradient of a projection to all heads, which so needs no copy.
    """
    heads, width = q.shape[2:]
    per_group = (k.shape[0], k.shape[2], heads // k.shape[2], k.shape[1], width)  # B G H/G S D
    q, k, v, dy, y = (_heads_first(x, heads) for x in (q, k, v, dy, y))
    p = _probabilities(_causal_scores(q, k, key_mask), lse)  # (B, H, T, S)
    drop = _dropout_scale(p.shape, dropout, seed)
    dp = (dy @ v.swapaxes(-1, -2)) * drop
    delta = (dy * y).sum(axis=-1, keepdims=True)
    ds = p * (dp - delta) / np.sqrt(q.dtype.type(width))
    dq = ds @ k  # (B, H, T, S) (B, H, S, D) -> (B, H, T, D)
    dk = (ds.swapaxes(-1, -2) @ q).reshape(per_group).sum(axis=2)  # -> (B, G, S, D)
    dv = ((p * drop).swapaxes(-1, -2) @ dy).reshape(per_group).sum(axis=2)
    dq, dk, dv = (np.ascontiguousarray(g.swapaxes(1, 2), q.dtype) for g in (dq, dk, dv))
    if dq.shape[1] != dk.shape[1]:
        return dq, dk, dv
    joint, groups = np.concatenate([dq, dk, dv], axis=2), dk.shape[2]
    return joint[:, :, :heads], joint[:, :, heads : heads + groups], joint[:, :, heads + groups :]


def cache_append(
    k: np.ndarray, v: np.ndarray, keys: np.ndarray, values: np.ndarray, lengths: np.ndarray
) -> None:
    """Writes k and v (B, T, G, D) into a cache, row b from position lengths[b] (int64) on.

    values is (B, G, S, D); keys is (B, G, S / 32, D, 32), blocks of 32 positions side by side, so
    that scores of neighbouring keys are computed together. S is a multiple of 32. A position
    outside the cache: IndexError. lengths stays as it is.
    """
    batch, length = k.shape[:2]
    check_positions(lengths, length, values.shape[2])
    for b in range(batch):
        positions = lengths[b] + np.arange(length)
        values[b][:, positions] = v[b].swapaxes(0, 1)  # (T, G, D) -> (G, T, D)
        keys[b][:, positions // KEY_BLOCK, :, positions % KEY_BLOCK] = k[b]


def cached_attention(
    q: np.ndarray, keys: np.ndarray, values: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    """causal_attention of new queries (B, T, H, D) over a cache that holds their keys already.

    Row b's queries stand at lengths[b], lengths[b] + 1, ...; keys and values as in cache_append.
    Returns (B, T, H, D), bit for bit what causal_attention gives for these positions.
    """
    batch, length = q.shape[:2]
    check_positions(lengths, length, values.shape[2])
    y = np.empty(q.shape, q.dtype)
    for b in range(batch):
        end = int(lengths[b]) + length
        k = keys[b].swapaxes(1, 2).reshape(keys.shape[1], q.shape[3], -1)  # (G, D, S)
        k_row = k[None, :, :, :end].transpose(0, 3, 1, 2)  # (1, end, G, D)
        v_row = values[None, b, :, :end].swapaxes(1, 2)
        y[b] = causal_attention(q[b : b + 1], k_row, v_row)[0][0]
    return y
