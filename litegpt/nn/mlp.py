"""The feed-forward part of a block."""

import numpy as np
from numpy.typing import ArrayLike

from litegpt import kernels
from litegpt.nn.arrays import Backward, check_size
from litegpt.nn.linear import Linear
from litegpt.nn.module import Module
from litegpt.nn.random import Seed, generator

# Name -> whether it is gated. Each is a kernel, with its name_backward. A gated one halves the last
# axis, so that the first layer is twice as wide; the others are computed by that layer itself.
ACTIVATIONS = {"gelu": False, "gelu_erf": False, "relu": False, "swiglu": True}


class FeedForward(Module):
    """down(activation(up(x))): C -> F -> C, or C -> 2F -> F -> C when gated.

    Activations: "gelu" (tanh form), "gelu_erf" (exact), "relu", and the gated "swiglu" (`up`
    computes [gate | up] in one product; Shazeer, 2020, arXiv:2002.05202). Another name: a
    ValueError that lists these. dropout is that of the output. `up` and `down` are Linear layers.
    x of another width than C: ValueError.
    """

    def __init__(
        self,
        hidden_dim: int,
        ffn_dim: int,
        dropout: float = 0.1,
        activation: str = "gelu",
        bias: bool = True,
        std: float = 0.02,
        output_std: float = 0.02,
        seed: Seed = None,
    ) -> None:
        check_size("hidden_dim", hidden_dim)
        check_size("ffn_dim", ffn_dim)
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation {activation!r} is unknown; allowed: {', '.join(ACTIVATIONS)}"
            )
        rng = generator(seed) if std or output_std else None
        self.activation, self.gated = activation, ACTIVATIONS[activation]
        self.up = Linear(hidden_dim, (1 + self.gated) * ffn_dim, bias, std=std, seed=rng)
        self.down = Linear(ffn_dim, hidden_dim, bias, dropout, output_std, rng)

    def forward(self, x: ArrayLike, residual: np.ndarray | None = None) -> np.ndarray:
        """(..., C) -> (..., C), with residual (..., C) added."""
        if self.gated:
            return self.down(getattr(kernels, self.activation)(self.up(x)), residual)
        return self.down(self.up(x, None, self.activation), residual)

    def forward_train(
        self, x: ArrayLike, rng: Seed = None, residual: np.ndarray | None = None
    ) -> tuple[np.ndarray, Backward]:
        """The same, and backward, dy -> dx; dy is the gradient of the residual too."""
        activation = getattr(kernels, self.activation)
        activation_backward = getattr(kernels, f"{self.activation}_backward")
        z, up_backward = self.up.forward_train(x, rng)  # (..., C) -> (..., F or 2F)
        y, down_backward = self.down.forward_train(activation(z), rng, residual)

        def backward(dy: np.ndarray) -> np.ndarray:
            return up_backward(activation_backward(down_backward(dy), z))

        return y, backward
