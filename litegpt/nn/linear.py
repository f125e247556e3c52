"""The dense layer."""

import numpy as np
from numpy.typing import ArrayLike

from litegpt import kernels
from litegpt.nn.arrays import Backward, floats
from litegpt.nn.dropout import check_dropout
from litegpt.nn.frozen import FrozenParameter
from litegpt.nn.module import Module
from litegpt.nn.parameter import Parameter
from litegpt.nn.random import Seed, draw_seed, normal


class Linear(Module):
    """y = dropout(x @ weight + bias) + residual; weight is (K, N), bias (N,) or None.

    `packed`, when set, holds the weights in the order of kernels.pack_linear, and serves the
    plain call (inference) in their place: see GPTModel.packed_weights. A weight that is a
    FrozenParameter serves inference only: see GPTModel.quantize.
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
        bias = None if self.bias is None else self.bias.data
        if isinstance(self.weight, FrozenParameter):
            return self.weight.linear(floats(x), bias, residual, activation)
        weight = self.weight.data
        x = floats(x, weight.dtype)
        packed = self.packed
        if packed is not None:
            return kernels.linear_packed(x, packed, self.outputs, bias, residual, activation)
        return kernels.linear(x, weight, bias, residual, activation, self.transposed)

    def forward_train(
        self, x: ArrayLike, rng: Seed = None, residual: np.ndarray | None = None
    ) -> tuple[np.ndarray, Backward]:
        """dropout(x @ weight + bias) + residual; dy is the gradient of the residual too."""
        weight, bias, transposed = self.weight, self.bias, self.transposed
        weight.check_trainable()
        p = self.dropout if self.training else 0.0
        seed = draw_seed(rng) if p else 0
        inputs = floats(x, weight.data.dtype)
        y = kernels.linear(
            inputs,
            weight.data,
            None if bias is None else bias.data,
            None if p else residual,
            None,
            transposed,
        )
        if p:
            y = kernels.dropout(y, p, seed)
            if residual is not None:
                y += residual

        def backward(dy: np.ndarray) -> np.ndarray:
            if p:
                dy = kernels.dropout(dy, p, seed)
            dbias = None if bias is None else bias.grad
            return kernels.linear_backward(dy, inputs, weight.data, weight.grad, dbias, transposed)

        return y, backward
