"""Cases of the dense layer whose weights are stored in fewer bits."""

from collections.abc import Sequence
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from litegpt.kernels import reference
from litegpt.kernels.cases.case import (
    NORMAL,
    Arguments,
    Case,
    Outputs,
    exact,
    normal,
    sum_error,
)
from litegpt.kernels.reference.linear import PANEL
from litegpt.kernels.reference.quantized import dequantize, packed_shape, unpack_quantized
from litegpt.kernels.reference.weight_formats import (
    FORMATS,
    activation_codes,
    weight_format,
)

_BOTH = (False, True)
_FEWER_BITS = [  # what is timed, codes first
    *(name for name, form in FORMATS.items() if form.codes),
    *(name for name, form in FORMATS.items() if form.codes is None and name != "float32"),
]
_LENGTHS = (0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65, 100)


def _quantize(
    rng: np.random.Generator, inputs: int, outputs: int, format: str, transposed: bool = False
) -> Arguments:
    """Magnitudes from what is subnormal in float16 to 20, so that scales are rounded anyhow."""
    weight = normal(rng, inputs, outputs) * np.exp(rng.uniform(-18, 2, outputs)).astype(np.float32)
    weight = np.ascontiguousarray(weight.T) if transposed else weight
    return {"weight": weight, "format": format, "transposed": transposed}


def _pack(
    rng: np.random.Generator, inputs: int, outputs: int, format: str, into: bool = False
) -> Arguments:
    form = weight_format(format)
    shape = (outputs, form.groups(inputs), form.block_bytes)
    room = rng.integers(0, 256, packed_shape(form, inputs, outputs), np.uint8) if into else None
    return {"blocks": rng.integers(0, 256, shape, np.uint8), "format": format, "packed": room}


