"""Curves in a terminal: Braille characters, each of them a grid of 2 x 4 dots."""

import math
from collections.abc import Sequence

import numpy as np

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row, then column
_EMPTY = 0x2800

Points = Sequence[tuple[float, float]]  # (x, y), x rising


def braille_curves(
    curves: Sequence[Points], width: int, height: int, x_end: float
) -> tuple[list[list[tuple[str, int]]], float, float]:
    """Rows of cells (character, which curve: the last one there; -1 for none), and lowest and
    highest y.

    x goes from 0 on the left to x_end on the right. Points that aren't finite are left out, and
    the curve with them; without any, the rows are empty.
    """
    across, down = 2 * width, 4 * height
    dots = np.zeros((height, width), np.int64)
    owner = np.full((height, width), -1)
    seen = [y for curve in curves for _, y in curve if math.isfinite(y)]
    low, high = (min(seen), max(seen)) if seen else (0.0, 0.0)
    x_scale = (across - 1) / x_end if x_end > 0 else 0.0
    y_scale = (down - 1) / (high - low) if high > low else 0.0
    for number, curve in enumerate(curves):
        before: tuple[int, int] | None = None
        for x, y in curve:
            if not math.isfinite(y):
                before = None
                continue
            column = min(max(round(x * x_scale), 0), across - 1)
            place = column, down - 1 - round((y - low) * y_scale)
            for c, r in _line(before or place, place):
                dots[r // 4, c // 2] |= _DOTS[r % 4][c % 2]
                owner[r // 4, c // 2] = number
            before = place
    rows = [
        [(chr(_EMPTY + dots[r, c]), int(owner[r, c])) for c in range(width)] for r in range(height)
    ]
    return rows, low, high


def _line(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """The dots from one to another, both included: as many as the longer side of the way has."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return [
        (
            start[0] + round((end[0] - start[0]) * i / steps),
            start[1] + round((end[1] - start[1]) * i / steps),
        )
        for i in range(steps + 1)
    ]
