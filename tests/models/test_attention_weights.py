"""What model.attention_weights says is what the model's attention really takes."""

import numpy as np
import pytest

from litegpt import GPTModel


def test_weighted_values_are_what_the_attention_gives(
    backend: str, model: GPTModel, ids: np.ndarray
) -> None:
    """output(weights @ values) of the shown weights equals the streaming kernel's result."""
    weights = model.attention_weights(ids)  # (L, B, H, T, T)
    _, states = model.forward(ids, return_hidden_states=True)
    batch, length = ids.shape
    for layer, block in enumerate(model.blocks):
        attention, x = block.attention, block.ln1(states[layer])
        first = (attention.num_heads + attention.num_kv_heads) * attention.head_dim
        values = attention.qkv(x)[..., first:].reshape(batch, length, -1, attention.head_dim)
        shared = attention.num_heads // attention.num_kv_heads
        values = np.repeat(values.swapaxes(1, 2), shared, axis=1)  # (B, H, T, D)
        taken = (weights[layer] @ values).swapaxes(1, 2).reshape(x.shape)
        np.testing.assert_allclose(
            attention.output(np.ascontiguousarray(taken)), attention(x, causal=True), atol=2e-5
        )


def test_rows_add_up_to_one_and_never_look_ahead(model: GPTModel, ids: np.ndarray) -> None:
    weights = model.attention_weights(ids[0])
    assert weights.shape == (model.num_layers, 1, model.num_heads, 37, 37)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    assert not weights[..., np.triu(np.ones((37, 37), bool), 1)].any()


def test_nothing_is_dropped_and_nothing_stays(ids: np.ndarray) -> None:
    model = GPTModel(23, 40, 2, 4, 32, dropout=0.5, seed=0)  # in training mode
    before = model.nbytes
    assert np.array_equal(model.attention_weights(ids), model.attention_weights(ids))
    assert model.training and model.nbytes == before


def test_kept_weights_are_shown_too(ids: np.ndarray) -> None:
    """A model kept in 8 bits attends nearly as the one that it was made from."""
    model = GPTModel(23, 40, 2, 4, 32, dropout=0, seed=0).eval()
    exact = model.attention_weights(ids)
    np.testing.assert_allclose(model.quantize("q8").attention_weights(ids), exact, atol=2e-3)


def test_too_long_a_text_is_refused(ids: np.ndarray) -> None:
    model = GPTModel(23, 16, 1, 2, 8)
    with pytest.raises(ValueError, match="37 positions are more than max_seq_len 16"):
        model.attention_weights(ids)
