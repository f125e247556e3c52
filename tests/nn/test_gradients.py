"""Every layer's backward against central differences, in float64 on the numpy rung."""

from collections.abc import Callable

import numpy as np
import pytest

from litegpt import kernels
from litegpt.nn import (
    Dropout,
    Embedding,
    FeedForward,
    LayerNorm,
    LearnedPositionalEncoding,
    Linear,
    Module,
    MultiHeadAttention,
    RMSNorm,
    RotaryPositionalEncoding,
    ScaledDotProductAttention,
    TransformerBlock,
    create_padding_mask,
)

B, T, C = 2, 5, 8
Forward = Callable[[], tuple[np.ndarray, Callable]]

MASK = np.array(
    [
        [True, False, False, False, True],
        [False, False, False, False, False],  # nothing to attend to
        [True, True, True, False, False],
        [True, True, True, True, True],
        [False, True, False, True, False],
    ]
)


def _float64(module: Module) -> Module:
    """The layer with random float64 parameters, so that no gradient is zero by symmetry."""
    rng = np.random.default_rng(5)
    for parameter in module.parameters():
        parameter.cast(np.float64)
        parameter.data += 0.5 * rng.standard_normal(parameter.shape)
    return module


def _check(forward: Forward, module: Module, inputs: list[np.ndarray], slope: Callable) -> None:
    """Compares all gradients of sum(weight * output), for random weights, with the slopes."""
    with kernels.use_backend("numpy"):
        y, backward = forward()
        assert y.dtype == np.float64
        weight = np.random.default_rng(9).standard_normal(y.shape)
        dinputs = backward(weight.copy())
        dinputs = dinputs if isinstance(dinputs, tuple) else (dinputs,)
        compared = [(p.data, p.grad) for p in module.parameters()]
        compared += zip(inputs, dinputs, strict=True) if inputs else []

        def f() -> float:
            return float((forward()[0] * weight).sum())

        for array, gradient in compared:
            assert gradient.shape == array.shape
            slopes = [slope(f, array, i) for i in range(array.size)]
            np.testing.assert_allclose(gradient.ravel(), slopes, rtol=1e-6, atol=1e-8)


def _options(layer: Module) -> dict[str, bool]:
    """What else forward_train is given: attention looks back only, as in a model."""
    return {"causal": True} if isinstance(layer, MultiHeadAttention | TransformerBlock) else {}


def _input(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape)


