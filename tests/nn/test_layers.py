"""The other layers as spec'd."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from litegpt.nn import (
    Dropout,
    Embedding,
    FeedForward,
    LayerNorm,
    LearnedPositionalEncoding,
    Linear,
    Module,
    MultiHeadAttention,
    PositionalEncoding,
    RMSNorm,
    TransformerBlock,
    create_causal_mask,
    create_padding_mask,
)


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_layernorm(backend: str) -> None:
    norm = LayerNorm(64)
    x = 3 * _normal(4, 7, 64) + 2
    y = norm(x)
    assert y.shape == x.shape and y.dtype == np.float32
    np.testing.assert_allclose(y.mean(-1), 0, atol=5e-6)
    np.testing.assert_allclose(y.var(-1), 1, atol=5e-5)
    gamma, beta = _normal(2, 64)
    norm.gamma, norm.beta = gamma.astype(np.float64), beta.tolist()
    assert norm.gamma.dtype == norm.beta.dtype == np.float32
    np.testing.assert_allclose(norm(x), y * gamma + beta, atol=1e-5)
    norm.gamma[:] = 0  # the arrays are the layer's own
    np.testing.assert_allclose(norm(x), np.broadcast_to(beta, x.shape), atol=1e-6)


def test_layernorm_takes_what_users_hand_it(backend: str) -> None:
    norm, x = LayerNorm((4,)), _normal(3, 8)
    wanted = norm(np.ascontiguousarray(x[:, ::2]))
    for given in (x[:, ::2], x[:, ::2].tolist(), x.astype(np.float64)[:, ::2]):
        assert np.array_equal(norm(given), wanted)
    with pytest.raises(ValueError, match=r"\(4,\) can't take values of shape \(5,\)"):
        norm.gamma = np.ones(5)
    with pytest.raises(ValueError, match="one width"):
        LayerNorm((3, 4))


def test_norms_without_beta() -> None:
    norm = LayerNorm(4, bias=False)
    assert norm.beta is None and [name for name, _ in norm.named_parameters()] == ["weight"]
    with pytest.raises(ValueError, match="bias=False"):
        norm.beta = np.zeros(4)


def test_rmsnorm(backend: str) -> None:
    norm, x = RMSNorm(16), _normal(3, 16)
    norm.gamma = np.arange(16)
    rms = np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(norm(x), x / rms * np.arange(16), rtol=1e-5)


def _activated(name: str, z: np.ndarray) -> np.ndarray:
    if name == "relu":
        return np.maximum(z, 0)
    if name == "gelu_erf":
        return z / 2 * (1 + np.vectorize(math.erf)(z / math.sqrt(2)))
    if name == "gelu":
        return z / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
    gate, up = np.split(z, 2, axis=-1)
    return gate / (1 + np.exp(-gate)) * up


@pytest.mark.parametrize("activation", ["gelu", "gelu_erf", "relu", "swiglu"])
def test_feedforward(backend: str, activation: str) -> None:
    layer = FeedForward(16, 40, 0.0, activation, std=0.5, seed=0)
    for parameter in layer.parameters():
        parameter.data += 0.1 * _normal(*parameter.shape)
    x = _normal(2, 3, 16)
    up, down = layer.up, layer.down
    z = x.astype(np.float64) @ up.weight.data + up.bias.data
    wanted = _activated(activation, z) @ down.weight.data + down.bias.data
    y = layer(x)
    assert y.shape == x.shape and y.dtype == np.float32
    np.testing.assert_allclose(y, wanted, atol=2e-5)
    np.testing.assert_allclose(layer(x, x), wanted + x, atol=2e-5)


def test_unknown_activation() -> None:
    with pytest.raises(ValueError, match="'tanh' is unknown; allowed: gelu, gelu_erf, relu"):
        FeedForward(8, 8, activation="tanh")


def test_embedding(backend: str) -> None:
    layer = Embedding(10, 4, seed=0)
    ids = [[1, 9], [0, 1]]
    assert np.array_equal(layer(ids), layer.weight.data[np.array(ids)])
    assert layer(np.array(ids, np.uint8)).dtype == np.float32
    for wrong in (10, -1):
        with pytest.raises(IndexError, match=f"id {wrong} at position 2"):
            layer([0, 1, wrong])
    with pytest.raises(TypeError, match="integers, not float64"):
        layer([0.5])


@pytest.mark.parametrize("width", [1, 2, 7, 16])
def test_sinusoidal_positions(width: int) -> None:
    encoding = PositionalEncoding(20, width)
    table = encoding(20)
    assert table.shape == (20, width) and table.dtype == np.float32
    for p in (0, 1, 19):
        for i in range(width):
            angle = p / 10000 ** (i // 2 * 2 / width)
            wanted = math.cos(angle) if i % 2 else math.sin(angle)
            assert table[p, i] == pytest.approx(wanted, abs=1e-6)
    assert np.array_equal(encoding(5), table[:5])
    with pytest.raises(ValueError, match="21 is outside 0 to max_seq_len 20"):
        encoding(21)


def test_learned_positions() -> None:
    encoding = LearnedPositionalEncoding(20, 6, seed=0)
    assert np.array_equal(encoding(7), encoding.weight.data[:7])
    placed = encoding.add(np.zeros((2, 1, encoding.weight.shape[1]), np.float32), np.array([3, 0]))
    assert np.array_equal(placed[:, 0], encoding.weight.data[[3, 0]])
    with pytest.raises(ValueError, match="21 is outside"):
        encoding(21)


@pytest.mark.parametrize("training", [True, False])
def test_dropout(backend: str, training: bool) -> None:
    x = np.ones((50, 40), np.float32)
    assert Dropout(0.0).train(training)(x) is x
    y = Dropout(0.25).train(training)(x, seed=1)
    if not training:
        assert y is x
        return
    assert set(np.unique(y)) == {0, np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 0.03  # 2,000 draws: three standard deviations
    assert np.array_equal(y, Dropout(0.25)(x, seed=1))
    for everything in (1.0, 1.5):
        assert not Dropout(everything)(x).any()


@pytest.mark.parametrize("p", [-0.1, float("nan")])
def test_dropout_out_of_range(p: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        Dropout(p)


def test_block(backend: str) -> None:
    block = TransformerBlock(32, 4, 48, dropout=0.0, seed=0)
    x = _normal(2, 6, 32)
    y = x + block.attention(block.ln1(x))
    wanted = y + block.ffn(block.ln2(y))
    np.testing.assert_allclose(block(x), wanted, atol=1e-5)
    causal = block(x, create_causal_mask(6))
    np.testing.assert_allclose(block(x, causal=True), causal, atol=1e-5)
    assert np.abs(causal[:, 0] - wanted[:, 0]).max() > 1e-6
    padded = x.copy()
    padded[1, 2:] = 9
    mask = create_padding_mask([6, 2], 6)
    np.testing.assert_allclose(block(x, mask)[1, :2], block(padded, mask)[1, :2], atol=1e-6)


def test_a_new_layer_drops_and_an_evaluated_one_does_not() -> None:
    block = TransformerBlock(16, 2, 16, dropout=0.5, seed=0)
    x = _normal(1, 4, 16)
    np.random.seed(3)
    first = block(x)
    assert not np.array_equal(first, block(x))
    np.random.seed(3)
    assert np.array_equal(first, block(x))  # repeatable through NumPy's global state
    block.eval()
    assert np.array_equal(block(x), block(x))
    nothing = TransformerBlock(16, 2, 16, dropout=1.0, seed=0)
    np.testing.assert_array_equal(nothing(x), x)  # both branches drop out whole


@pytest.mark.parametrize(
    "layer",
    [LayerNorm(8), RMSNorm(8), Linear(8, 3), FeedForward(8, 16), TransformerBlock(8, 2, 16)],
)
def test_another_width_is_named(layer: Module) -> None:
    says = pytest.raises(ValueError, match=r"takes \(..., 8\), not \(2, 3, 7\)")
    with says:
        layer(_normal(2, 3, 7))
    with says:
        layer.eval()(_normal(2, 3, 7))
    with says:
        layer.forward_train(_normal(2, 3, 7))


def test_a_block_takes_batches() -> None:
    block = TransformerBlock(8, 2, 16)
    says = pytest.raises(ValueError, match=r"attention takes \(B, T, 8\), not \(3, 8\)")
    with says:
        block(_normal(3, 8))
    with says:
        block.eval()(_normal(3, 8), causal=True)
    with says:
        block.attention.weights(_normal(3, 8))


@pytest.mark.parametrize(("make", "says"), [
    (lambda: MultiHeadAttention(-8, 2), "hidden_dim must be an integer from 1 on, not -8"),
    (lambda: MultiHeadAttention(8.0, 2), "hidden_dim must be an integer from 1 on, not 8.0"),
    (lambda: MultiHeadAttention(8, True), "num_heads must be an integer from 1 on, not True"),
    (lambda: FeedForward(0, 4), "hidden_dim must be an integer from 1 on, not 0"),
    (lambda: FeedForward(4, 2.5), "ffn_dim must be an integer from 1 on, not 2.5"),
    (lambda: FeedForward(4, 8, "0.1"), "dropout must be a probability from 0 to 1, not '0.1'"),
    (lambda: Embedding(None, 4), "vocab_size must be an integer from 1 on, not None"),
    (lambda: Embedding(4, -1), "embedding_dim must be an integer from 1 on, not -1"),
    (lambda: PositionalEncoding(0, 4), "max_seq_len must be an integer from 1 on, not 0"),
    (lambda: LearnedPositionalEncoding(4, "4"), "embedding_dim must be an integer from 1 on"),
    (lambda: PositionalEncoding(9, 4)(1.5), "seq_len must be an integer from 0 on, not 1.5"),
    (lambda: LayerNorm(0), "normalized_shape must be an integer from 1 on, not 0"),
    (lambda: create_causal_mask(1.5), "seq_len must be an integer from 0 on, not 1.5"),
    (lambda: create_padding_mask([], -1), "max_len must be an integer from 0 on, not -1"),
])  # fmt: skip
def test_sizes_that_make_no_sense(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
