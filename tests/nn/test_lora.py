"""Low-rank additions to a dense layer: gradients, dropout, columns, merging."""

from collections.abc import Callable

import numpy as np
import pytest

from litegpt import kernels
from litegpt.nn import Linear
from litegpt.nn.lora import LoRALinear, LowRank


def make(dropout: float = 0.0, adapter_dropout: float = 0.0, seed: int = 0) -> LoRALinear:
    """10 -> 12, with two adapters whose columns overlap nothing, and some columns without any."""
    rng = np.random.default_rng(seed)
    layer = LoRALinear.of(Linear(10, 12, True, dropout, std=0.5, seed=rng))
    for columns, rank in (((0, 5), 2), ((7, 12), 3)):
        adapter = LowRank(10, columns, rank, 0.7, adapter_dropout, rng)
        adapter.b.data = rng.standard_normal(adapter.b.shape)
        layer.adapters.append(adapter)
    return layer


def x_of(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(9).standard_normal(shape).astype(np.float32)


def by_hand(layer: LoRALinear, x: np.ndarray) -> np.ndarray:
    y = x @ layer.weight.data.astype(np.float64) + layer.bias.data
    for adapter in layer.adapters:
        start, stop = adapter.columns
        y[..., start:stop] += 0.7 * (x @ adapter.a.data.astype(np.float64)) @ adapter.b.data
    return y


@pytest.mark.parametrize("activation", [None, "gelu"])
def test_forward(backend: str, activation: str | None) -> None:
    layer, x, residual = make(), x_of((2, 3, 10)), x_of((2, 3, 12))
    wanted = by_hand(layer, x)
    if activation:
        wanted = kernels.gelu(wanted.astype(np.float32))
    got = layer(x, residual, activation)
    np.testing.assert_allclose(got, wanted + residual, rtol=1e-5, atol=1e-5)
    if activation is None:
        y, _ = layer.forward_train(x, residual=residual)
        np.testing.assert_allclose(y, got, rtol=1e-5, atol=1e-6)
    layer.pack()
    np.testing.assert_allclose(layer(x, residual, activation), got, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dropout, adapter_dropout", [(0.0, 0.0), (0.0, 0.4), (0.3, 0.4)])
def test_gradients(slope: Callable, dropout: float, adapter_dropout: float) -> None:
    layer = make(dropout, adapter_dropout)
    for parameter in layer.parameters():
        parameter.cast(np.float64)
    x, dy = x_of((4, 10)).astype(np.float64), x_of((4, 12)).astype(np.float64)

    def loss() -> float:
        return float((layer.forward_train(x, np.random.default_rng(5))[0] * dy).sum())

    with kernels.use_backend("numpy"):
        dx = layer.forward_train(x, np.random.default_rng(5))[1](dy)
        np.testing.assert_allclose(
            dx.ravel(), [slope(loss, x, i) for i in range(x.size)], rtol=1e-6, atol=1e-9
        )
        for name, parameter in layer.named_parameters():
            slopes = [slope(loss, parameter.data, i) for i in range(parameter.size)]
            if parameter.trainable:
                np.testing.assert_allclose(
                    parameter.grad.ravel(), slopes, rtol=1e-6, atol=1e-9, err_msg=name
                )
    assert [n for n, p in layer.named_parameters() if not p.trainable] == ["weight", "bias"]


def test_what_is_dropped_is_the_adapters_input(backend: str) -> None:
    layer, x = make(0.0, 0.5), x_of((500, 10))
    y, _ = layer.forward_train(x, np.random.default_rng(0))
    plain = by_hand(layer, x)
    np.testing.assert_allclose(y[:, 5:7], plain[:, 5:7], rtol=1e-4, atol=1e-5)  # no adapter's
    assert np.abs(y[:, :5] - plain[:, :5]).max() > 0.1
    np.testing.assert_allclose(layer.eval()(x), plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tied", [False, True])
def test_merged(backend: str, tied: bool) -> None:
    layer, x = make(), x_of((3, 10))
    if tied:
        layer.weight.data, layer.transposed = layer.weight.data, True
        layer.weight = type(layer.weight)(layer.weight.data.T)
    before = layer(x)
    merged = layer.merge()
    assert type(merged) is Linear
    assert [name for name, _ in merged.named_parameters()] == ["weight", "bias"]
    np.testing.assert_allclose(merged(x), before, rtol=1e-5, atol=1e-5)
