"""AdamW over a model's parameters."""

from collections.abc import Iterable

import numpy as np

from litegpt import kernels
from litegpt.nn import Parameter


class AdamW:
    """AdamW (Loshchilov and Hutter, 2017, arXiv:1711.05101; the formula is in kernels.adamw).

    parameters: (name, Parameter) pairs, as model.named_parameters() gives them. weight_decay
    pulls on parameters with two axes or more (weights, tables), not on biases and norms.

    A step in full:

        loss = model.loss_and_backward(inputs, targets)
        optimizer.step()
        model.zero_grad()
    """

    def __init__(
        self,
        parameters: Iterable[tuple[str, Parameter]],
        learning_rate: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        self.parameters = dict(parameters)
        self.learning_rate = learning_rate
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.weight_decay = weight_decay
        self.steps = 0  # taken so far
        self.first_moments = {n: np.zeros_like(p.data) for n, p in self.parameters.items()}
        self.second_moments = {n: np.zeros_like(p.data) for n, p in self.parameters.items()}

    def grad_norm(self) -> float:
        """The Euclidean norm of all gradients together."""
        return kernels.grad_norm([parameter.grad for parameter in self.parameters.values()])

    def step(self, learning_rate: float | None = None, grad_scale: float = 1.0) -> None:
        """Moves every parameter once; its gradient counts grad_scale times.

        learning_rate takes the place of the constructor's for this step.
        """
        lr = self.learning_rate if learning_rate is None else learning_rate
        self.steps += 1
        for name, parameter in self.parameters.items():
            kernels.adamw(
                parameter.data,
                parameter.grad,
                self.first_moments[name],
                self.second_moments[name],
                self.steps,
                lr,
                self.beta1,
                self.beta2,
                self.eps,
                self.weight_decay if parameter.data.ndim >= 2 else 0.0,
                grad_scale,
            )
