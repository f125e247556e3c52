"""Cases of the matrix product in its forms."""

from typing import Any

import numpy as np

from litegpt.kernels import reference
from litegpt.kernels.cases.case import (
    NORMAL,
    Arguments,
    Case,
    Gradient,
    Outputs,
    exact,
    normal,
    sum_error,
)
from litegpt.kernels.reference.linear import rounded

VECTOR = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65)
SHAPES = (
    *((m, 19, 33) for m in (0, *VECTOR, 100)),
    *((3, k, 17) for k in (0, *VECTOR, 257, 1009)),
    *((3, 18, n) for n in (0, *VECTOR, 257)),
    (1, 128, 384),
    (67, 301, 101),
    (130, 260, 140),
)


def _linear(
    rng: np.random.Generator,
    rows: int,
    inputs: int,
    outputs: int,
    activation: str | None = None,
    transposed: bool = False,
    bias: bool = True,
    residual: bool = False,
    precision: str = "float32",
) -> Arguments:
    return {
        "x": normal(rng, rows, inputs),
        "weight": normal(rng, *((outputs, inputs) if transposed else (inputs, outputs))),
        "bias": normal(rng, outputs) if bias else None,
        "residual": normal(rng, rows, outputs) if residual else None,
        "activation": activation,
        "transposed": transposed,
        "precision": precision,
    }


def _packed(
    rng: np.random.Generator,
    rows: int,
    inputs: int,
    outputs: int,
    activation: str | None = None,
    transposed: bool = False,
    bias: bool = True,
    residual: bool = False,
) -> Arguments:
    plain = _linear(rng, rows, inputs, outputs, activation, transposed, bias, residual)
    x, weight, _ = plain.pop("x"), plain.pop("weight"), plain.pop("precision")
    packed = reference.pack_linear(weight, plain.pop("transposed"))
    return {"x": x, "packed": packed, "outputs": outputs, **plain}


_VARIANTS = (  # activation, transposed, bias, residual
    (None, True, False, False),
    (None, False, False, True),
    (None, True, True, True),
    ("gelu", False, True, False),
    ("gelu", True, True, True),
    ("gelu_erf", False, True, True),
    ("relu", False, False, False),
)
_SIZES = (
    *SHAPES,
    *((m, 20, 37, *variant) for m in (1, 4, 33) for variant in _VARIANTS),
    *((m, k, n, None, True) for m, k, n in ((1, 1, 1), (1, 64, 65), (9, 33, 31), (70, 257, 101))),
)


def _linear_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """Relative to |x| @ |weight| + |bias| + |residual|, growing as a sum of K products."""
    precision = arguments.get("precision", "float32")
    x = np.abs(rounded(arguments["x"], precision))
    if "packed" in arguments:
        panels, inputs, width = arguments["packed"].shape
        weight = arguments["packed"].transpose(1, 0, 2).reshape(inputs, panels * width)
        weight = np.abs(weight[:, : arguments["outputs"]])
    else:
        weight = np.abs(rounded(arguments["weight"], precision))
        weight = weight.T if arguments["transposed"] else weight
    magnitude = x @ weight
    for name in ("bias", "residual"):
        if arguments[name] is not None:
            magnitude = magnitude + np.abs(arguments[name])
    return [sum_error(x.shape[-1]) * magnitude + NORMAL]


def _linear_backward(
    rng: np.random.Generator,
    rows: int,
    inputs: int,
    outputs: int,
    transposed: bool = False,
    bias: bool = True,
    accumulate: bool = True,
    precision: str = "float32",
) -> Arguments:
    weight = (outputs, inputs) if transposed else (inputs, outputs)
    return {
        "dy": normal(rng, rows, outputs),
        "x": normal(rng, rows, inputs),
        "weight": normal(rng, *weight),
        "dweight": normal(rng, *weight),
        "dbias": normal(rng, outputs) if bias else None,
        "transposed": transposed,
        "accumulate": accumulate,
        "precision": precision,
    }


def _special_overwritten(rng: np.random.Generator) -> Arguments:
    """Nothing of what dweight held is left."""
    arguments = _linear_backward(rng, 33, 35, 41, bias=False, accumulate=False)
    arguments["dweight"][:] = np.nan
    return arguments


def _linear_backward_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """Each relative to the magnitudes that it adds up: N products for dx, M for the others."""
    dy, x, weight = (
        np.abs(rounded(arguments[name], arguments["precision"])) for name in ("dy", "x", "weight")
    )
    transposed, (rows, columns) = arguments["transposed"], dy.shape
    dx = sum_error(columns) * (dy @ (weight if transposed else weight.T))
    product = dy.T @ x if transposed else x.T @ dy
    held = np.abs(arguments["dweight"]) if arguments["accumulate"] else 0
    bounds = [dx + NORMAL, sum_error(rows) * (held + product) + NORMAL]
    if arguments["dbias"] is not None:
        magnitude = np.abs(arguments["dbias"]) + np.abs(arguments["dy"]).sum(axis=0)
        bounds.append(sum_error(rows) * magnitude + NORMAL)
    return bounds


def _linear_gradient(
    twin: Any, arguments: Arguments, outputs: Outputs, dy: np.ndarray
) -> Arguments:
    x, weight, transposed = (arguments[name] for name in ("x", "weight", "transposed"))
    dweight, dbias = np.zeros_like(weight), np.zeros_like(dy[0])
    dx = twin.linear_backward(dy, x, weight, dweight, dbias, transposed)
    return {"x": dx, "weight": dweight, "bias": dbias}


