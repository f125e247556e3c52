"""Lion: steps of one size, in the direction of a momentum's signs."""

from collections.abc import Iterable

from litegpt import kernels
from litegpt.nn import Parameter
from litegpt.training.optimizer import Optimizer, check_number


class Lion(Optimizer):
    """Lion (Chen et al., 2023, arXiv:2302.06675; the formula is in kernels.lion).

    One moment where AdamW has two. Every entry moves by the learning rate, so that wants to be 3
    to 10 times lower than AdamW's, and weight_decay as much higher.
    """

    def __init__(
        self,
        parameters: Iterable[tuple[str, Parameter]],
        learning_rate: float = 1e-4,
        beta1: float = 0.9,
        beta2: float = 0.99,
        weight_decay: float = 0.1,
    ) -> None:
        super().__init__(parameters, learning_rate, weight_decay)
        self.beta1 = check_number("beta1", beta1, below=1)
        self.beta2 = check_number("beta2", beta2, below=1)
        self.moments = {"first": self._new_moments()}

    def _move(self, name: str, parameter: Parameter, lr: float, grad_scale: float) -> None:
        kernels.lion(
            parameter.data,
            parameter.grad,
            self.moments["first"][name],
            lr,
            self.beta1,
            self.beta2,
            self.decay(parameter),
            grad_scale,
        )
