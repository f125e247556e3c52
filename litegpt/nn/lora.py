"""Low-rank adaptation: a dense layer that stays, and a small trained addition to its output."""

import math
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from litegpt import kernels
from litegpt.nn.arrays import Backward, floats
from litegpt.nn.dropout import Dropout
from litegpt.nn.linear import Linear
from litegpt.nn.module import Module
from litegpt.nn.parameter import Parameter
from litegpt.nn.random import Seed, draw_seed, generator


class LowRank(Module):
    """scale * dropout(x) @ a @ b, for the outputs `columns` (start, stop) of a layer of K inputs.

    a (K, r) starts uniform within 1 / sqrt(K), b (r, N) at zero: so nothing is added at first.
    Hu et al., 2021 (arXiv:2106.09685), where scale is alpha / r.
    """

    def __init__(
        self,
        inputs: int,
        columns: tuple[int, int],
        rank: int,
        scale: float,
        dropout: float = 0.0,
        seed: Seed = None,
    ) -> None:
        bound = 1 / math.sqrt(inputs)
        self.a = Parameter(generator(seed).uniform(-bound, bound, (inputs, rank)))
        self.b = Parameter(np.zeros((rank, columns[1] - columns[0]), np.float32))
        self.columns, self.scale = columns, scale
        self.dropout = Dropout(dropout)

    def forward(self, x: ArrayLike) -> np.ndarray:
        """(..., K) -> (..., N)."""
        return self.forward_train(x)[0]

    def forward_train(self, x: ArrayLike, rng: Seed = None) -> tuple[np.ndarray, Backward]:
        a, b, precision = self.a, self.b, self.precision
        inputs = floats(x, a.data.dtype)
        p = self.dropout.p if self.dropout.active else 0.0
        seed = draw_seed(rng) if p else 0
        scale = inputs.dtype.type(self.scale)

        def dropped() -> np.ndarray:
            return kernels.dropout(inputs, p, seed) if p else inputs

        # (..., K) (K, r) -> (..., r)
        middle = kernels.linear(dropped(), a.data, precision=precision) * scale

        def backward(dy: np.ndarray) -> np.ndarray:
            dmiddle = kernels.linear_backward(dy, middle, b.data, b.grad, precision=precision)
            dmiddle *= scale
            # dropped again, rather than kept: with what stands for x, the layers share x itself
            dx = kernels.linear_backward(dmiddle, dropped(), a.data, a.grad, precision=precision)
            return kernels.dropout(dx, p, seed) if p else dx

        return kernels.linear(middle, b.data, precision=precision), backward

    def product(self) -> np.ndarray:
        """What the addition stands for, without dropout: scale * a @ b, (K, N)."""
        return kernels.linear(self.a.data, self.b.data) * self.a.data.dtype.type(self.scale)


class LoRALinear(Linear):
    """A dense layer to whose outputs `adapters` add; the layer's own weight and bias are frozen.

    Several adapters serve a layer whose columns are several projections (q, k and v).
    """

    adapters: list[LowRank]

    @classmethod
    def of(cls, layer: Linear) -> Self:
        """The layer, with the same parameters, and no adapters yet."""
        adapted = cls.__new__(cls)
        vars(adapted).update(vars(layer))
        adapted.adapters = []
        adapted.freeze("*")
        return adapted

    def _forward(
        self, x: ArrayLike, residual: np.ndarray | None, activation: str | None
    ) -> np.ndarray:
        y = super()._forward(x, None, None)
        for adapter in self.adapters:
            y[..., slice(*adapter.columns)] += adapter(x)
        if activation is not None:
            y = getattr(kernels, activation)(y)
        if residual is not None:
            y += residual
        return y

    def _product(
        self, x: ArrayLike, rng: Seed, residual: np.ndarray | None
    ) -> tuple[np.ndarray, Backward]:
        y, layer_backward = super()._product(x, rng, residual)
        saved = []  # each adapter's columns and backward
        for adapter in self.adapters:
            part, part_backward = adapter.forward_train(x, rng)
            columns = slice(*adapter.columns)
            y[..., columns] += part
            saved.append((columns, part_backward))

        def backward(dy: np.ndarray) -> np.ndarray:
            dx = layer_backward(dy)
            for columns, part_backward in saved:
                dx += part_backward(np.ascontiguousarray(dy[..., columns]))
            return dx

        return y, backward

    def merge(self) -> Linear:
        """The plain layer whose weight has the additions in it; this one is of no use then.

        RuntimeError where the weight is kept for inference alone.
        """
        self.weight.check_trainable()
        layer = Linear.__new__(Linear)
        for adapter in self.adapters:
            weight = self.weight.data.T if self.transposed else self.weight.data  # (K, N)
            weight[:, slice(*adapter.columns)] += adapter.product()
        vars(layer).update({name: v for name, v in vars(self).items() if name != "adapters"})
        return layer
