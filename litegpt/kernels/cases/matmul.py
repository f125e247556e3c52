"""The case of the batched product."""

from typing import Any

import numpy as np

from litegpt.kernels.cases.case import (
    NORMAL,
    Arguments,
    Case,
    Gradient,
    Outputs,
    normal,
    sum_error,
)
from litegpt.kernels.cases.linear import SHAPES, VECTOR


def _matmul(
    rng: np.random.Generator,
    lead: tuple[int, ...],
    rows: int,
    inner: int,
    columns: int,
    transpose_a: bool = False,
    transpose_b: bool = False,
) -> Arguments:
    a = (inner, rows) if transpose_a else (rows, inner)
    b = (columns, inner) if transpose_b else (inner, columns)
    return {
        "a": normal(rng, *lead, *a),
        "b": normal(rng, *lead, *b),
        "transpose_a": transpose_a,
        "transpose_b": transpose_b,
    }


def _matmul_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """Relative to |a| @ |b|, growing as a sum of K products."""
    a, b = np.abs(arguments["a"]), np.abs(arguments["b"])
    a = a.swapaxes(-1, -2) if arguments["transpose_a"] else a
    b = b.swapaxes(-1, -2) if arguments["transpose_b"] else b
    return [sum_error(a.shape[-1]) * (a @ b) + NORMAL]


def _matmul_gradient(
    twin: Any, arguments: Arguments, outputs: Outputs, dy: np.ndarray
) -> Arguments:
    a, b = arguments["a"], arguments["b"]
    return {
        "a": twin.matmul(dy, b, transpose_b=True),
        "b": twin.matmul(a, dy, transpose_a=True),
    }


_LEADS = ((), (0,), (3,), (2, 3))
CASES = (
    Case(
        "matmul",
        _matmul,
        (
            *(
                (lead, 5, 17, 33, a, b)
                for lead in _LEADS
                for a in (False, True)
                for b in (False, True)
            ),
            *(((2,), *shape) for shape in SHAPES[::3]),
            *(((2,), 33, k, 18, False, True) for k in VECTOR),
        ),
        _matmul_bound,
        {"48x64x32x64": ((48,), 64, 32, 64), "12x256x64x256": ((12,), 256, 64, 256, False, True)},
        gradient=Gradient(_matmul_gradient, sizes=(((2,), 3, 5, 4),)),
        flops=lambda arguments: (
            2.0
            * arguments["a"].size
            * (arguments["b"].shape[-2 if arguments["transpose_b"] else -1])
        ),
    ),
)
