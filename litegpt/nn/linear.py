"""The dense layer."""

import numpy as np
from numpy.typing import ArrayLike

from litegpt import kernels
from litegpt.nn.arrays import FLOAT, Backward, rows_of
from litegpt.nn.dropout import check_dropout
from litegpt.nn.frozen import FrozenParameter
from litegpt.nn.module import Module
from litegpt.nn.parameter import Parameter
from litegpt.nn.random import Seed, draw_seed, normal


class Linear(Module):
    """y = dropout(x @ weight + bias) + residual; weight is (K, N), bias (N,) or None.

    `packed`, when set, holds the weights in the order of kernels.pack_linear, and serves the
    plain call (inference) in their place: see GPTModel.packed_weights. A weight that is a
    FrozenParameter isn't trained: see GPTModel.quantize. x of another width than K: ValueError.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        bias: bool = True,
        dropout: float = 0.0,
        std: float = 0.02,
        seed: Seed = None,
    ) -> None:
        self.weight: Parameter = Parameter(normal(seed, (inputs, outputs), std))
        self.bias = Parameter(np.zeros(outputs, np.float32)) if bias else None
        self.dropout = check_dropout(dropout)
        self.outputs = outputs
        self.transposed = False  # weight is (N, K)
        self.packed: np.ndarray | None = None

    @property
    def inputs(self) -> int:
        """K."""
        return self.weight.shape[1 if self.transposed else 0]

    @classmethod
    def tied(cls, table: Parameter) -> "Linear":
        """A layer without bias whose weights are an embedding's table (V, C): C -> V."""
        layer = cls(0, 0, bias=False, std=0)
        layer.weight, layer.outputs, layer.transposed = table, table.shape[0], True
        return layer

    def pack(self) -> None:
        """Keeps a packed copy of the weights as they are now, for inference."""
        if isinstance(self.weight, FrozenParameter):
            return  # packed as it is
        self.packed = kernels.pack_linear(self.weight.data, self.transposed)

    def forward(
        self,
        x: ArrayLike,
        residual: np.ndarray | None = None,
        activation: str | None = None,
    ) -> np.ndarray:
        """activation(x @ weight + bias) + residual: (..., K) -> (..., N)."""
        if self.training and self.dropout:
            return self.forward_train(x, None, residual)[0]
        return self._forward(x, residual, activation)

    def _forward(
        self, x: ArrayLike, residual: np.ndarray | None, activation: str | None
    ) -> np.ndarray:
        """The same without dropout; subclasses have their own, and their own _product."""
        bias = None if self.bias is None else self.bias.data
        if isinstance(self.weight, FrozenParameter):
            return self.weight.linear(rows_of(self.inputs, x), bias, residual, activation)
        weight = self.weight.data
        x = rows_of(self.inputs, x, weight.dtype)
        packed = self.packed
        if packed is not None:
            return kernels.linear_packed(x, packed, self.outputs, bias, residual, activation)
        return kernels.linear(x, weight, bias, residual, activation, self.transposed)

    def forward_train(
        self, x: ArrayLike, rng: Seed = None, residual: np.ndarray | None = None
    ) -> tuple[np.ndarray, Backward]:
        """dropout(x @ weight + bias) + residual, and backward, dy (..., N) -> dx (..., K).

        dy is the gradient of the residual too.
        """
        p = self.dropout if self.training else 0.0
        seed = draw_seed(rng) if p else 0
        y, product_backward = self._product(x, rng, None if p else residual)
        if p:
            y = kernels.dropout(y, p, seed)
            if residual is not None:
                y += residual

        def backward(dy: np.ndarray) -> np.ndarray:
            return product_backward(kernels.dropout(dy, p, seed) if p else dy)

        return y, backward

    def _product(
        self, x: ArrayLike, rng: Seed, residual: np.ndarray | None
    ) -> tuple[np.ndarray, Backward]:
        """x @ weight + bias + residual, and backward; rng is for what subclasses drop."""
        weight, bias, transposed = self.weight, self.bias, self.transposed
        precision = self.precision
        frozen = weight if isinstance(weight, FrozenParameter) else None
        inputs = rows_of(self.inputs, x, FLOAT if frozen else weight.data.dtype)
        b = None if bias is None else bias.data
        if frozen:
            y = frozen.linear(inputs, b, residual, None)
        else:
            y = kernels.linear(inputs, weight.data, b, residual, None, transposed, precision)

        trained_bias = bias if bias is not None and bias.trainable else None

        def backward(dy: np.ndarray) -> np.ndarray:
            dbias = None if trained_bias is None else trained_bias.grad
            dweight, adds = weight.grad_memory()
            return kernels.linear_backward(
                dy, inputs, weight.data, dweight, dbias, transposed, adds, precision
            )

        def frozen_backward(dy: np.ndarray) -> np.ndarray:  # which doesn't keep the inputs
            if trained_bias is not None:
                trained_bias.grad += dy.reshape(-1, dy.shape[-1]).sum(axis=0)
            if frozen:
                return frozen.linear_backward(dy, precision)
            return kernels.linear(dy, weight.data, transposed=not transposed, precision=precision)

        return y, backward if weight.trainable else frozen_backward
