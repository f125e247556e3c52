"""What every optimizer does, and AdamW."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from math import inf
from numbers import Real

import numpy as np

from litegpt import kernels
from litegpt.nn import Parameter
from litegpt.nn.arrays import check_fit
from litegpt.nn.parameter import check_any_trainable


def check_number(name: str, value: float, below: float = inf) -> float:
    """The value; ValueError unless it is a number from 0 on and below that."""
    if not (isinstance(value, Real) and 0 <= value < below):
        allowed = "a finite number of 0 or more" if below == inf else f"from 0 to below {below:g}"
        raise ValueError(f"{name} must be {allowed}, not {value!r}")
    return value


class Optimizer(ABC):
    """Moves parameters against their gradients; `moments` is what it remembers of them.

    parameters: (name, Parameter) pairs, as model.named_parameters() gives them; those that aren't
    trainable are passed over; none left is a RuntimeError. A rate that is negative or not a finite
    number, and a moment's share (beta1, beta2, momentum) that isn't below 1: ValueError. A step in
    full:

        loss = model.loss_and_backward(inputs, targets)
        optimizer.step()
        model.zero_grad()
    """

    def __init__(
        self,
        parameters: Iterable[tuple[str, Parameter]],
        learning_rate: float,
        weight_decay: float,
    ) -> None:
        given = dict(parameters)
        check_any_trainable(given.values())
        self.parameters = {name: p for name, p in given.items() if p.trainable}
        self.learning_rate = check_number("learning_rate", learning_rate)
        self.weight_decay = check_number("weight_decay", weight_decay)
        self.steps = 0  # taken so far
        self.moments: dict[str, dict[str, np.ndarray]] = {}  # kind -> parameter's name -> array

    @abstractmethod
    def _move(self, name: str, parameter: Parameter, lr: float, grad_scale: float) -> None:
        """Moves one parameter; `steps` counts this step already."""

    def step(self, learning_rate: float | None = None, grad_scale: float = 1.0) -> None:
        """Moves every parameter once; its gradient counts grad_scale times.

        learning_rate takes the place of the constructor's for this step.
        """
        lr = self.learning_rate if learning_rate is None else learning_rate
        self.steps += 1
        for name, parameter in self.parameters.items():
            self._move(name, parameter, lr, grad_scale)

    def grad_norm(self) -> float:
        """The Euclidean norm of all gradients together."""
        return kernels.grad_norm([parameter.grad for parameter in self.parameters.values()])

    def decay(self, parameter: Parameter) -> float:
        """Weight decay is for two axes or more (weights, tables), not for biases and norms."""
        return self.weight_decay if parameter.data.ndim >= 2 else 0.0

    def _new_moments(self) -> dict[str, np.ndarray]:
        return {name: np.zeros_like(p.data) for name, p in self.parameters.items()}

    def state_dict(self) -> dict[str, np.ndarray]:
        """Name -> array: `steps`, and each moment as `kind.parameter`. The arrays are its own."""
        state = {"steps": np.array(self.steps, np.int64)}
        for kind, arrays in self.moments.items():
            state |= {f"{kind}.{name}": array for name, array in arrays.items()}
        return state

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Copies a state_dict in. ValueError if names or shapes differ; all is as it was then."""
        own = self.state_dict()
        check_fit("the optimizer's state", own, state, strict=True)
        for name, array in own.items():
            array[...] = state[name]
        self.steps = int(state["steps"])


class AdamW(Optimizer):
    """AdamW (Loshchilov and Hutter, 2017, arXiv:1711.05101; the formula is in kernels.adamw).

    It keeps two arrays for each parameter. Only what has two axes or more decays. What all
    optimizers have (step, grad_norm, state_dict): Optimizer.
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
        super().__init__(parameters, learning_rate, weight_decay)
        self.beta1 = check_number("beta1", beta1, below=1)
        self.beta2 = check_number("beta2", beta2, below=1)
        self.eps = check_number("eps", eps)
        self.moments = {"first": self._new_moments(), "second": self._new_moments()}

    def _move(self, name: str, parameter: Parameter, lr: float, grad_scale: float) -> None:
        kernels.adamw(
            parameter.data,
            parameter.grad,
            self.moments["first"][name],
            self.moments["second"][name],
            self.steps,
            lr,
            self.beta1,
            self.beta2,
            self.eps,
            self.decay(parameter),
            grad_scale,
        )
