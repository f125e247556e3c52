"""What an optimizer step needs: the gradient's length, and the updates."""

from collections.abc import Sequence

import numpy as np


def grad_norm(grads: Sequence[np.ndarray]) -> float:
    """sqrt of the sum of squares of all entries, added in float64; NaN and inf carry over."""
    return float(np.sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for g in grads)))


def adamw(
    param: np.ndarray,
    grad: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    step: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    scale: float = 1.0,
) -> None:
    """One AdamW step in place on param, m and v (all of one shape); step counts from 1.

    Loshchilov and Hutter, 2017 (arXiv:1711.05101): with g = scale * grad (scale clips the norm),
    m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2,
    param = param (1 - lr weight_decay) - lr / (1 - beta1^step) * m / (sqrt(v / (1 - beta2^step))
    + eps).
    """
    t = param.dtype.type
    g = grad * t(scale)
    m *= t(beta1)
    m += t(1.0 - beta1) * g
    v *= t(beta2)
    v += t(1.0 - beta2) * g * g
    denominator = np.sqrt(v) * t(1.0 / np.sqrt(1.0 - beta2**step)) + t(eps)
    param *= t(1.0 - lr * weight_decay)
    param -= t(lr / (1.0 - beta1**step)) * m / denominator


def lion(
    param: np.ndarray,
    grad: np.ndarray,
    m: np.ndarray,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.99,
    weight_decay: float = 0.01,
    scale: float = 1.0,
) -> None:
    """One Lion step in place on param and m (of one shape).

    Chen et al., 2023 (arXiv:2302.06675, algorithm 2): with g = scale * grad,
    param = param (1 - lr weight_decay) - lr sign(beta1 m + (1 - beta1) g), then
    m = beta2 m + (1 - beta2) g. Where the sum is 0 the parameter only decays.
    """
    t = param.dtype.type
    g = grad * t(scale)
    direction = np.sign(t(beta1) * m + t(1.0 - beta1) * g)
    m *= t(beta2)
    m += t(1.0 - beta2) * g
    param *= t(1.0 - lr * weight_decay)
    param -= t(lr) * direction
