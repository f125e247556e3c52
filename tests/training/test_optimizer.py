"""AdamW against PyTorch's, and which parameters it pulls towards zero."""

import numpy as np
import pytest

from litegpt import kernels
from litegpt.nn import Parameter
from litegpt.training import AdamW, Lion, Muon

SHAPES = {"table": (7, 5), "matrix": (5, 9), "bias": (9,), "gamma": (5,)}


def parameters(seed: int) -> dict[str, Parameter]:
    rng = np.random.default_rng(seed)
    return {name: Parameter(rng.standard_normal(shape)) for name, shape in SHAPES.items()}


def test_ten_steps_as_pytorch_takes_them(backend) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle")
    ours = parameters(0)
    theirs = {n: torch.nn.Parameter(torch.tensor(p.data.copy())) for n, p in ours.items()}
    optimizer = AdamW(ours.items(), 1e-2, 0.9, 0.99, 1e-8, 0.1)
    groups = [
        {"params": [p for p in theirs.values() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in theirs.values() if p.ndim < 2], "weight_decay": 0.0},
    ]
    oracle = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.99), eps=1e-8)
    rng = np.random.default_rng(1)
    for step in range(10):
        rate = 1e-2 * (step + 1) / 10
        for name, parameter in ours.items():
            gradient = rng.standard_normal(parameter.shape).astype(np.float32)
            parameter.zero_grad()
            parameter.grad += gradient
            theirs[name].grad = torch.tensor(gradient)
        norm = optimizer.grad_norm()
        their_norm = torch.nn.utils.clip_grad_norm_(theirs.values(), 1.0)
        assert norm == pytest.approx(float(their_norm), rel=1e-6)
        assert norm > 1  # so that the clipping clips
        optimizer.step(rate, 1.0 / norm)
        for group in oracle.param_groups:
            group["lr"] = rate
        oracle.step()
        for name, parameter in ours.items():
            np.testing.assert_allclose(
                parameter.data, theirs[name].detach().numpy(), rtol=0, atol=2e-6
            )


def test_the_first_step_is_the_learning_rate(backend) -> None:
    ours = parameters(0)
    before = {name: p.data.copy() for name, p in ours.items()}
    for parameter in ours.values():
        parameter.grad[...] = 3.0
    AdamW(ours.items(), learning_rate=0.01, weight_decay=0.0).step()
    for name, parameter in ours.items():
        np.testing.assert_allclose(parameter.data, before[name] - 0.01, rtol=0, atol=1e-6)


def test_only_matrices_and_tables_decay(backend) -> None:
    ours = parameters(0)
    before = {name: p.data.copy() for name, p in ours.items()}
    AdamW(ours.items(), learning_rate=0.1, weight_decay=0.5).step()  # all gradients are zero
    for name, parameter in ours.items():
        decay = 0.95 if parameter.data.ndim >= 2 else 1.0
        np.testing.assert_allclose(parameter.data, before[name] * decay, rtol=1e-6)


def test_the_norm_is_that_of_all_gradients(backend) -> None:
    ours = parameters(0)
    for parameter in ours.values():
        parameter.grad[...] = 2.0
    count = sum(parameter.size for parameter in ours.values())
    assert AdamW(ours.items()).grad_norm() == pytest.approx(2.0 * count**0.5, rel=1e-12)
    assert kernels.grad_norm([]) == 0.0


@pytest.mark.parametrize("optimizer", [AdamW, Lion, Muon])
@pytest.mark.parametrize(("numbers", "says"), [
    ({"learning_rate": -1e-3}, "learning_rate must be a finite number of 0 or more, not -0.001"),
    ({"learning_rate": "1e-3"}, "learning_rate must be a finite number of 0 or more, not '1e-3'"),
    ({"weight_decay": float("nan")}, "weight_decay must be a finite number of 0 or more, not nan"),
    ({"beta1": 1}, "beta1 must be from 0 to below 1, not 1"),
    ({"beta2": -0.1}, "beta2 must be from 0 to below 1, not -0.1"),
])  # fmt: skip
def test_numbers_that_make_no_sense(optimizer, numbers, says) -> None:
    with pytest.raises(ValueError, match=says):
        optimizer(parameters(0).items(), **numbers)