def _pack(
    rng: np.random.Generator, inputs: int, outputs: int, transposed: bool = False
) -> Arguments:
    shape = (outputs, inputs) if transposed else (inputs, outputs)
    return {"weight": normal(rng, *shape), "transposed": transposed}


def _special_rows(rng: np.random.Generator) -> Arguments:
    """What isn't finite stays in its row and its column, and subnormals aren't flushed."""
    arguments = _linear(rng, 7, 19, 37, None, False, True, True)
    arguments["x"][1, 18] = np.nan
    arguments["x"][2, 0] = np.inf
    arguments["x"][3] *= np.float32(1e-41)
    arguments["x"][4, 3] = -np.inf
    arguments["weight"][5, 36] = np.nan
    arguments["bias"][:] = 0
    arguments["residual"][:] = 0
    return arguments


def _special_subnormal(rng: np.random.Generator) -> Arguments:
    return {**_linear(rng, 3, 5, 33, bias=False), "x": normal(rng, 3, 5) * np.float32(1e-40)}


def _special_rounded(rng: np.random.Generator) -> Arguments:
    """Halfway between two, the last bit and the sign, too large, not finite; each in its row."""
    arguments = _linear(rng, 9, 19, 37, precision="bfloat16")
    x = arguments["x"]
    x[:6, 18] = [np.nan, np.inf, -np.inf, 3.4e38, np.nan, -0.0]  # 3.4e38 becomes infinite
    x[4].view(np.uint32)[18] = 0xFFFFFFFF  # a NaN that rounding mustn't carry into its sign
    x[6] = 1 + 2.0**-8 * np.arange(19)  # to even: down, up, down ...
    x[7] = -(1 + 2.0**-8 * (np.arange(19) + 2.0**-15))  # and just past halfway
    x[8].view(np.uint32)[:] |= 0xFFFF
    return arguments


def _flops(arguments: Arguments) -> float:
    x = arguments["x"]
    outputs = (
        arguments["outputs"]
        if "outputs" in arguments
        else (arguments["weight"].size // max(1, x.shape[-1]))
    )
    return 2.0 * x.size * outputs


_TIMED = {
    "512x768x3072": (512, 768, 3072),
    "768x128x512": (768, 128, 512),
    "8x768x3072": (8, 768, 3072),
    "1x768x3072": (1, 768, 3072),
}
_TRAINED = {"768x128x512": (768, 128, 512), "512x768x3072": (512, 768, 3072)}
# odd and even sums, sums in two parts, every cut of strips and panels
_ROUNDED = (
    (0, 3, 5), (1, 1, 1), (1, 19, 33), (13, 64, 31), (14, 2, 32), (15, 129, 65), (28, 31, 64),
    (29, 127, 3), (67, 301, 101), (130, 260, 140), (3, 1801, 17), (1701, 5, 40), (40, 37, 1601),
)  # fmt: skip

CASES = (
    Case(
        "linear",
        _linear,
        (
            *_SIZES,
            *(
                (*size, None, turned, True, False, "bfloat16")
                for size in _ROUNDED
                for turned in (False, True)
            ),
            *((33, 20, 37, *variant, "bfloat16") for variant in _VARIANTS),
        ),
        _linear_bound,
        {
            **_TIMED,
            "512x768x3072 gelu": (512, 768, 3072, "gelu"),
            **{
                f"{label} bfloat16": (*size, None, False, True, False, "bfloat16")
                for label, size in _TRAINED.items()
            },
        },
        special={
            "rows": _special_rows,
            "subnormals": _special_subnormal,
            "rounded": _special_rounded,
        },
        gradient=Gradient(_linear_gradient, sizes=((3, 5, 4), (2, 3, 5, None, True))),
        flops=_flops,
    ),
    Case(
        "linear_backward",
        _linear_backward,
        (
            *(shape for shape in SHAPES if shape[1] and shape[2]),
            *((m, 20, 37, transposed, False) for m in (1, 33) for transposed in (False, True)),
            *((m, 35, 41, True) for m in (1, 5, 16, 65, 130)),
            *((m, k, n, True) for m, k, n in ((16, 600, 37), (16, 37, 600), (3, 19, 801))),
            *((m, 35, 41, False, True, False) for m in (0, 1, 33, 801)),
            *(
                (*size, turned, True, accumulate, "bfloat16")
                for size in _ROUNDED
                for turned, accumulate in ((False, True), (True, False))
            ),
        ),
        _linear_backward_bound,
        {
            **_TRAINED,
            **{
                f"{label} bfloat16": (*size, False, True, True, "bfloat16")
                for label, size in _TRAINED.items()
            },
        },
        special={"overwritten": _special_overwritten},
        updates=("dweight", "dbias"),
        flops=lambda arguments: 4.0 * arguments["x"].size * arguments["dy"].shape[-1],
    ),
    Case("linear_packed", _packed, _SIZES, _linear_bound, _TIMED, flops=_flops),
    Case(
        "pack_linear",
        _pack,
        (
            *((19, n, transposed) for n in (0, *VECTOR, 257) for transposed in (False, True)),
            *((k, 37, transposed) for k in (0, *VECTOR, 257) for transposed in (False, True)),
        ),
        exact,
        {"768x3072": (768, 3072), "768x3072 transposed": (768, 3072, True)},
    ),
)
