"""Cases of the optimizers' steps and of the gradient's norm."""

from typing import Any

import numpy as np

from litegpt.kernels.cases.case import (
    EPS,
    LENGTHS,
    LONG,
    NORMAL,
    SUBNORMAL,
    Arguments,
    Case,
    Outputs,
    normal,
    relative,
)


def _adamw(
    rng: np.random.Generator, n: int, step: int = 3, scale: float = 1.0, weight_decay: float = 0.1
) -> Arguments:
    return {
        "param": normal(rng, n),
        "grad": normal(rng, n),
        "m": 0.1 * normal(rng, n),
        "v": 0.01 * np.square(normal(rng, n)),
        "step": step,
        "lr": 1e-2,
        "beta1": 0.9,
        "beta2": 0.99,
        "eps": 1e-8,
        "weight_decay": weight_decay,
        "scale": scale,
    }


def _adamw_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """m: 4 ulp of its two terms; v: 8 of itself; param: 4 of itself and 16 of the step's terms.

    beta and 1 - beta, rounded to float32, are part of it.
    """
    scale, beta1, beta2 = (arguments[name] for name in ("scale", "beta1", "beta2"))
    step, lr = arguments["step"], arguments["lr"]
    terms = beta1 * np.abs(arguments["m"]) + (1 - beta1) * np.abs(arguments["grad"] * scale)
    v = outputs[2]
    # a v below float32's range may be 0 there
    spread = np.sqrt(v / (1 - beta2**step)) + arguments["eps"]
    update = lr / (1 - beta1**step) * terms / spread
    lost = np.sqrt(NORMAL) / spread
    param = 4 * EPS * np.abs(arguments["param"]) + update * (16 * EPS + lost)
    return [param + SUBNORMAL, 4 * EPS * terms + NORMAL, 8 * EPS * v + NORMAL]


def _first_step(rng: np.random.Generator) -> Arguments:
    """Moments that start at zero, where some gradients are zero."""
    arguments = _adamw(rng, 37, 1)
    arguments["m"][:] = 0
    arguments["v"][:] = 0
    arguments["grad"][::2] = 0
    return arguments


def _not_finite(rng: np.random.Generator) -> Arguments:
    """Only the entries whose gradient isn't finite are lost."""
    arguments = _adamw(rng, 37)
    arguments["grad"][3] = np.nan
    arguments["grad"][20] = np.inf
    arguments["grad"][36] = -np.inf
    return arguments


def _subnormal(rng: np.random.Generator) -> Arguments:
    arguments = _adamw(rng, 37, 1)
    for name in ("grad", "m"):
        arguments[name] *= np.float32(1e-41)
    arguments["v"][:] = 0
    return arguments


def _lion(
    rng: np.random.Generator, n: int, scale: float = 1.0, weight_decay: float = 0.1
) -> Arguments:
    return {
        "param": normal(rng, n),
        "grad": normal(rng, n),
        "m": 0.1 * normal(rng, n),
        "lr": 1e-2,
        "beta1": 0.9,
        "beta2": 0.99,
        "weight_decay": weight_decay,
        "scale": scale,
    }


def _lion_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """m: 4 ulp of its two terms; param: 4 ulp of its own, and of lr.

    A sum that rounding can carry past zero may have either sign.
    """
    m, g = arguments["m"], arguments["grad"] * arguments["scale"]
    terms = np.abs(m) + np.abs(g)
    sum1 = arguments["beta1"] * m + (1 - arguments["beta1"]) * g
    unsure = np.abs(sum1) <= 4 * EPS * terms
    size = np.abs(arguments["param"]) + arguments["lr"]
    param = 4 * EPS * size + np.where(unsure & (terms > 0), 2 * arguments["lr"], 0)
    return [param + SUBNORMAL, 4 * EPS * terms + NORMAL]


def _lion_standstill(rng: np.random.Generator) -> Arguments:
    """Where gradient and moment are zero, or cancel, there is no direction."""
    arguments = _lion(rng, 37)
    arguments["m"][::2] = arguments["grad"][::2] = 0
    arguments["beta1"] = 0.5
    arguments["m"][1::4] = -arguments["grad"][1::4]
    return arguments


def _lion_not_finite(rng: np.random.Generator) -> Arguments:
    arguments = _lion(rng, 37)
    arguments["grad"][[3, 20, 36]] = np.nan, np.inf, -np.inf
    return arguments


def _grads(rng: np.random.Generator, *lengths: int) -> Arguments:
    return {"grads": [normal(rng, n) for n in lengths]}


def _huge_grads(rng: np.random.Generator) -> Arguments:
    """Squares beyond float32's range: the sum is in float64."""
    return {"grads": [normal(rng, 37) * np.float32(1e30), normal(rng, 5) * np.float32(1e-30)]}


def _tiny_grads(rng: np.random.Generator) -> Arguments:
    return {"grads": [normal(rng, 37) * np.float32(1e-40)]}


def _nan_grads(rng: np.random.Generator) -> Arguments:
    grads = _grads(rng, 37, 5)
    grads["grads"][0][36] = np.nan
    return grads


def _infinite_grads(rng: np.random.Generator) -> Arguments:
    grads = _grads(rng, 37, 5)
    grads["grads"][1][4] = -np.inf
    return grads


CASES = (
    Case(
        "adamw",
        _adamw,
        (
            *((n,) for n in (0, *LENGTHS, *LONG)),
            (33, 1),
            (33, 1000),
            (33, 2, 0.25),
            (33, 2, 1.0, 0.0),
        ),
        _adamw_bound,
        {"768x3072": (768 * 3072,), "128x512": (128 * 512,)},
        updates=("param", "m", "v"),
        special={
            "first step": _first_step,
            "not finite": _not_finite,
            "subnormal": _subnormal,
        },
    ),
    Case(
        "lion",
        _lion,
        (*((n,) for n in (0, *LENGTHS, *LONG)), (33, 0.25), (33, 1.0, 0.0)),
        _lion_bound,
        {"768x3072": (768 * 3072,), "128x512": (128 * 512,)},
        updates=("param", "m"),
        special={"standstill": _lion_standstill, "not finite": _lion_not_finite},
    ),
    Case(
        "grad_norm",
        _grads,
        (*((n,) for n in (0, *LENGTHS, *LONG)), (), (3, 0, 17), (100_003, 1, 65_536, 7)),
        relative(1e-5),  # float64 all along: 1e-12
        {"768x3072 and 768": (768 * 3072, 768), "128x512": (128 * 512,)},
        special={
            "beyond float32's squares": _huge_grads,
            "subnormal": _tiny_grads,
            "NaN": _nan_grads,
            "infinite": _infinite_grads,
        },
    ),
)
