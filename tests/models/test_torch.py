"""PyTorch as a second oracle: models written from plain torch operations, and transformers'."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litegpt import GPTModel
from litegpt.nn import FeedForward, LayerNorm, MultiHeadAttention, ScaledDotProductAttention

torch = pytest.importorskip("torch", reason="PyTorch isn't installed")
F = torch.nn.functional


@pytest.fixture(autouse=True)
def one_torch_thread() -> None:
    torch.set_num_threads(1)


def _leaf(array: np.ndarray) -> Any:
    return torch.tensor(array, dtype=torch.float64, requires_grad=True)


def _input(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _near(ours: np.ndarray, theirs: Any, what: str = "") -> None:
    """Within 1e-4 of the largest entry."""
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(
        ours, theirs, rtol=1e-3, atol=1e-4 * max(1e-3, np.abs(theirs).max()), err_msg=what
    )


def test_layernorm(backend: str) -> None:
    layer, x, dy = LayerNorm(48), 2 * _input(3, 5, 48) + 1, _input(3, 5, 48)
    layer.gamma, layer.beta = _input(2, 48)
    y, backward = layer.forward_train(x)
    dx = backward(dy)
    t_x, gamma, beta = _leaf(x), _leaf(layer.gamma), _leaf(layer.beta)
    t_y = F.layer_norm(t_x, (48,), gamma, beta, 1e-5)
    t_y.backward(torch.tensor(dy))
    _near(y, t_y)
    for ours, theirs in ((dx, t_x), (layer.weight.grad, gamma), (layer.bias.grad, beta)):
        _near(ours, theirs.grad)


@pytest.mark.parametrize("activation", ["gelu", "gelu_erf", "relu", "swiglu"])
def test_feedforward(backend: str, activation: str) -> None:
    layer, x, dy = FeedForward(16, 40, 0, activation, std=0.3, seed=0), _input(7, 16), _input(7, 16)
    y, backward = layer.forward_train(x)
    dx = backward(dy)
    t_x = _leaf(x)
    weights = [_leaf(p.data) for p in layer.parameters()]
    t_y = _feedforward(t_x, *weights, activation)
    t_y.backward(torch.tensor(dy))
    _near(y, t_y)
    _near(dx, t_x.grad)
    for parameter, weight in zip(layer.parameters(), weights, strict=True):
        _near(parameter.grad, weight.grad)


def _feedforward(x: Any, up: Any, up_bias: Any, down: Any, down_bias: Any, activation: str) -> Any:
    z = x @ up + up_bias
    if activation == "swiglu":
        gate, value = z.chunk(2, -1)
        z = F.silu(gate) * value
    elif activation == "relu":
        z = F.relu(z)
    else:
        z = F.gelu(z, approximate="tanh" if activation == "gelu" else "none")
    return z @ down + down_bias


@pytest.mark.parametrize("masked", [False, True])
def test_scaled_dot_product_attention(backend: str, masked: bool) -> None:
    q, k, v = _input(2, 3, 5, 8), 2 * _input(2, 3, 7, 8), _input(2, 3, 7, 8) + 1
    mask = np.random.default_rng(1).random((5, 7)) < 0.6 if masked else None
    layer = ScaledDotProductAttention(0.0)
    y, backward = layer.forward_train(q, k, v, mask)
    gradients = backward(np.ones_like(y) + q)
    leaves = [_leaf(x) for x in (q, k, v)]
    t_mask = None if mask is None else torch.tensor(mask)
    t_y = F.scaled_dot_product_attention(*leaves, attn_mask=t_mask)
    t_y.backward(torch.tensor(np.ones_like(y) + q))
    _near(y, t_y)
    for ours, theirs in zip(gradients, leaves, strict=True):
        _near(ours, theirs.grad)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 5, 70])
def test_causal_attention(backend: str, kv_heads: int, length: int) -> None:
    layer = MultiHeadAttention(32, 4, 0, kv_heads, True, True, std=0.3, output_std=0.3, seed=0)
    x, dy = _input(2, length, 32), _input(2, length, 32) + 0.5
    y, backward = layer.forward_train(x, causal=True)
    dx = backward(dy)
    t_x = _leaf(x)
    weights = [_leaf(p.data) for p in layer.parameters()]
    t_y = _attention(t_x, *weights, heads=4, kv_heads=kv_heads)
    t_y.backward(torch.tensor(dy))
    _near(y, t_y)
    _near(dx, t_x.grad)
    for parameter, weight in zip(layer.parameters(), weights, strict=True):
        _near(parameter.grad, weight.grad)


def _attention(
    x: Any,
    qkv: Any,
    qkv_bias: Any,
    out: Any,
    out_bias: Any,
    heads: int,
    kv_heads: int,
    theta: float | None = None,
) -> Any:
    batch, length, width = x.shape
    d = width // heads
    parts = (x @ qkv + qkv_bias).split([heads * d, kv_heads * d, kv_heads * d], -1)
    q, k, v = (part.view(batch, length, -1, d).transpose(1, 2) for part in parts)
    if theta:
        q, k = _rotated(q, theta), _rotated(k, theta)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return y.transpose(1, 2).reshape(batch, length, width) @ out + out_bias


def _rotated(x: Any, theta: float) -> Any:
    """Pairs (i, i + D/2) as complex numbers, turned."""
    length, d = x.shape[-2:]
    rates = theta ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    turned = torch.complex(*x.split(d // 2, -1)) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag], -1)


def _whole_model(model: GPTModel, leaves: dict[str, Any], ids: np.ndarray) -> Any:
    """GPTModel in torch: the weights are ours, the operations torch's."""
    config, zero = model.config, torch.zeros((), dtype=torch.float64)

    def get(name: str) -> Any:
        return leaves.get(name, zero)

    def norm(x: Any, name: str) -> Any:
        shape, weight = x.shape[-1:], leaves[f"{name}.weight"]
        if config.norm == "rmsnorm":
            return F.rms_norm(x, shape, weight, config.norm_eps)
        return F.layer_norm(x, shape, weight, leaves.get(f"{name}.bias"), config.norm_eps)

    table = leaves["token_embedding.weight"]
    x = table[torch.tensor(ids)]
    if config.position == "learned":
        x = x + leaves["position_encoding.weight"][: ids.shape[1]]
    elif config.position == "sinusoidal":
        x = x + torch.tensor(model.position_encoding(ids.shape[1]))
    for i in range(config.num_layers):
        name = f"blocks.{i}"
        projections = ("attention.qkv", "attention.output")
        weights = [get(f"{name}.{p}.{kind}") for p in projections for kind in ("weight", "bias")]
        x = x + _attention(
            norm(x, f"{name}.ln1"),
            *weights,
            heads=config.num_heads,
            kv_heads=config.num_kv_heads,
            theta=config.rope_theta if config.position == "rotary" else None,
        )
        layers = ("ffn.up", "ffn.down")
        weights = [get(f"{name}.{p}.{kind}") for p in layers for kind in ("weight", "bias")]
        x = x + _feedforward(norm(x, f"{name}.ln2"), *weights, config.activation)
    head = table.T if config.tie_embeddings else leaves["head.weight"]
    return norm(x, "final_norm") @ head


