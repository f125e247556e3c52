"""Attention masks: made for the usual cases, and brought into the one form that scores take.

| form                   | meaning                                          |
|------------------------|--------------------------------------------------|
| float                  | added to the scores; -1e8 and below forbids      |
| boolean                | True: may be attended to                         |
| shape (T, S)           | for every row of the batch alike                 |
| shape (B, S)           | over keys: for every query of a row alike        |
| shape (B, T, S)        | per row of the batch                             |
| shape (B, 1, T, S)     | the same; (B, H, T, S) tells heads apart as well |

Where B = T, a plain array with two axes is read as (T, S); what create_padding_mask returns is
always read as (B, S).
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from litegpt.nn.arrays import FLOAT, check_size, token_ids

FORBIDDEN = -1e9  # what the masks made here hold
_FORBIDS = -1e8  # from here down a score counts as -inf


class PaddingMask(np.ndarray):
    """A mask over keys, (B, S): its type tells it from a (T, S) mask where B = T.

    What is computed from it is a plain array, since it may be a mask of another kind.
    """

    def __array_wrap__(
        self, array: np.ndarray, context: object = None, return_scalar: bool = False
    ) -> Any:
        return array[()] if return_scalar else np.asarray(array)


def create_causal_mask(seq_len: int) -> np.ndarray:
    """(T, T) float32: 0 on and below the diagonal, -1e9 above it. A negative T: ValueError."""
    check_size("seq_len", seq_len, 0)
    return np.triu(np.full((seq_len, seq_len), FORBIDDEN, np.float32), 1)


def create_padding_mask(seq_lengths: ArrayLike, max_len: int) -> np.ndarray:
    """(B, max_len) float32: 0 in the first seq_lengths[b] places of row b, -1e9 in the rest.

    A length outside 0..max_len: ValueError; one that isn't an integer: TypeError.
    """
    check_size("max_len", max_len, 0)
    lengths = token_ids(seq_lengths, "seq_lengths")
    if lengths.ndim != 1:
        raise ValueError(f"seq_lengths must have one axis, not shape {lengths.shape}")
    if lengths.size and not (0 <= lengths.min() and lengths.max() <= max_len):
        raise ValueError(f"seq_lengths must be from 0 to max_len {max_len}: {lengths.tolist()}")
    padding = np.arange(max_len) >= lengths[:, None]  # (B, max_len)
    return np.where(padding, FORBIDDEN, 0).astype(np.float32).view(PaddingMask)


def scores_mask(
    mask: ArrayLike, batch: int, queries: int, keys: int, dtype: DTypeLike = FLOAT
) -> np.ndarray:
    """The mask as kernels.softmax adds it to scores (B, H, T, S): 0, finite values, or -inf.

    ValueError for a shape that isn't in the table above, TypeError for an integer mask.
    """
    array = np.asarray(mask)
    if array.dtype == bool:
        added = np.where(array, 0, -np.inf).astype(dtype)
    elif array.dtype.kind == "f":
        added = np.where(array <= _FORBIDS, -np.inf, array).astype(dtype)
    else:
        raise TypeError(
            f"mask must be boolean (True: attend) or float (added to the scores), not {array.dtype}"
        )
    if added.ndim == 2 and not isinstance(mask, PaddingMask) and added.shape == (queries, keys):
        return added
    if added.shape == (batch, keys):
        return added[:, None, None, :]  # (B, S) -> (B, 1, 1, S)
    if added.shape == (batch, queries, keys):
        return added[:, None]  # (B, T, S) -> (B, 1, T, S)
    if added.ndim == 4 and added.shape[0] == batch and added.shape[2:] == (queries, keys):
        return added
    raise ValueError(
        f"mask of shape {array.shape} fits none of: (T, S) = {(queries, keys)}, "
        f"(B, S) = {(batch, keys)}, (B, T, S) = {(batch, queries, keys)}, "
        f"(B, 1, T, S) = {(batch, 1, queries, keys)}"
    )
