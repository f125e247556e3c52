"""Normalisation over the last axis."""

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from litegpt import kernels
from litegpt.nn.arrays import check_size, rows_of
from litegpt.nn.module import Module
from litegpt.nn.parameter import Parameter
from litegpt.nn.random import Seed


class NormBackward(Protocol):
    """dy -> dx, plus the gradient that comes to x past the norm, if that is given."""

    def __call__(self, dy: np.ndarray, residual: np.ndarray | None = None, /) -> np.ndarray: ...


def _width(normalized_shape: int | tuple[int, ...] | list[int]) -> int:
    if isinstance(normalized_shape, tuple | list):
        if len(normalized_shape) != 1:
            raise ValueError(
                f"normalized_shape must be one width, since the norm is over the last axis; "
                f"not {normalized_shape}"
            )
        normalized_shape = normalized_shape[0]
    check_size("normalized_shape", normalized_shape)
    return int(normalized_shape)


def _gradient(weight: Parameter) -> np.ndarray:
    """Where the kernel adds the weight's gradient: of one that isn't trained it is dropped."""
    return weight.grad if weight.trainable else np.zeros_like(weight.data)


class LayerNorm(Module):
    """y = (x - mean) / sqrt(variance + eps) * gamma + beta, with the biased variance.

    Ba, Kiros and Hinton, 2016 (arXiv:1607.06450). The Parameters are `weight` and `bias`, (C,)
    each; `gamma` and `beta` are their arrays, and can be assigned. x of another width than C:
    ValueError.
    """

    def __init__(
        self, normalized_shape: int | tuple[int], eps: float = 1e-5, bias: bool = True
    ) -> None:
        width = _width(normalized_shape)
        self.weight = Parameter(np.ones(width, np.float32))
        self.bias = Parameter(np.zeros(width, np.float32)) if bias else None
        self.eps = eps

    @property
    def gamma(self) -> np.ndarray:
        return self.weight.data

    @gamma.setter
    def gamma(self, value: ArrayLike) -> None:
        self.weight.data = value

    @property
    def beta(self) -> np.ndarray | None:
        return None if self.bias is None else self.bias.data

    @beta.setter
    def beta(self, value: ArrayLike) -> None:
        if self.bias is None:
            raise ValueError("this LayerNorm has no beta: it was made with bias=False")
        self.bias.data = value

    def forward(self, x: ArrayLike) -> np.ndarray:
        """(..., C) -> (..., C)."""
        gamma = self.weight.data
        return kernels.layernorm(rows_of(len(gamma), x, gamma.dtype), gamma, self.beta, self.eps)[0]

    def forward_train(self, x: ArrayLike, rng: Seed = None) -> tuple[np.ndarray, NormBackward]:
        """(..., C) -> (..., C), and backward, dy (..., C) -> dx (..., C). Nothing is drawn."""
        weight, bias = self.weight, self.bias
        inputs = rows_of(weight.data.size, x, weight.data.dtype)
        y, mean, rstd = kernels.layernorm(inputs, weight.data, self.beta, self.eps)

        def backward(dy: np.ndarray, residual: np.ndarray | None = None) -> np.ndarray:
            dbeta = bias.grad if bias is not None and bias.trainable else None
            return kernels.layernorm_backward(
                dy, inputs, weight.data, mean, rstd, _gradient(weight), dbeta, residual
            )

        return y, backward


class RMSNorm(Module):
    """y = x / sqrt(mean(x^2) + eps) * gamma.

    Zhang and Sennrich, 2019 (arXiv:1910.07467). The Parameter is `weight` (C,), its array `gamma`.
    x of another width than C: ValueError.
    """

    def __init__(self, normalized_shape: int | tuple[int], eps: float = 1e-5) -> None:
        self.weight = Parameter(np.ones(_width(normalized_shape), np.float32))
        self.eps = eps

    @property
    def gamma(self) -> np.ndarray:
        return self.weight.data

    @gamma.setter
    def gamma(self, value: ArrayLike) -> None:
        self.weight.data = value

    def forward(self, x: ArrayLike) -> np.ndarray:
        """(..., C) -> (..., C)."""
        gamma = self.weight.data
        return kernels.rmsnorm(rows_of(len(gamma), x, gamma.dtype), gamma, self.eps)[0]

    def forward_train(self, x: ArrayLike, rng: Seed = None) -> tuple[np.ndarray, NormBackward]:
        """(..., C) -> (..., C), and backward, dy (..., C) -> dx (..., C). Nothing is drawn."""
        weight = self.weight
        inputs = rows_of(weight.data.size, x, weight.data.dtype)
        y, rstd = kernels.rmsnorm(inputs, weight.data, self.eps)

        def backward(dy: np.ndarray, residual: np.ndarray | None = None) -> np.ndarray:
            return kernels.rmsnorm_backward(
                dy, inputs, weight.data, rstd, _gradient(weight), residual
            )

        return y, backward