def test_whole_model(backend: str, model: GPTModel, ids: np.ndarray, targets: np.ndarray) -> None:
    loss = model.loss_and_backward(ids, targets)
    leaves = {name: _leaf(p.data) for name, p in model.named_parameters()}
    logits = _whole_model(model, leaves, ids)
    t_loss = F.cross_entropy(logits.flatten(0, 1), torch.tensor(targets).flatten())
    t_loss.backward()
    _near(model(ids), logits)
    assert loss == pytest.approx(t_loss.item(), rel=1e-5)
    for name, parameter in model.named_parameters():
        _near(parameter.grad, leaves[name].grad, name)


@pytest.fixture
def auto_model() -> Any:
    transformers = pytest.importorskip("transformers", reason="transformers isn't installed")
    transformers.utils.logging.disable_progress_bar()
    return transformers.AutoModelForCausalLM


def test_transformers_reads_what_we_write(
    auto_model: Any, model: GPTModel, ids: np.ndarray, targets: np.ndarray, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    theirs = auto_model.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert type(theirs).__name__ in ("GPT2LMHeadModel", "LlamaForCausalLM")
    with torch.no_grad():
        logits = theirs(torch.tensor(ids)).logits
    np.testing.assert_allclose(model(ids), logits, atol=1e-4)


def test_we_read_what_transformers_writes(
    auto_model: Any, model: GPTModel, ids: np.ndarray, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path / "ours")
    auto_model.from_pretrained(tmp_path / "ours", dtype=torch.float32).save_pretrained(
        tmp_path / "theirs"
    )
    np.testing.assert_array_equal(GPTModel.from_pretrained(tmp_path / "theirs")(ids), model(ids))


def test_greedy_tokens_are_those_of_transformers(
    auto_model: Any, model: GPTModel, ids: np.ndarray, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    theirs = auto_model.from_pretrained(tmp_path, dtype=torch.float32).eval()
    prompt = ids[:1, :6]
    out = theirs.generate(torch.tensor(prompt), max_new_tokens=30, do_sample=False, pad_token_id=0)
    assert model.generate(prompt, 30, temperature=0).tolist() == out.tolist()
