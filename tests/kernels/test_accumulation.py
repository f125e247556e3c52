"""What accumulates in place adds to what was there, and twice adds twice."""

import numpy as np
import pytest

from litegpt import kernels
from litegpt.kernels.cases import CASES

ACCUMULATING = [
    name for name, case in CASES.items() if case.updates and case.updates[0].startswith("d")
]


def test_the_accumulating_kernels_are_the_ones_with_parameters() -> None:
    assert sorted(ACCUMULATING) == [
        "embedding_backward",
        "layernorm_backward",
        "linear_backward",
        "rmsnorm_backward",
    ]


@pytest.mark.parametrize("name", ACCUMULATING)
def test_adds_to_what_was_there(backend: str, name: str) -> None:
    """From 0, then from there again: twice as much, in powers of two exactly."""
    case = CASES[name]
    for size in case.sizes:
        arguments = case.arguments(size)
        if not arguments.get("accumulate", True):
            continue
        for key in case.updates:
            if arguments[key] is not None:
                arguments[key] = np.zeros_like(arguments[key])
        once = case.run(kernels, arguments)
        count = sum(arguments[key] is not None for key in case.updates)
        updated = dict(
            zip(
                [k for k in case.updates if arguments[k] is not None],
                once[len(once) - count :],
                strict=True,
            )
        )
        twice = case.run(kernels, arguments | updated)[len(once) - count :]
        for first, second in zip(updated.values(), twice, strict=True):
            scale = np.abs(first).max(initial=0)
            np.testing.assert_allclose(second, 2 * first, rtol=2e-5, atol=2e-5 * scale)
