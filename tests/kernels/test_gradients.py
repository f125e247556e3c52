"""The reference's gradients against central finite differences in float64."""

from typing import Any

import numpy as np
import pytest

from litegpt import kernels
from litegpt.kernels import reference
from litegpt.kernels.cases import CASES, Size, in_float64

STEP = 1e-6
CHECKED = [
    pytest.param(name, size, id=f"{name}-{size}")
    for name, case in CASES.items()
    if case.gradient
    for size in case.gradient.sizes
]


class Recorder:
    """The reference, noting which of its kernels are used."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.used.add(name)
        return getattr(reference, name)


@pytest.mark.parametrize(("name", "size"), CHECKED)
def test_gradient_is_the_slope(name: str, size: Size) -> None:
    case = CASES[name]
    assert case.gradient
    arguments = in_float64(case.arguments(size))
    outputs = case.run(reference, arguments)
    dy = np.random.default_rng(1).standard_normal(outputs[0].shape)
    gradients = case.gradient.by(reference, arguments, outputs, dy)
    for key, gradient in gradients.items():
        assert gradient.shape == arguments[key].shape
        slope = np.empty_like(gradient)
        for place in np.ndindex(*gradient.shape):
            values = []
            for move in (STEP, -STEP):
                moved = arguments[key].copy()
                moved[place] += move
                values.append((case.run(reference, arguments | {key: moved})[0] * dy).sum())
            slope[place] = (values[0] - values[1]) / (2 * STEP)
        np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=2e-8, err_msg=key)
        assert np.abs(slope).max() > 1e-3, "a slope of zero proves nothing"


def test_every_backward_kernel_is_checked() -> None:
    used = Recorder()
    for case in CASES.values():
        if case.gradient:
            arguments = case.arguments(case.gradient.sizes[0])
            outputs = case.run(reference, arguments)
            case.gradient.by(used, arguments, outputs, np.ones_like(outputs[0]))
    backward = {name for name in reference.__all__ if name.endswith("_backward")}
    assert backward <= used.used


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.gradient])
def test_gradient_on_every_rung(backend: str, name: str) -> None:
    """Forward then backward in float32 (saved outputs and all) come near the float64 chain."""
    case = CASES[name]
    assert case.gradient
    for size in case.gradient.sizes:
        arguments = case.arguments(size)
        exact = in_float64(arguments)
        outputs, exact_outputs = case.run(kernels, arguments), case.run(reference, exact)
        shape = exact_outputs[0].shape
        dy = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        got = case.gradient.by(kernels, arguments, outputs, dy)
        want = case.gradient.by(reference, exact, exact_outputs, dy.astype(np.float64))
        for key in want:
            scale = np.abs(want[key]).max()
            np.testing.assert_allclose(got[key], want[key], rtol=0, atol=2e-5 * scale, err_msg=key)
