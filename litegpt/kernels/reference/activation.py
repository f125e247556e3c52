"""Elementwise activations, and SwiGLU, which halves the last axis."""

import math

import numpy as np

_SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)
_CUBIC = 0.044715

_erf = np.frompyfunc(math.erf, 1, 1)  # NumPy has no erf; exact, and slow


def gelu(x: np.ndarray) -> np.ndarray:
    """GELU, tanh form: x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))).

    Hendrycks and Gimpel, 2016 (arXiv:1606.08415). What GPT-2 uses. gelu(-inf) is NaN-free: -0.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        y = 0.5 * x * (1.0 + np.tanh(_SQRT_2_OVER_PI * (x + _CUBIC * x * x * x)))
    return np.where(np.isneginf(x), -0.0, y).astype(x.dtype, copy=False)


def gelu_backward(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dx = dy * gelu'(x), with t = tanh(u): gelu' = (1 + t)/2 + x/2 * (1 - t^2) * u'.

    At +inf the derivative is 1, at -inf it is 0.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        t = np.tanh(_SQRT_2_OVER_PI * (x + _CUBIC * x * x * x))
        du = _SQRT_2_OVER_PI * (1.0 + 3.0 * _CUBIC * x * x)
        slope = 0.5 * (1.0 + t) + np.where(np.abs(t) == 1, 0, 0.5 * x * (1.0 - t * t) * du)
    return (dy * slope).astype(x.dtype, copy=False)


def gelu_erf(x: np.ndarray) -> np.ndarray:
    """GELU, exact form: x * Phi(x) = x/2 * (1 + erf(x / sqrt 2)); gelu_erf(-inf) is -0."""
    with np.errstate(invalid="ignore"):
        y = 0.5 * x * (1.0 + np.asarray(_erf(x / math.sqrt(2.0)), x.dtype))
    return np.where(np.isneginf(x), -0.0, y).astype(x.dtype, copy=False)


def gelu_erf_backward(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dx = dy * (Phi(x) + x * phi(x)), with the normal density phi; 1 at +inf, 0 at -inf."""
    with np.errstate(invalid="ignore", over="ignore"):
        cdf = 0.5 * (1.0 + np.asarray(_erf(x / math.sqrt(2.0)), x.dtype))
        pdf = np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
        slope = cdf + np.where(np.isinf(x), 0, x * pdf)
    return (dy * slope).astype(x.dtype, copy=False)


def relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0); NaN stays NaN."""
    return np.maximum(x, 0)


def relu_backward(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dx = dy where x > 0, else 0."""
    return np.where(x > 0, dy, 0).astype(x.dtype, copy=False)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return (1.0 / (1.0 + np.exp(-x))).astype(x.dtype, copy=False)


def _silu(gate: np.ndarray) -> np.ndarray:
    """gate * sigmoid(gate); silu(-inf) is -0."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isneginf(gate), -0.0, gate * _sigmoid(gate)).astype(gate.dtype)


def swiglu(x: np.ndarray) -> np.ndarray:
    """silu(gate) * up, where x = [gate | up] along the last axis: (..., 2F) -> (..., F).

    Shazeer, 2020 (arXiv:2002.05202).
    """
    gate, up = np.split(x, 2, axis=-1)  # (..., 2F) -> 2 x (..., F)
    return _silu(gate) * up


def swiglu_backward(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dgate = dy * up * s * (1 + gate * (1 - s)), dup = dy * silu(gate), with s = sigmoid(gate).

    The slope of silu is 0 at -inf and 1 at +inf. dy is (..., F); returns (..., 2F).
    """
    gate, up = np.split(x, 2, axis=-1)
    near = np.clip(gate, -1000, 1000)
    s = _sigmoid(near)
    return np.concatenate([dy * up * s * (1.0 + near * (1.0 - s)), dy * _silu(gate)], axis=-1)
