"""PyTorch as a second oracle: an independent reading of the same formulas."""

from typing import Any

import numpy as np
import pytest

from litegpt import kernels

torch = pytest.importorskip("torch", reason="PyTorch, the second oracle, isn't installed")
functional = torch.nn.functional


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(21)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def leaf(array: np.ndarray) -> Any:
    return torch.tensor(array, requires_grad=True)


def close(got: np.ndarray, want: Any, error: float = 2e-6) -> None:
    """Within `error` of the largest entry."""
    expected = want.detach().numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(got, expected, rtol=0, atol=error * scale)


@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (6, 2)])
def test_attention(backend: str, rng: np.random.Generator, heads: int, groups: int) -> None:
    q, k, v = (normal(rng, 2, 37, count, 32) for count in (heads, groups, groups))
    dy = normal(rng, *q.shape)
    theirs = [leaf(a) for a in (q, k, v)]
    want = functional.scaled_dot_product_attention(
        *(t.transpose(1, 2) for t in theirs), is_causal=True, enable_gqa=True
    ).transpose(1, 2)
    want.backward(torch.tensor(dy))
    y, lse = kernels.causal_attention(q, k, v)
    close(y, want)
    gradients = kernels.causal_attention_backward(dy, q, k, v, y, lse)
    for got, tensor in zip(gradients, theirs, strict=True):
        close(got, tensor.grad)


def test_layernorm(backend: str, rng: np.random.Generator) -> None:
    x, gamma, beta, dy = normal(rng, 5, 96), normal(rng, 96), normal(rng, 96), normal(rng, 5, 96)
    theirs = [leaf(a) for a in (x, gamma, beta)]
    want = functional.layer_norm(theirs[0], (96,), theirs[1], theirs[2], 1e-5)
    want.backward(torch.tensor(dy))
    y, mean, rstd = kernels.layernorm(x, gamma, beta)
    close(y, want)
    dgamma, dbeta = np.zeros_like(gamma), np.zeros_like(beta)
    dx = kernels.layernorm_backward(dy, x, gamma, mean, rstd, dgamma, dbeta)
    for got, tensor in zip((dx, dgamma, dbeta), theirs, strict=True):
        close(got, tensor.grad)


def test_rmsnorm(backend: str, rng: np.random.Generator) -> None:
    x, gamma, dy = normal(rng, 5, 96), normal(rng, 96), normal(rng, 5, 96)
    theirs = [leaf(a) for a in (x, gamma)]
    want = functional.rms_norm(theirs[0], (96,), theirs[1], 1e-5)
    want.backward(torch.tensor(dy))
    y, rstd = kernels.rmsnorm(x, gamma)
    close(y, want)
    dgamma = np.zeros_like(gamma)
    close(kernels.rmsnorm_backward(dy, x, gamma, rstd, dgamma), theirs[0].grad)
    close(dgamma, theirs[1].grad)


ACTIVATIONS = {
    "gelu": lambda t: functional.gelu(t, approximate="tanh"),
    "gelu_erf": lambda t: functional.gelu(t),
    "relu": lambda t: functional.relu(t),
    "swiglu": lambda t: functional.silu(t.chunk(2, -1)[0]) * t.chunk(2, -1)[1],
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(backend: str, rng: np.random.Generator, name: str) -> None:
    x = np.linspace(-12, 12, 2000, dtype=np.float32).reshape(2, 1000)
    theirs = leaf(x)
    want = ACTIVATIONS[name](theirs)
    dy = normal(rng, *want.shape)
    want.backward(torch.tensor(dy))
    close(getattr(kernels, name)(x), want)
    close(getattr(kernels, f"{name}_backward")(dy, x), theirs.grad)


def test_softmax(backend: str, rng: np.random.Generator) -> None:
    x, dy = 5 * normal(rng, 7, 53), normal(rng, 7, 53)
    theirs = leaf(x)
    want = functional.softmax(theirs, -1)
    want.backward(torch.tensor(dy))
    y = kernels.softmax(x)
    close(y, want)
    close(kernels.softmax_backward(dy, y), theirs.grad)


def test_cross_entropy(backend: str, rng: np.random.Generator) -> None:
    logits, targets = 3 * normal(rng, 40, 301), rng.integers(0, 301, 40)
    targets[::7] = -100
    theirs = leaf(logits)
    want = functional.cross_entropy(theirs, torch.tensor(targets))
    want.backward()
    loss, lse = kernels.cross_entropy(logits, targets)
    assert loss == pytest.approx(want.item(), rel=1e-6)
    close(kernels.cross_entropy_backward(logits, targets, lse), theirs.grad)
    ignored = np.full(40, -100)
    assert np.isnan(kernels.cross_entropy(logits, ignored)[0])
    assert torch.isnan(functional.cross_entropy(theirs, torch.tensor(ignored)))


def test_linear(backend: str, rng: np.random.Generator) -> None:
    x, weight, bias = normal(rng, 33, 65), normal(rng, 65, 100), normal(rng, 100)
    dy = normal(rng, 33, 100)
    theirs = [leaf(a) for a in (x, weight, bias)]
    want = theirs[0] @ theirs[1] + theirs[2]
    want.backward(torch.tensor(dy))
    close(kernels.linear(x, weight, bias), want)
    dweight, dbias = np.zeros_like(weight), np.zeros_like(bias)
    dx = kernels.linear_backward(dy, x, weight, dweight, dbias)
    for got, tensor in zip((dx, dweight, dbias), theirs, strict=True):
        close(got, tensor.grad)


def test_adamw_over_ten_steps(backend: str, rng: np.random.Generator) -> None:
    param = normal(rng, 37, 19)
    theirs = torch.nn.Parameter(torch.tensor(param))
    optimizer = torch.optim.AdamW([theirs], 1e-2, (0.9, 0.95), 1e-8, 0.1)
    m, v = np.zeros_like(param), np.zeros_like(param)
    for step in range(1, 11):
        grad = normal(rng, 37, 19)
        theirs.grad = torch.tensor(grad)
        optimizer.step()
        kernels.adamw(param, grad, m, v, step, 1e-2, 0.9, 0.95, 1e-8, 0.1)
        close(param, theirs)


def test_gradient_norm(backend: str, rng: np.random.Generator) -> None:
    grads = [normal(rng, 37, 19), normal(rng, 5)]
    want = torch.nn.utils.get_total_norm([torch.tensor(g) for g in grads])
    assert kernels.grad_norm(grads) == pytest.approx(float(want), rel=1e-6)
