"""Cases of the elementwise activations and SwiGLU."""

from typing import Any

import numpy as np

from litegpt.kernels.cases.case import (
    EPS,
    LENGTHS,
    LONG,
    NORMAL,
    SPECIAL,
    SUBNORMAL,
    Arguments,
    Case,
    Gradient,
    Outputs,
    exact,
    normal,
)

_SIZES = ((0,), *((n,) for n in LENGTHS + LONG), (2, 3, 5), (2, 0, 5))


def _x(rng: np.random.Generator, *shape: int) -> Arguments:
    return {"x": 3 * normal(rng, *shape)}


def _dy_x(rng: np.random.Generator, *shape: int) -> Arguments:
    return {"dy": normal(rng, *shape), "x": 3 * normal(rng, *shape)}


def _at_special_values(rng: np.random.Generator) -> np.ndarray:
    """Each special value in a vector's body and in a remainder."""
    return np.resize(SPECIAL, 3 * SPECIAL.size + 1)


def _special_x(rng: np.random.Generator) -> Arguments:
    return {"x": _at_special_values(rng)}


def _special_dy_x(rng: np.random.Generator) -> Arguments:
    x = _at_special_values(rng)
    return {"dy": normal(rng, x.size), "x": x}


def _special_dy(rng: np.random.Generator) -> Arguments:
    dy = _at_special_values(rng)
    return {"dy": dy, "x": normal(rng, dy.size)}


def _value_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """4 ulp of x: far left, where 1 + tanh(u) cancels, y is as exact as x, not as itself."""
    return [4 * EPS * np.abs(arguments["x"]) + SUBNORMAL]


def _slope_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """16 ulp of dy: the slope is at most 1.13, and its terms x/2 * (1 - t^2) * u' are below 10."""
    return [16 * EPS * np.abs(arguments["dy"]) + SUBNORMAL]


def _elementwise(name: str) -> Gradient:
    def by(twin: Any, arguments: Arguments, outputs: Outputs, dy: np.ndarray) -> Arguments:
        return {"x": getattr(twin, f"{name}_backward")(dy, arguments["x"])}

    return Gradient(by, sizes=((37,),))


def _forward_and_backward(
    name: str, rows: int, bounds: tuple[Any, Any], wanted: float | None = None
) -> tuple[Case, Case]:
    timed = {f"{rows}x3072": (rows, 3072), "12x64x512": (12, 64, 512)}
    return (
        Case(
            name,
            _x,
            _SIZES,
            bounds[0],
            timed,
            special={"values": _special_x},
            gradient=_elementwise(name),
            wanted=wanted,
        ),
        Case(
            f"{name}_backward",
            _dy_x,
            _SIZES,
            bounds[1],
            timed,
            special={"x": _special_dy_x, "dy": _special_dy},
        ),
    )


def _split(rng: np.random.Generator, *shape: int) -> Arguments:
    return {"x": 3 * normal(rng, *shape[:-1], 2 * shape[-1])}


def _split_backward(rng: np.random.Generator, *shape: int) -> Arguments:
    return {"dy": normal(rng, *shape), **_split(rng, *shape)}


def _special_gate(rng: np.random.Generator) -> Arguments:
    gate = _at_special_values(rng)
    return {"x": np.concatenate([gate, normal(rng, gate.size)])}


def _special_up(rng: np.random.Generator) -> Arguments:
    up = _at_special_values(rng)
    return {"x": np.concatenate([normal(rng, up.size), up])}


def _special_gate_backward(rng: np.random.Generator) -> Arguments:
    x = _special_gate(rng)["x"]
    return {"dy": normal(rng, x.size // 2), "x": x}


def _swiglu_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """8 ulp; below exp's range the gate is 0, which is 100 smallest normals away at most."""
    _, up = np.split(arguments["x"], 2, axis=-1)
    return [8 * EPS * np.abs(outputs[0]) + 100 * NORMAL * np.abs(up) + SUBNORMAL]


def _swiglu_backward_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """8 ulp of dy * up * s * (1 + |gate|), as 1 - s cancels, and of dy * gate * s."""
    dy = np.abs(arguments["dy"])
    gate, up = np.split(arguments["x"], 2, axis=-1)
    s = 1 / (1 + np.exp(-gate))
    dgate = dy * np.abs(up) * (s * (1 + np.abs(gate)) + 100 * NORMAL / EPS)
    dup = dy * np.abs(gate) * (s + 100 * NORMAL / EPS)
    return [8 * EPS * np.concatenate([dgate, dup], axis=-1) + SUBNORMAL]


def _swiglu_gradient(
    twin: Any, arguments: Arguments, outputs: Outputs, dy: np.ndarray
) -> Arguments:
    return {"x": twin.swiglu_backward(dy, arguments["x"])}


_SPLIT_SIZES = ((0,), *((n,) for n in LENGTHS), (3, 1), (2, 3, 5), (2, 0, 5), (101, 1009))
_SPLIT_TIMED = {"512x1536": (512, 1536), "8x1536": (8, 1536)}

CASES = (
    *_forward_and_backward("gelu", 2048, (_value_bound, _slope_bound), wanted=15),
    *_forward_and_backward("gelu_erf", 256, (_value_bound, _slope_bound)),
    *_forward_and_backward("relu", 2048, (exact, exact)),
    Case(
        "swiglu",
        _split,
        _SPLIT_SIZES,
        _swiglu_bound,
        _SPLIT_TIMED,
        special={"gate": _special_gate, "up": _special_up},
        gradient=Gradient(_swiglu_gradient, sizes=((3, 7),)),
    ),
    Case(
        "swiglu_backward",
        _split_backward,
        _SPLIT_SIZES,
        _swiglu_backward_bound,
        _SPLIT_TIMED,
        special={"gate": _special_gate_backward},
    ),
)