LAYERS: dict[str, Callable[[], Module]] = {
    "linear": lambda: Linear(C, 6, seed=0),
    "linear without bias": lambda: Linear(C, 6, bias=False, seed=0),
    "linear with dropout": lambda: Linear(C, 6, dropout=0.5, seed=0),
    "layernorm": lambda: LayerNorm(C),
    "layernorm without bias": lambda: LayerNorm(C, bias=False),
    "rmsnorm": lambda: RMSNorm(C),
    "dropout": lambda: Dropout(0.4),
    "gelu": lambda: FeedForward(C, 6, 0.3, "gelu", seed=0),
    "gelu_erf": lambda: FeedForward(C, 6, 0, "gelu_erf", seed=0),
    "relu": lambda: FeedForward(C, 6, 0, "relu", seed=0),
    "swiglu": lambda: FeedForward(C, 6, 0.3, "swiglu", seed=0),
    "attention": lambda: MultiHeadAttention(C, 2, 0, seed=0),
    "attention, grouped": lambda: MultiHeadAttention(C, 4, 0, 2, True, True, seed=0),
    "attention with dropout": lambda: MultiHeadAttention(C, 2, 0.4, seed=0),
    "attention, rotary": lambda: MultiHeadAttention(
        C, 2, 0, rotary=RotaryPositionalEncoding(T, C // 2), seed=0
    ),
    "block": lambda: TransformerBlock(C, 2, 6, 0.2, seed=0),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name: str, slope: Callable) -> None:
    layer, x = _float64(LAYERS[name]()), _input(B, T, C)
    options = _options(layer)
    _check(
        lambda: layer.forward_train(x, rng=np.random.default_rng(1), **options), layer, [x], slope
    )


@pytest.mark.parametrize("name", [name for name in LAYERS if "attention" in name] + ["block"])
@pytest.mark.parametrize("causal", [False, True])
def test_masked(name: str, causal: bool, slope: Callable) -> None:
    layer, x = _float64(LAYERS[name]()), _input(B, T, C)
    _check(
        lambda: layer.forward_train(x, rng=np.random.default_rng(1), mask=MASK, causal=causal),
        layer,
        [x],
        slope,
    )


@pytest.mark.parametrize("heads", [2, 4])
def test_attention_between_sequences(heads: int, slope: Callable) -> None:
    layer = _float64(MultiHeadAttention(C, heads, 0.3, 2, True, True, seed=0))
    query, key, value = _input(B, 3, C), _input(B, T, C) + 1, _input(B, T, C) * 2
    mask = create_padding_mask([4, 2], T)
    _check(
        lambda: layer.forward_train(query, key, value, mask, np.random.default_rng(1)),
        layer,
        [query, key, value],
        slope,
    )


@pytest.mark.parametrize("shapes", [((B, 3, 4), (B, T, 4)), ((B, 4, 3, 4), (B, 2, T, 4))])
def test_scaled_dot_product_attention(shapes: tuple, slope: Callable) -> None:
    layer = ScaledDotProductAttention(0.3)
    query, key = _input(*shapes[0]), _input(*shapes[1]) * 1.5
    value = _input(*shapes[1][:-1], 6)  # a width of its own
    _check(
        lambda: layer.forward_train(query, key, value, None, np.random.default_rng(1)),
        layer,
        [query, key, value],
        slope,
    )


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_residual(dropout: float, slope: Callable) -> None:
    layer, x = _float64(FeedForward(C, 6, dropout, seed=0)), _input(B, C)
    residual = 3 * _input(B, C)
    _check(lambda: layer.forward_train(x, np.random.default_rng(1), residual), layer, [x], slope)
    with kernels.use_backend("numpy"):
        plain = layer.forward_train(x, np.random.default_rng(1))[0]
        added = layer.forward_train(x, np.random.default_rng(1), residual)[0]
    np.testing.assert_allclose(added, plain + residual)


def test_embedding(slope: Callable) -> None:
    layer = _float64(Embedding(7, C, seed=0))
    ids = np.array([[0, 3, 3], [6, 0, 3]])
    _check(lambda: layer.forward_train(ids), layer, [], slope)


def test_learned_positions_add_up_over_a_batch(slope: Callable) -> None:
    layer = _float64(LearnedPositionalEncoding(T, C, seed=0))
    x = _input(B, 3, C)

    def forward() -> tuple[np.ndarray, Callable]:
        positions, backward = layer.forward_train(3)
        return x + positions, backward

    _check(forward, layer, [], slope)


def test_tied_linear(slope: Callable) -> None:
    table = Embedding(7, C, seed=0)
    _float64(table)
    layer, x = Linear.tied(table.weight), _input(B, C)
    _check(lambda: layer.forward_train(x), layer, [x], slope)


@pytest.mark.parametrize("name", LAYERS)
def test_every_rung_agrees_with_float64(backend: str, name: str) -> None:
    """The same layer in float32 on this rung: output, input's and parameters' gradients."""
    exact, layer, x = _float64(LAYERS[name]()), LAYERS[name](), _input(B, T, C)
    for parameter, wanted in zip(layer.parameters(), exact.parameters(), strict=True):
        parameter.data = wanted.data
    options = _options(layer)
    x32 = x.astype(np.float32)
    y, backward = layer.forward_train(x32, rng=np.random.default_rng(1), **options)
    dx = backward(np.ones_like(y))
    with kernels.use_backend("numpy"):
        wanted_y, wanted_backward = exact.forward_train(x, rng=np.random.default_rng(1), **options)
        wanted_dx = wanted_backward(np.ones_like(wanted_y))
    assert y.dtype == dx.dtype == np.float32
    np.testing.assert_allclose(y, wanted_y, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dx, wanted_dx, rtol=1e-3, atol=1e-4)
    for parameter, wanted in zip(layer.parameters(), exact.parameters(), strict=True):
        assert parameter.grad.dtype == np.float32
        np.testing.assert_allclose(parameter.grad, wanted.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_add_up(name: str) -> None:
    layer, x = LAYERS[name](), _input(B, T, C).astype(np.float32)
    layer.eval()
    options = _options(layer)
    y, backward = layer.forward_train(x, **options)
    backward(np.ones_like(y))
    once = [p.grad.copy() for p in layer.parameters()]
    y, backward = layer.forward_train(x, **options)
    backward(np.ones_like(y))
    for parameter, grad in zip(layer.parameters(), once, strict=True):
        np.testing.assert_allclose(parameter.grad, 2 * grad, rtol=1e-4, atol=1e-5)
    layer.zero_grad()
    assert not any(p.grad.any() for p in layer.parameters())
