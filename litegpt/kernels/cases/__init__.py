"""One case for every kernel: what tests, benchmarks and `litegpt bench` are generated from.

A kernel without a case fails the tests. A case says how to make a kernel's arguments at any size,
how near to the float64 reference its outputs must be, and what the work amounts to.
"""

from litegpt.kernels.cases import (
    activation,
    attention,
    embedding,
    linear,
    loss,
    matmul,
    norm,
    optimizer,
    quantized,
    sampling,
    softmax,
)
from litegpt.kernels.cases.case import Arguments, Case, Outputs, Size, in_float64

CASES: dict[str, Case] = {
    case.kernel: case
    for family in (
        activation,
        attention,
        embedding,
        linear,
        loss,
        matmul,
        norm,
        optimizer,
        quantized,
        sampling,
        softmax,
    )
    for case in family.CASES
}

__all__ = ["CASES", "Arguments", "Case", "Outputs", "Size", "in_float64"]
