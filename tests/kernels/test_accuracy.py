"""How exact the vector functions behind the kernels are, in ulp over their whole range."""

import math

import numpy as np
import pytest

from litegpt import kernels


def ulps(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Distance from the float64 values, in units of the float32 spacing there."""
    spacing = np.spacing(np.abs(want).astype(np.float32)).astype(np.float64)
    return np.abs(got.astype(np.float64) - want) / spacing


def test_exp_is_within_its_ulp_down_to_the_last_subnormal(compiled: str) -> None:
    """softmax of [0, x] is e^x itself where 1 + e^x rounds to 1."""
    x = np.linspace(-103, -18, 300_001, dtype=np.float32)
    y = kernels.softmax(np.stack([np.zeros_like(x), x], axis=1))[:, 1]
    error = ulps(y, np.exp(x.astype(np.float64)))
    assert error.max() <= 1.5  # 1 ulp of exp, half of the division
    assert (y > 0).all()


def test_gelu_is_within_ulps_of_its_argument(compiled: str) -> None:
    """The whole range in which it is neither x nor 0; relative to x, as 1 + tanh cancels."""
    x = np.linspace(-14, 14, 100_003, dtype=np.float32)
    with kernels.use_backend("numpy"):
        want = kernels.gelu(x.astype(np.float64))
    got = kernels.gelu(x).astype(np.float64)
    assert (np.abs(got - want) / np.spacing(np.abs(x)).astype(np.float64)).max() <= 2


def test_gelu_erf_is_within_ulps_of_itself(compiled: str) -> None:
    """4 ulp of the normal distribution function, 1 of the product; far left too.

    Without fused multiply-adds (baseline), the rounding of x^2 / 2 before exp costs up to 80 there.
    """
    x = np.linspace(-13, 13, 100_003, dtype=np.float32)
    want = [v * 0.5 * math.erfc(-v / math.sqrt(2)) for v in x.tolist()]
    assert ulps(kernels.gelu_erf(x), np.array(want))[x != 0].max() <= (
        80 if compiled == "baseline" else 5
    )


def test_silu_is_within_ulps_of_itself(compiled: str) -> None:
    gate = np.linspace(-80, 80, 100_003, dtype=np.float32)
    exact = gate.astype(np.float64)
    got = kernels.swiglu(np.concatenate([gate, np.ones_like(gate)]))
    assert ulps(got, exact / (1 + np.exp(-exact)))[gate != 0].max() <= 3


def test_log_of_a_sum(backend: str) -> None:
    """lse of V equal logits is log V."""
    for vocabulary in (1, 2, 3, 7, 65, 1000, 50_257):
        logits = np.zeros((1, vocabulary), np.float32)
        _, lse = kernels.cross_entropy(logits, np.zeros(1, np.int64))
        assert lse[0] == pytest.approx(np.log(vocabulary), rel=3e-7, abs=1e-7)
