"""Cases of softmax."""

from typing import Any

import numpy as np

from litegpt.kernels import reference
from litegpt.kernels.cases.case import (
    EPS,
    LENGTHS,
    NORMAL,
    Arguments,
    Case,
    Gradient,
    Outputs,
    normal,
    sum_error,
)

ROWS = ((0, 5), *((2, n) for n in LENGTHS), (1, 1), (1, 65), (2, 3, 17), (1009, 33), (257, 401))


def _softmax(
    rng: np.random.Generator, shape: tuple[int, ...], mask: tuple[int, ...] | None = None
) -> Arguments:
    x = 4 * normal(rng, *shape)
    if mask is None:
        return {"x": x, "mask": None}
    additive = np.where(rng.random(mask) < 0.3, np.float32(-np.inf), normal(rng, *mask))
    return {"x": x, "mask": additive}


def _softmax_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """8 ulp of y * (1 + distance from the row's largest score): exp's argument is rounded."""
    x, mask = arguments["x"], arguments["mask"]
    scores = x if mask is None else x + mask
    if scores.size == 0:
        return [0.0]
    distance = np.where(np.isfinite(scores), scores.max(axis=-1, keepdims=True) - scores, 0)
    rounding = np.abs(x) if mask is None else np.abs(x) + np.where(np.isfinite(mask), mask, 0)
    error = 1 + np.nan_to_num(np.abs(distance), posinf=0) + np.abs(rounding)
    return [8 * EPS * np.abs(outputs[0]) * np.where(outputs[0] == 0, 0, error) + NORMAL]


def _softmax_backward(rng: np.random.Generator, *shape: int) -> Arguments:
    y = reference.softmax(2 * normal(rng, *shape))
    return {"dy": normal(rng, *shape), "y": y}


def _softmax_backward_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """Relative to y * (|dy| + sum |dy y|), growing as a sum over the row."""
    dy, y = np.abs(arguments["dy"]), np.abs(arguments["y"])
    magnitude = y * (dy + (dy * y).sum(axis=-1, keepdims=True))
    return [sum_error(y.shape[-1]) * magnitude + NORMAL]


def _softmax_gradient(
    twin: Any, arguments: Arguments, outputs: Outputs, dy: np.ndarray
) -> Arguments:
    return {"x": twin.softmax_backward(dy, outputs[0])}


def _special_softmax(rng: np.random.Generator) -> Arguments:
    x = normal(rng, 9, 37)
    x[0, 5] = np.nan
    x[1, 36] = np.inf
    x[2] = -np.inf
    x[3, ::2] = -np.inf
    x[4] = -1e30
    x[5, 7] = 3e38
    x[6] *= 1e-42
    x[7] -= 1e4
    return {"x": x, "mask": None}


def _masked_rows(rng: np.random.Generator) -> Arguments:
    mask = np.zeros((4, 19), np.float32)
    mask[0] = -np.inf
    mask[1, 1:] = -np.inf
    mask[2, :18] = -np.inf
    return {"x": normal(rng, 3, 4, 19), "mask": mask}


CASES = (
    Case(
        "softmax",
        _softmax,
        (
            *((shape, None) for shape in ROWS),
            ((3, 0), None),
            ((17,), None),
            ((4, 9, 17), (9, 17)),
            ((2, 3, 5, 33), (2, 1, 5, 33)),
            ((2, 3, 5, 33), (2, 1, 1, 33)),
            ((2, 17), (2, 17)),
            ((2, 17), (17,)),
            ((2, 3, 4, 5), (1, 3, 4, 5)),
        ),
        _softmax_bound,
        {"24576x256": ((24576, 256),), "1x50257": ((1, 50257),)},
        special={"rows": _special_softmax, "masked rows": _masked_rows},
        gradient=Gradient(_softmax_gradient, sizes=(((3, 7), None), ((2, 3, 7), (3, 7)))),
        wanted=4,
    ),
    Case(
        "softmax_backward",
        _softmax_backward,
        ROWS,
        _softmax_backward_bound,
        {"24576x256": (24576, 256)},
    ),
)