def _read(
    rng: np.random.Generator, sizes: Sequence[tuple[int, int]], format: str, apart: bool = False
) -> Arguments:
    """Weights of these (inputs, outputs) one after the other in a file; apart: in any order."""
    form, panels, groups, start = weight_format(format), [], [], 5
    for inputs, outputs in sizes:
        count = form.groups(inputs)
        order = rng.permutation(outputs) if apart else np.arange(outputs)
        rows = np.full(-(-outputs // PANEL) * PANEL, -1)
        rows[:outputs] = start + order * count * form.block_bytes
        panels.append(rows.reshape(-1, PANEL))
        groups += [count] * len(panels[-1])
        start += outputs * count * form.block_bytes
    file = TemporaryFile()  # closed when nobody has it any more
    file.write(rng.bytes(start))
    file.flush()
    width = PANEL * form.block_bytes
    return {
        "file": file,
        "rows": np.concatenate(panels),
        "groups": np.array(groups),
        "format": format,
        "packed": rng.integers(0, 256, sum(groups) * width, np.uint8),
    }


def _packed(rng: np.random.Generator, inputs: int, outputs: int, format: str) -> np.ndarray:
    blocks = reference.quantize(normal(rng, inputs, outputs), format)
    return reference.pack_quantized(blocks, format)


def _linear(
    rng: np.random.Generator,
    rows: int,
    inputs: int,
    outputs: int,
    format: str,
    activation: str | None = None,
    bias: bool = True,
    residual: bool = False,
) -> Arguments:
    return {
        "x": normal(rng, rows, inputs),
        "packed": _packed(rng, inputs, outputs, format),
        "format": format,
        "outputs": outputs,
        "bias": normal(rng, outputs) if bias else None,
        "residual": normal(rng, rows, outputs) if residual else None,
        "activation": activation,
    }


def _linear_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """Relative to the magnitudes that are added: K products, or three roundings for each group.

    Codes are the same on every rung, so that what they miss is no error here.
    """
    x, format = arguments["x"], arguments["format"]
    form, inputs = weight_format(format), x.shape[-1]
    blocks = unpack_quantized(arguments["packed"], format, arguments["outputs"])
    weight, terms = np.abs(dequantize(blocks, format, inputs)), inputs
    if form.codes is not None:
        scale, codes = activation_codes(x, form.group)
        x = (scale * codes).reshape(len(x), form.groups(inputs) * form.group)
        x = x[:, :inputs].astype(np.float64)
        terms = 3 * form.groups(inputs)
        minimum = form.codes(blocks).minimum
        if minimum is not None:  # it and what is above it may cancel out
            weight = weight + 2 * np.repeat(np.abs(minimum[..., 0]), form.group, 1)[:, :inputs]
    magnitude = np.abs(x) @ weight.T
    for name in ("bias", "residual"):
        if arguments[name] is not None:
            magnitude = magnitude + np.abs(arguments[name])
    return [sum_error(terms) * magnitude + NORMAL]


def _special(format: str) -> Any:
    def build(rng: np.random.Generator) -> Arguments:
        """What isn't finite stays in its row; groups of zeros, and too small for a scale."""
        arguments = _linear(rng, 9, 70, 37, format)
        x = arguments["x"]
        x[1, 69], x[2, 0], x[3, 40] = np.nan, np.inf, -np.inf
        x[4] *= np.float32(1e-41)
        x[5, :32], x[6] = 0, -0.0
        x[7, :32] *= np.float32(1e-38)
        x[8] *= np.float32(1e30)
        return arguments

    return build


def _lookup(
    rng: np.random.Generator, shape: tuple[int, ...], inputs: int, outputs: int, format: str
) -> Arguments:
    return {
        "ids": rng.integers(0, outputs, shape),
        "packed": _packed(rng, inputs, outputs, format),
        "format": format,
        "inputs": inputs,
        "outputs": outputs,
    }


_VARIANTS = (  # activation, bias, residual
    (None, False, False),
    (None, True, True),
    ("gelu", True, False),
    ("gelu_erf", False, True),
    ("relu", True, True),
)

CASES = (
    Case(
        "quantize",
        _quantize,
        (
            *((40, n, f, t) for f in FORMATS for n in (0, 1, 31, 33, 70) for t in (False, True)),
            *((k, 37, f, t) for f in FORMATS for k in _LENGTHS for t in (False, True)),
        ),
        exact,
        {f"768x3072 {f}": (768, 3072, f) for f in _FEWER_BITS},
    ),
    Case(
        "pack_quantized",
        _pack,
        (
            *((40, n, f, into) for f in FORMATS for n in (0, 1, 31, 32, 33, 70) for into in _BOTH),
            *((k, 37, f) for f in FORMATS for k in _LENGTHS),
        ),
        exact,
        {f"768x3072 {f}": (768, 3072, f) for f in _FEWER_BITS},
        updates=("packed",),
    ),
    Case(
        "read_quantized",
        _read,
        (
            *(
                ([(40, 70), (k, 137), (64, 32)], f, a)
                for f in FORMATS
                for k in (1, 33, 300)
                for a in _BOTH
            ),
        ),
        exact,
        {f"768x3072 {f}": ([(768, 3072)], f) for f in _FEWER_BITS},
        updates=("packed",),
        moved=lambda arguments: 2.0 * arguments["packed"].size,
    ),
    Case(
        "linear_quantized",
        _linear,
        (
            *((m, 40, 33, f) for f in FORMATS for m in (0, *range(1, 18), 25, 33, 100)),
            *((3, k, 37, f) for f in FORMATS for k in (*_LENGTHS, 1009)),
            *((3, 50, n, f) for f in FORMATS for n in _LENGTHS),
            *((m, 40, 37, f, *v) for f in FORMATS for m in (1, 4, 33) for v in _VARIANTS),
            *((130, 260, 140, f) for f in FORMATS),
        ),
        _linear_bound,
        {f"{m}x768x3072 {f}": (m, 768, 3072, f) for f in _FEWER_BITS for m in (1, 8, 512)},
        special={f: _special(f) for f in FORMATS},
        flops=lambda arguments: 2.0 * arguments["x"].size * arguments["outputs"],
    ),
    Case(
        "embedding_quantized",
        _lookup,
        (
            *((shape, 40, 70, f) for f in FORMATS for shape in ((), (0,), (7,), (2, 3), (70,))),
            *(((5,), c, 33, f) for f in FORMATS for c in _LENGTHS),
        ),
        exact,
        {f"512 of 5000x768 {f}": ((512,), 768, 5000, f) for f in _FEWER_BITS},
    ),
)
