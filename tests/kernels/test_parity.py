"""Every kernel on every rung against the reference in float64, at every size of its case."""

import numpy as np
import pytest

from litegpt import kernels
from litegpt.kernels.cases import CASES, Size

SIZES = [
    pytest.param(name, size, id=f"{name}-{size}")
    for name, case in CASES.items()
    for size in case.sizes
]
SPECIAL = [
    pytest.param(name, label, id=f"{name}-{label}")
    for name, case in CASES.items()
    for label in case.special or {}
]


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_agrees_with_the_float64_reference(backend: str, name: str, size: Size) -> None:
    case = CASES[name]
    arguments = case.arguments(size)
    with np.errstate(all="ignore"):
        outputs = case.run(kernels, arguments)
    assert not case.disagreement(arguments, outputs)


@pytest.mark.parametrize(("name", "label"), SPECIAL)
def test_special_values(backend: str, name: str, label: str) -> None:
    case = CASES[name]
    assert case.special
    arguments = case.special[label](np.random.default_rng(0))
    with np.errstate(all="ignore"):
        outputs = case.run(kernels, arguments)
    assert not case.disagreement(arguments, outputs)


@pytest.mark.parametrize("name", CASES)
def test_changes_nothing_but_what_it_says(backend: str, name: str) -> None:
    """Inputs stay; outputs are float32, int64, bytes or a Python float, and C-contiguous.

    The gradients of self-attention are slices of one array that is.
    """
    case = CASES[name]
    arguments = case.arguments(case.sizes[len(case.sizes) // 2])
    before = {
        key: [a.copy() for a in value] if isinstance(value, list) else np.copy(value)
        for key, value in arguments.items()
        if isinstance(value, np.ndarray | list)
    }
    outputs = case.run(kernels, arguments)
    for key, value in before.items():
        np.testing.assert_equal(arguments[key], value, err_msg=f"{name} changed {key}")
    for output in outputs:
        whole = output.base if name == "causal_attention_backward" else output
        assert isinstance(whole, np.ndarray)
        assert whole.flags.c_contiguous
        assert output.dtype == (np.float64 if output.ndim == 0 else output.dtype)
        assert output.dtype in (np.float32, np.int64, np.uint8) or output.ndim == 0
