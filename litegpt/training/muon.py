"""Muon: steps of matrices whose singular values are all about one."""

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

import numpy as np

from litegpt import kernels
from litegpt.nn import Parameter
from litegpt.training.optimizer import AdamW, check_number

TABLES = ("token_embedding.*", "position_encoding.*", "head.*")  # matrices, but no maps inside
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan's: they push small singular values up fastest
_ITERATIONS = 5
_RMS = 0.2  # that of AdamW's steps


def orthogonalized(matrix: np.ndarray) -> np.ndarray:
    """Nearly U V^T of the singular value decomposition U S V^T of a matrix (K, N), without one.

    Five Newton-Schulz iterations X <- a X + b (X X^T) X + c (X X^T)^2 X from X = matrix / norm
    move every singular value into about 0.7 to 1.2, but for those that are tiny beside the
    largest. The coefficients are K. Jordan's (2024, kellerjordan.github.io/posts/muon).
    """
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = np.ascontiguousarray(matrix.T) if tall else matrix  # the smaller axis first
    x = x * x.dtype.type(1.0 / max(kernels.grad_norm([x]), 1e-7))
    for _ in range(_ITERATIONS):
        gram = kernels.matmul(x, x, transpose_b=True)  # (K, N) (N, K) -> (K, K)
        polynomial = kernels.matmul(gram, gram)
        polynomial *= gram.dtype.type(c)
        gram *= gram.dtype.type(b)
        polynomial += gram
        x = kernels.linear(polynomial, x, residual=x * x.dtype.type(a))
    return np.ascontiguousarray(x.T) if tall else x


def is_inner_matrix(name: str, parameter: Parameter, tables: Collection[str] = TABLES) -> bool:
    """Whether Muon orthogonalizes a parameter's steps."""
    return len(parameter.shape) == 2 and not any(fnmatchcase(name, t) for t in tables)


class Muon(AdamW):
    """Muon for the matrices inside the model, AdamW for tables, the head, biases and norms.

    K. Jordan et al., 2024 (kellerjordan.github.io/posts/muon): with the gradient g, a matrix's
    moment is m = momentum m + (1 - momentum) g, and it moves against orthogonalized(momentum m +
    (1 - momentum) g). The step is 0.2 sqrt(max(K, N)) times that: as large as AdamW's on average,
    so that learning_rate and weight_decay are the same for both (Liu et al., 2025,
    arXiv:2502.16982). tables: patterns of the names of matrices that are AdamW's.
    """

    def __init__(
        self,
        parameters: Iterable[tuple[str, Parameter]],
        learning_rate: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.95,
        eps: float = 1e-8,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        tables: Collection[str] = TABLES,
    ) -> None:
        parameters = list(parameters)
        super().__init__(parameters, learning_rate, beta1, beta2, eps, weight_decay)
        self.momentum = check_number("momentum", momentum, below=1)
        self.moments["momentum"] = {}
        for name, parameter in self.parameters.items():
            if is_inner_matrix(name, parameter, tables):
                self.moments["momentum"][name] = self.moments["first"].pop(name)
                del self.moments["second"][name]

    def _move(self, name: str, parameter: Parameter, lr: float, grad_scale: float) -> None:
        moment = self.moments["momentum"].get(name)
        if moment is None:
            return super()._move(name, parameter, lr, grad_scale)
        t = moment.dtype.type
        new = parameter.grad * t((1.0 - self.momentum) * grad_scale)
        moment *= t(self.momentum)
        moment += new
        step = orthogonalized(moment * t(self.momentum) + new)
        parameter.data[...] *= t(1.0 - lr * self.weight_decay)
        step *= t(lr * _RMS * max(parameter.shape) ** 0.5)
        parameter.data[...] -= step
