"""Cases of the two norms."""

from typing import Any

import numpy as np

from litegpt.kernels import reference
from litegpt.kernels.cases.case import (
    NORMAL,
    Arguments,
    Case,
    Gradient,
    Outputs,
    normal,
    sum_error,
)
from litegpt.kernels.cases.softmax import ROWS


def _norm(rng: np.random.Generator, *shape: int) -> Arguments:
    return {"x": normal(rng, *shape) + 0.5, "gamma": normal(rng, shape[-1])}


def _layernorm(rng: np.random.Generator, *shape: int) -> Arguments:
    return {**_norm(rng, *shape), "beta": normal(rng, shape[-1]), "eps": 1e-5}


def _without_beta(rng: np.random.Generator) -> Arguments:
    return {**_layernorm(rng, 3, 17), "beta": None}


def _rmsnorm(rng: np.random.Generator, *shape: int) -> Arguments:
    return {**_norm(rng, *shape), "eps": 1e-5}


def _special_rows(rng: np.random.Generator) -> np.ndarray:
    """A row each: NaN, inf, constant, zero, subnormal, large, far from zero; the last is plain."""
    x = normal(rng, 8, 37)
    x[0, 36] = np.nan
    x[1, 3] = np.inf
    x[2] = 2.0
    x[3] = 0
    x[4] *= 1e-41
    x[5] *= 1e15
    x[6] += 1e3
    return x


def _special_layernorm(rng: np.random.Generator) -> Arguments:
    return {**_layernorm(rng, 8, 37), "x": _special_rows(rng)}


def _special_rmsnorm(rng: np.random.Generator) -> Arguments:
    return {**_rmsnorm(rng, 8, 37), "x": _special_rows(rng)}


def _layernorm_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """Centring cancels: relative to the row's magnitudes before it, and growing as a sum."""
    x, gamma, beta = np.abs(arguments["x"]), np.abs(arguments["gamma"]), arguments["beta"]
    _, mean, rstd = outputs
    error = sum_error(x.shape[-1])
    row = x.mean(axis=-1) if x.size else mean
    lost = 1 + rstd * row  # what the cancellation costs rstd, in relative terms
    centred = np.abs(arguments["x"] - mean[..., None])
    y = gamma * rstd[..., None] * (centred * lost[..., None] + row[..., None] + x)
    shift = 0 if beta is None else np.abs(beta)
    return [error * (y + shift) + NORMAL, error * row + NORMAL, error * rstd * lost]


def _layernorm_backward(rng: np.random.Generator, *shape: int) -> Arguments:
    arguments = _norm(rng, *shape)
    _, mean, rstd = reference.layernorm(**arguments)
    return {
        "dy": normal(rng, *shape),
        **arguments,
        "mean": mean,
        "rstd": rstd,
        "dgamma": normal(rng, shape[-1]),
        "dbeta": normal(rng, shape[-1]),
    }


def _special_residual(rng: np.random.Generator) -> Arguments:
    return {**_layernorm_backward(rng, 5, 37), "residual": normal(rng, 5, 37)}


def _special_rms_residual(rng: np.random.Generator) -> Arguments:
    return {**_rmsnorm_backward(rng, 5, 37), "residual": normal(rng, 5, 37)}


def _norm_backward_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """Relative to the magnitudes that are added up, per row for dx and per column for dgamma."""
    dy, x, rstd = np.abs(arguments["dy"]), np.abs(arguments["x"]), arguments["rstd"][..., None]
    width, axes = x.shape[-1], tuple(range(x.ndim - 1))
    n = (x + np.abs(arguments["mean"])[..., None] if "mean" in arguments else x) * rstd
    g = dy * np.abs(arguments["gamma"])
    if x.size == 0:
        return [0.0] * len(outputs)
    dx = rstd * (g + g.mean(-1, keepdims=True) + n * (g * n).mean(-1, keepdims=True))
    if arguments.get("residual") is not None:
        dx = dx + np.abs(arguments["residual"])
    across = sum_error(x.size // width)
    dgamma = np.abs(arguments["dgamma"]) + (dy * n).sum(axis=axes)
    bounds = [sum_error(width) * dx + NORMAL, across * dgamma]
    if arguments.get("dbeta") is not None:
        bounds.append(across * (np.abs(arguments["dbeta"]) + dy.sum(axis=axes)))
    return bounds


def _rmsnorm_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """Squares don't cancel: relative to the outputs themselves, growing as a sum."""
    return [sum_error(arguments["x"].shape[-1]) * np.abs(y) + NORMAL for y in outputs]


def _rmsnorm_backward(rng: np.random.Generator, *shape: int) -> Arguments:
    arguments = _norm(rng, *shape)
    _, rstd = reference.rmsnorm(**arguments)
    dy, dgamma = normal(rng, *shape), normal(rng, shape[-1])
    return {"dy": dy, **arguments, "rstd": rstd, "dgamma": dgamma}


def _layernorm_gradient(
    twin: Any, arguments: Arguments, outputs: Outputs, dy: np.ndarray
) -> Arguments:
    x, gamma = arguments["x"], arguments["gamma"]
    dgamma, dbeta = np.zeros_like(gamma), np.zeros_like(gamma)
    dx = twin.layernorm_backward(dy, x, gamma, outputs[1], outputs[2], dgamma, dbeta)
    return {"x": dx, "gamma": dgamma, "beta": dbeta}


def _rmsnorm_gradient(
    twin: Any, arguments: Arguments, outputs: Outputs, dy: np.ndarray
) -> Arguments:
    x, gamma = arguments["x"], arguments["gamma"]
    dgamma = np.zeros_like(gamma)
    return {"x": twin.rmsnorm_backward(dy, x, gamma, outputs[1], dgamma), "gamma": dgamma}


_NORM_TIMED = {"2048x768": (2048, 768), "768x128": (768, 128), "1x768": (1, 768)}

CASES = (
    Case(
        "layernorm",
        _layernorm,
        ROWS,
        _layernorm_bound,
        _NORM_TIMED,
        special={"rows": _special_layernorm, "no beta": _without_beta},
        gradient=Gradient(_layernorm_gradient, sizes=((3, 7), (2, 2, 5))),
        wanted=10,
    ),
    Case(
        "layernorm_backward",
        _layernorm_backward,
        ROWS,
        _norm_backward_bound,
        _NORM_TIMED,
        updates=("dgamma", "dbeta"),
        special={"residual": _special_residual},
    ),
    Case(
        "rmsnorm",
        _rmsnorm,
        ROWS,
        _rmsnorm_bound,
        _NORM_TIMED,
        special={"rows": _special_rmsnorm},
        gradient=Gradient(_rmsnorm_gradient, sizes=((3, 7), (2, 2, 5))),
    ),
    Case(
        "rmsnorm_backward",
        _rmsnorm_backward,
        ROWS,
        _norm_backward_bound,
        _NORM_TIMED,
        updates=("dgamma",),
        special={"residual": _special_rms_residual},
    ),
)
