"""Cases of the embedding table and of rotary positions."""

from typing import Any

import numpy as np

from litegpt.kernels.cases.case import (
    EPS,
    LENGTHS,
    NORMAL,
    SPECIAL,
    SUBNORMAL,
    Arguments,
    Case,
    Gradient,
    Outputs,
    exact,
    normal,
    sum_error,
)


def _embedding(rng: np.random.Generator, ids: tuple[int, ...], rows: int, width: int) -> Arguments:
    return {"ids": rng.integers(0, rows, ids), "table": normal(rng, rows, width)}


def _embedding_backward(
    rng: np.random.Generator, ids: tuple[int, ...], rows: int, width: int
) -> Arguments:
    return {
        "dy": normal(rng, *ids, width),
        "ids": rng.integers(0, rows, ids),
        "dtable": normal(rng, rows, width),
    }


def _embedding_backward_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """Relative to the magnitudes that meet in an entry, growing as a sum of all ids."""
    dy, ids, magnitude = np.abs(arguments["dy"]), arguments["ids"], np.abs(arguments["dtable"])
    np.add.at(magnitude, ids.reshape(-1), dy.reshape(-1, dy.shape[-1]))
    return [sum_error(ids.size) * magnitude]


def _embedding_gradient(
    twin: Any, arguments: Arguments, outputs: Outputs, dy: np.ndarray
) -> Arguments:
    dtable = np.zeros_like(arguments["table"])
    twin.embedding_backward(dy, arguments["ids"], dtable)
    return {"table": dtable}


def _special_table(rng: np.random.Generator) -> Arguments:
    return {"ids": rng.integers(0, 3, 7), "table": np.resize(SPECIAL, (3, 37))}


def _add_positions(
    rng: np.random.Generator, rows: int, length: int, width: int, first: int
) -> Arguments:
    return {
        "x": normal(rng, rows, length, width),
        "table": normal(rng, first + length + rows, width),
        "offsets": first + np.arange(rows),
    }


def _add_positions_gradient(
    twin: Any, arguments: Arguments, outputs: Outputs, dy: np.ndarray
) -> Arguments:
    positions = arguments["offsets"][:, None] + np.arange(dy.shape[1])
    dtable = np.zeros_like(arguments["table"])
    twin.embedding_backward(dy, positions, dtable)
    return {"x": dy, "table": dtable}


def _add_positions_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """One rounding of the sum."""
    return [EPS * np.abs(outputs[0]) + SUBNORMAL]


def _rotary_inputs(
    rng: np.random.Generator,
    name: str,
    length: int,
    heads: int,
    width: int,
    half: int,
    *starts: int,
) -> Arguments:
    projection = normal(rng, len(starts), length, heads + 2, width)
    angles = rng.uniform(-np.pi, np.pi, (max(starts, default=0) + length + 1, half))
    return {
        name: projection[:, :, :heads],  # a view, as attention layers pass it
        "cos": np.cos(angles).astype(np.float32),
        "sin": np.sin(angles).astype(np.float32),
        "offsets": np.array(starts, np.int64),
    }


def _rotary(rng: np.random.Generator, *size: int) -> Arguments:
    return _rotary_inputs(rng, "x", *size)


def _rotary_backward(rng: np.random.Generator, *size: int) -> Arguments:
    return _rotary_inputs(rng, "dy", *size)


def _rotary_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """2 ulp of |x_i| + |x_(i+R)|, whose rotation can cancel; the rest is copied."""
    x = np.abs(arguments["x"] if "x" in arguments else arguments["dy"])
    half = arguments["cos"].shape[1]
    pair = x[..., :half] + x[..., half : 2 * half]
    error = 2 * EPS * np.concatenate([pair, pair], axis=-1) + NORMAL
    return [np.concatenate([error, np.zeros_like(x[..., 2 * half :])], axis=-1)]


def _rotary_gradient(
    twin: Any, arguments: Arguments, outputs: Outputs, dy: np.ndarray
) -> Arguments:
    tables = (arguments[name] for name in ("cos", "sin", "offsets"))
    return {"x": twin.rotary_backward(dy, *tables)}


_EMBEDDING_SIZES = (
    *(((2, 3), 11, width) for width in LENGTHS),
    *(((n,), 7, 16) for n in (0, 1, 5, 1009)),
    ((), 5, 8),
    ((2, 0, 3), 5, 8),
    ((4, 129), 13, 65),
)
_ROTARY_SIZES = (
    *((2, 2, 2 * half, half, 3, 0) for half in LENGTHS[:16]),
    *((3, 1, 2 * half + rest, half, 5) for half in (1, 4, 9) for rest in (1, 3)),
    *((t, 3, 8, 4, 0, 7) for t in (0, 1, 33)),
    (2, 2, 8, 4),
    (65, 4, 64, 32, 9, 1, 0),
)
_ROTARY_TIMED = {"512x9x64": (512, 9, 64, 32, 0), "1x9x64": (1, 9, 64, 32, 100)}

CASES = (
    Case(
        "add_positions",
        _add_positions,
        (*((2, 3, width, 1) for width in LENGTHS), (0, 3, 8, 0), (2, 0, 8, 0), (3, 65, 129, 7)),
        _add_positions_bound,
        {"12x64x128": (12, 64, 128, 0), "1x512x768": (1, 512, 768, 0)},
        gradient=Gradient(_add_positions_gradient, sizes=((2, 3, 5, 1),)),
        moved=lambda arguments: 3.0 * arguments["x"].nbytes,
    ),
    Case(
        "embedding",
        _embedding,
        _EMBEDDING_SIZES,
        exact,
        {"512 of 50257x768": ((512,), 50257, 768), "768 of 65x128": ((768,), 65, 128)},
        special={"table": _special_table},
        gradient=Gradient(_embedding_gradient, sizes=(((2, 4), 3, 5),)),
        moved=lambda arguments: 8.0 * arguments["ids"].size * (arguments["table"].shape[1] + 1),
    ),
    Case(
        "embedding_backward",
        _embedding_backward,
        _EMBEDDING_SIZES,
        _embedding_backward_bound,
        {"768 of 65x128": ((768,), 65, 128), "512 of 5000x768": ((512,), 5000, 768)},
        updates=("dtable",),
        moved=lambda arguments: 3.0 * arguments["dy"].nbytes + arguments["ids"].nbytes,
    ),
    Case(
        "rotary",
        _rotary,
        _ROTARY_SIZES,
        _rotary_bound,
        _ROTARY_TIMED,
        gradient=Gradient(_rotary_gradient, sizes=((2, 2, 7, 3, 1, 4),)),
    ),
    Case("rotary_backward", _rotary_backward, _ROTARY_SIZES, _rotary_bound, _ROTARY_TIMED),
)
