"""Layer normalisation and root-mean-square normalisation over the last axis."""

import numpy as np


def layernorm(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray | None = None, eps: float = 1e-5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y = (x - mean) * rstd * gamma + beta, with the biased variance.

    Ba, Kiros and Hinton, 2016 (arXiv:1607.06450). x is (..., C); returns y, and mean and rstd
    (one per row, shape (...)) for the backward pass. The variance is taken of the centred row.
    """
    mean = x.mean(axis=-1, keepdims=True)  # (..., C) -> (..., 1)
    centred = x - mean
    rstd = 1.0 / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + x.dtype.type(eps))
    y = centred * rstd * gamma
    if beta is not None:
        y = y + beta
    return y, mean[..., 0], rstd[..., 0]


def layernorm_backward(
    dy: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray,
    mean: np.ndarray,
    rstd: np.ndarray,
    dgamma: np.ndarray,
    dbeta: np.ndarray | None = None,
    residual: np.ndarray | None = None,
) -> np.ndarray:
    """dx = rstd * (g - mean(g) - n * mean(g * n)) + residual, with g = dy * gamma.

    n is the normalised row; residual, of x's shape, is the gradient that comes to x past the norm.
    Adds into dgamma and dbeta (C,), in row order.
    """
    width = x.shape[-1]
    n = (x - mean[..., None]) * rstd[..., None]  # (..., C)
    g = dy * gamma
    dgamma += (dy * n).reshape(-1, width).sum(axis=0)
    if dbeta is not None:
        dbeta += dy.reshape(-1, width).sum(axis=0)
    mean_g = g.mean(axis=-1, keepdims=True)
    mean_gn = (g * n).mean(axis=-1, keepdims=True)
    dx = rstd[..., None] * (g - mean_g - n * mean_gn)
    return dx if residual is None else dx + residual


def rmsnorm(x: np.ndarray, gamma: np.ndarray, eps: float = 1e-5) -> tuple[np.ndarray, np.ndarray]:
    """y = x * rstd * gamma, with rstd = 1 / sqrt(mean(x^2) + eps); returns y and rstd (...).

    Zhang and Sennrich, 2019 (arXiv:1910.07467).
    """
    rstd = 1.0 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + x.dtype.type(eps))
    return x * rstd * gamma, rstd[..., 0]


def rmsnorm_backward(
    dy: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray,
    rstd: np.ndarray,
    dgamma: np.ndarray,
    residual: np.ndarray | None = None,
) -> np.ndarray:
    """dx = rstd * (g - n * mean(g * n)) + residual, with n = x * rstd and g = dy * gamma.

    residual, of x's shape, is the gradient that comes to x past the norm. Adds into dgamma (C,),
    in row order.
    """
    n = x * rstd[..., None]
    g = dy * gamma
    dgamma += (dy * n).reshape(-1, x.shape[-1]).sum(axis=0)
    dx = rstd[..., None] * (g - n * (g * n).mean(axis=-1, keepdims=True))
    return dx if residual is None else dx + residual
