"""Curves in Braille characters: every dot where it has to be."""

import math

import numpy as np
import pytest

from litegpt.pictures import braille_curves

BITS = {0x01: (0, 0), 0x02: (1, 0), 0x04: (2, 0), 0x40: (3, 0),
        0x08: (0, 1), 0x10: (1, 1), 0x20: (2, 1), 0x80: (3, 1)}  # fmt: skip


def dots(rows: list[list[tuple[str, int]]]) -> np.ndarray:
    """(4 height, 2 width), True where there is a dot."""
    shown = np.zeros((4 * len(rows), 2 * len(rows[0])), bool)
    for r, row in enumerate(rows):
        for c, (character, _) in enumerate(row):
            for bit, (down, across) in BITS.items():
                shown[4 * r + down, 2 * c + across] = bool(ord(character) - 0x2800 & bit)
    return shown


def test_a_falling_line_goes_from_one_corner_to_the_other() -> None:
    rows, low, high = braille_curves([[(0, 7.0), (7, 0.0)]], 4, 2, 7)
    assert (low, high) == (0, 7)
    assert (dots(rows) == np.eye(8, dtype=bool)).all()


def test_the_line_between_two_points_has_no_gap() -> None:
    shown = dots(braille_curves([[(0, 0.0), (1, 1.0), (9, 0.2)]], 5, 3, 9)[0])
    assert shown.any(axis=0).all() and shown.any(axis=1).all()
    assert shown[-1, 0] and shown[0].any()


def test_the_last_curve_owns_the_cells_that_it_crosses() -> None:
    first, second = [(0, 1.0), (3, 1.0)], [(0, 0.0), (1, 0.0)]
    rows, *_ = braille_curves([first, second], 2, 2, 3)
    assert [[owner for _, owner in row] for row in rows] == [[0, 0], [1, -1]]
    rows, *_ = braille_curves([first, first], 2, 1, 3)
    assert [owner for _, owner in rows[0]] == [1, 1]


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_not_finite_leaves_a_gap(wrong: float) -> None:
    curve = [(0, 0.0), (2, 0.0), (4, wrong), (6, 1.0), (7, 1.0)]
    shown = dots(braille_curves([curve], 4, 1, 7)[0])
    assert shown.tolist() == [
        [False] * 6 + [True] * 2, [False] * 8, [False] * 8, [True] * 3 + [False] * 5,
    ]  # fmt: skip


def test_one_value_and_none() -> None:
    rows, low, high = braille_curves([[(1, 3.0)], []], 3, 2, 0)
    assert low == high == 3 and dots(rows).sum() == 1
    rows, *_ = braille_curves([[], []], 3, 2, 10)
    assert not dots(rows).any()
