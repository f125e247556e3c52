"""Rows of a table, by id."""

import numpy as np

from litegpt.kernels.reference.rotary import check_positions


def check_ids(ids: np.ndarray, rows: int) -> None:
    """IndexError naming the first id outside 0..rows-1 and its place in the flattened ids."""
    wrong = np.flatnonzero((ids < 0) | (ids >= rows))
    if wrong.size:
        place = int(wrong[0])
        raise IndexError(
            f"id {ids.flat[place]} at position {place} is outside the table of {rows} rows "
            f"(allowed: 0 to {rows - 1})"
        )


def embedding(ids: np.ndarray, table: np.ndarray) -> np.ndarray:
    """table[ids]: (...) int64 and (V, C) -> (..., C).

    An id outside 0..V-1: IndexError naming the id and its place in the flattened ids.
    """
    check_ids(ids, table.shape[0])
    return table[ids]


def embedding_backward(dy: np.ndarray, ids: np.ndarray, dtable: np.ndarray) -> None:
    """Adds each row of dy (..., C) into the row of dtable (V, C) that its id names, in order."""
    check_ids(ids, dtable.shape[0])
    np.add.at(dtable, ids.reshape(-1), dy.reshape(-1, dy.shape[-1]))


def add_positions(x: np.ndarray, table: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """y[b, t] = x[b, t] + table[offsets[b] + t].

    x and y are (B, T, C), table (positions, C), offsets (B,) int64. Its backward pass is
    embedding_backward, with the positions as ids. A position outside the table: IndexError.
    """
    check_positions(offsets, x.shape[1], table.shape[0])
    return x + table[offsets[:, None] + np.arange(x.shape[1])]
