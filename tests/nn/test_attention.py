"""Attention as spec'd: numbers against plain NumPy, the table of masks, errors in words."""

import numpy as np
import pytest

from litegpt.nn import (
    KVCache,
    MultiHeadAttention,
    RotaryPositionalEncoding,
    ScaledDotProductAttention,
    create_causal_mask,
    create_padding_mask,
)

B, H, T, S, D = 3, 2, 4, 5, 8


def _arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def _plain(q: np.ndarray, k: np.ndarray, v: np.ndarray, added: np.ndarray | float) -> tuple:
    """Softmax attention in float64, (B, H, T, D); rows without a key give zeros."""
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]) + added
    top = scores.max(-1, keepdims=True)
    e = np.exp(scores - np.where(np.isneginf(top), 0, top))
    weights = e / np.maximum(e.sum(-1, keepdims=True), 1e-300)
    return weights @ v, weights


def test_scaled_dot_product_attention(backend: str) -> None:
    q, k, v = _arrays((B, H, T, D), (B, H, S, D), (B, H, S, D))
    attention = ScaledDotProductAttention(dropout=0.0)
    output, weights = attention(q, k, v)
    wanted_output, wanted_weights = _plain(q, k, v, 0)
    np.testing.assert_allclose(output, wanted_output, atol=2e-6)
    np.testing.assert_allclose(weights, wanted_weights, atol=2e-6)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    assert attention.attention_weights is weights


def test_three_axes_are_one_head(backend: str) -> None:
    q, k, v = _arrays((B, T, D), (B, S, D), (B, S, D))
    attention = ScaledDotProductAttention(0.0)
    output, weights = attention(q, k, v)
    with_heads = attention(q[:, None], k[:, None], v[:, None])
    assert output.shape == (B, T, D) and weights.shape == (B, T, S)
    assert np.array_equal(output, with_heads[0][:, 0])
    assert np.array_equal(weights, with_heads[1][:, 0])


def test_weights_are_those_before_dropout() -> None:
    q, k, v = _arrays((B, T, D), (B, S, D), (B, S, D))
    attention = ScaledDotProductAttention(dropout=0.5)  # a new layer is in training mode
    dropped, weights = attention(q, k, v)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    kept, _ = attention.eval()(q, k, v)
    assert not np.allclose(dropped, kept)
    np.testing.assert_allclose(kept, _plain(q, k, v, 0)[0], atol=2e-6)
    assert not ScaledDotProductAttention(dropout=1.0)(q, k, v)[0].any()


def test_lists_and_float64_give_float32() -> None:
    q, k, v = _arrays((1, 2, 4), (1, 3, 4), (1, 3, 4))
    attention = ScaledDotProductAttention(0.0)
    wanted, _ = attention(q, k, v)
    for converted in (q.tolist(), q.astype(np.float64), np.repeat(q, 2, axis=1)[:, ::2]):
        output, weights = attention(converted, k.tolist(), v)
        assert output.dtype == weights.dtype == np.float32
        assert np.array_equal(output, wanted)


def _masks() -> dict[str, tuple[object, np.ndarray]]:
    """Name -> (the mask as a user hands it in, what it adds to scores (B, H, T, S))."""
    rng = np.random.default_rng(1)
    allowed = rng.random((B, T, S)) < 0.6
    allowed[0, 1] = False  # a row with nothing to attend to
    added = np.where(allowed, 0.0, -np.inf)
    finite = rng.standard_normal((T, S))
    every = np.zeros((B, H, T, S))
    per_head = rng.standard_normal((B, H, T, S)).astype(np.float32)
    return {
        "bool (T, S)": (allowed[1], every + added[1]),
        "bool (B, S)": (allowed[:, 0], every + added[:, None, None, 0]),
        "bool (B, T, S)": (allowed, every + added[:, None]),
        "bool (B, 1, T, S)": (allowed[:, None], every + added[:, None]),
        "float (T, S)": (finite, every + finite),
        "float -1e9 (B, T, S)": (np.where(allowed, 0, -1e9), every + added[:, None]),
        "float -1e8 (B, T, S)": (np.where(allowed, 0, -1e8), every + added[:, None]),
        "float -inf (B, 1, T, S)": (added[:, None].astype(np.float32), every + added[:, None]),
        "float (B, H, T, S)": (per_head, every + per_head),
        "list (T, S)": (np.where(allowed[1], 0, -1e9).tolist(), every + added[1]),
        "padding": (
            create_padding_mask([5, 0, 2], S),
            every + np.where(np.arange(S) < [[5], [0], [2]], 0, -np.inf)[:, None, None],
        ),
    }


@pytest.mark.parametrize("name", _masks())
def test_masks(backend: str, name: str) -> None:
    mask, added = _masks()[name]
    q, k, v = _arrays((B, H, T, D), (B, H, S, D), (B, H, S, D))
    output, weights = ScaledDotProductAttention(0.0)(q, k, v, mask)
    wanted_output, wanted_weights = _plain(q, k, v, added)
    np.testing.assert_allclose(output, wanted_output, atol=2e-6)
    np.testing.assert_allclose(weights, wanted_weights, atol=2e-6)
    assert not weights[np.isneginf(added)].any()  # exactly zero
    if not name.endswith("(B, H, T, S)"):  # heads of their own need four axes
        output, _ = ScaledDotProductAttention(0.0)(q[:, 0], k[:, 0], v[:, 0], mask)
        np.testing.assert_allclose(output, wanted_output[:, 0], atol=2e-6)


def test_a_padding_mask_is_over_keys_even_where_the_batch_is_as_long_as_the_row() -> None:
    q, k, v = _arrays((4, 4, D), (4, 4, D), (4, 4, D))
    attention = ScaledDotProductAttention(0.0)
    _, weights = attention(q, k, v, create_padding_mask([1, 2, 3, 4], 4))
    for row, length in enumerate([1, 2, 3, 4]):
        assert (weights[row, :, :length] > 0).all() and not weights[row, :, length:].any()
    both = create_causal_mask(4) + create_padding_mask([3], 4)[0]  # a plain (T, S) mask
    assert type(both) is np.ndarray
    _, weights = attention(q, k, v, both)
    assert (weights[:, 3, :3] > 0).all() and not weights[..., 3].any()
    assert not weights[:, np.triu_indices(4, 1)[0], np.triu_indices(4, 1)[1]].any()


@pytest.mark.parametrize(
    ("mask", "error", "says"),
    [
        (np.zeros((T, S), int), TypeError, "boolean"),
        (np.zeros((S, T)), ValueError, r"\(5, 4\) fits none of"),
        (np.zeros(S), ValueError, "fits none of"),
    ],
)
def test_masks_that_fit_nothing(mask: np.ndarray, error: type, says: str) -> None:
    q, k, v = _arrays((B, T, D), (B, S, D), (B, S, D))
    with pytest.raises(error, match=says):
        ScaledDotProductAttention(0.0)(q, k, v, mask)


def test_shapes_that_do_not_fit() -> None:
    attention = ScaledDotProductAttention(0.0)
    q, k, v = _arrays((B, T, D), (B, S, D), (B, T, D))
    with pytest.raises(ValueError, match=r"key \(3, 5, 8\) and value \(3, 4, 8\) don't fit"):
        attention(q, k, v)
    q, k = _arrays((B, 3, T, D), (B, 2, S, D))
    with pytest.raises(ValueError, match="H a multiple of G"):
        attention(q, k, k)


def test_causal_mask() -> None:
    mask = create_causal_mask(5)
    assert mask.shape == (5, 5) and mask.dtype == np.float32
    assert not np.tril(mask).any()
    assert (mask[np.triu_indices(5, 1)] < -1e8).all() and np.isfinite(mask).all()
    with pytest.raises(ValueError, match="seq_len must be an integer from 0 on, not -1"):
        create_causal_mask(-1)


def test_padding_mask() -> None:
    mask = create_padding_mask([3, 0, 5], 5)
    assert mask.shape == (3, 5) and np.isfinite(mask).all()
    assert (mask == 0).tolist() == [[True] * 3 + [False] * 2, [False] * 5, [True] * 5]
    assert (mask[mask != 0] < -1e8).all()
    with pytest.raises(ValueError, match="from 0 to max_len 5"):
        create_padding_mask([6], 5)
    with pytest.raises(TypeError, match="seq_lengths must be integers, not float64"):
        create_padding_mask([2.5], 5)


def _multi_head(x: np.ndarray, layer: MultiHeadAttention, added: np.ndarray) -> np.ndarray:
    """The layer computed head by head in float64."""
    heads, groups, width = layer.num_heads, layer.num_kv_heads, layer.head_dim
    projected = x.astype(np.float64) @ layer.qkv.weight.data
    parts = projected.reshape(*x.shape[:2], -1, width).swapaxes(1, 2)  # (B, H + 2G, T, D)
    out = []
    for h in range(heads):
        g = h // (heads // groups)
        q, k, v = parts[:, h], parts[:, heads + g], parts[:, heads + groups + g]
        out.append(_plain(q, k, v, added)[0])
    return np.concatenate(out, axis=-1) @ layer.output.weight.data


@pytest.mark.parametrize("num_kv_heads", [1, 2, 4])
def test_multi_head_attention(backend: str, num_kv_heads: int) -> None:
    layer = MultiHeadAttention(64, 4, 0.0, num_kv_heads, std=0.2, output_std=0.2, seed=0)
    x = _arrays((2, 9, 64))[0]
    for mask in (None, create_causal_mask(9)):
        wanted = _multi_head(x, layer, 0 if mask is None else np.where(mask < 0, -np.inf, 0))
        output = layer(x, x, x, mask)
        assert output.shape == (2, 9, 64) and output.dtype == np.float32
        np.testing.assert_allclose(output, wanted, atol=1e-5)
    np.testing.assert_allclose(layer(x, causal=True), wanted, atol=1e-5)


def test_causal_and_a_mask_together(backend: str) -> None:
    layer = MultiHeadAttention(32, 4, 0.0, seed=0)
    x = _arrays((3, 6, 32))[0]
    padding = create_padding_mask([6, 4, 1], 6)
    both = create_causal_mask(6) + padding[:, None]
    np.testing.assert_allclose(
        layer(x, mask=padding, causal=True), layer(x, mask=both), rtol=1e-5, atol=1e-6
    )


def test_attention_between_sequences(backend: str) -> None:
    layer = MultiHeadAttention(32, 4, 0.0, 2, seed=0).eval()
    x, other = _arrays((2, 3, 32), (2, 7, 32))
    assert layer(x, other, other).shape == (2, 3, 32)
    np.testing.assert_allclose(layer(x, x.copy(), x.copy()), layer(x, x, x), atol=1e-6)
    np.testing.assert_allclose(layer(x, other), layer(x, other, other), atol=0)


def test_causality_is_aligned_at_the_end(backend: str) -> None:
    """Fewer queries than keys: the last query stands at the last key, with and without a mask."""
    layer = MultiHeadAttention(32, 4, 0.0, seed=0)
    x = _arrays((2, 7, 32))[0]
    wanted = layer(x, causal=True)[:, 4:]
    nothing_more = np.ones((3, 7), bool)
    for mask in (None, nothing_more):
        got = layer(x[:, 4:], x, x, mask, causal=True)
        np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_a_cache_goes_without_a_mask() -> None:
    layer, cache = MultiHeadAttention(32, 4, 0.0, seed=0), KVCache(1, 2, 4, 8, 32)
    x = _arrays((2, 7, 32))[0]
    with pytest.raises(ValueError, match="only self-attention, without a mask"):
        layer(x, mask=create_causal_mask(7), cache=cache.layers[0])


def test_the_future_does_not_matter(backend: str) -> None:
    layer = MultiHeadAttention(32, 4, 0.0, 2, rotary=RotaryPositionalEncoding(16, 8), seed=0)
    x = _arrays((1, 10, 32))[0]
    changed = x.copy()
    changed[:, 6:] += 3
    before, after = layer(x, causal=True), layer(changed, causal=True)
    np.testing.assert_array_equal(before[:, :6], after[:, :6])
    assert not np.allclose(before[:, 6:], after[:, 6:])


def test_rotary_attention_depends_on_distance_alone() -> None:
    rotary = RotaryPositionalEncoding(40, 8, theta=100.0)
    q, k = _arrays((1, 1, 1, 8), (1, 1, 1, 8))

    def score(i: int, j: int) -> float:
        return float((rotary(q, np.array([i])) * rotary(k, np.array([j]))).sum())

    assert score(7, 3) == pytest.approx(score(37, 33), abs=1e-5)
    assert abs(score(7, 3) - score(7, 4)) > 1e-3
    with pytest.raises(IndexError, match="40"):
        rotary(q, np.array([40]))


def test_cache(backend: str) -> None:
    layer = MultiHeadAttention(32, 4, 0.0, 2, rotary=RotaryPositionalEncoding(40, 8), seed=0)
    x = _arrays((2, 40, 32))[0]
    cache = KVCache(1, 2, 2, 8, 40)
    parts = []
    for start, end in ((0, 33), (33, 34), (34, 40)):
        parts.append(layer(x[:, start:end], cache=cache.layers[0]))
        cache.advance(end - start)
    assert cache.capacity == 64 and cache.lengths.tolist() == [40, 40]
    np.testing.assert_allclose(np.concatenate(parts, 1), layer(x, causal=True), atol=1e-5)


def test_head_width_and_wrong_numbers() -> None:
    layer = MultiHeadAttention(96, 8)
    assert (layer.hidden_dim, layer.num_heads, layer.head_dim) == (96, 8, 12)
    with pytest.raises(ValueError, match="100 must be divisible by num_heads 8"):
        MultiHeadAttention(100, 8)
    with pytest.raises(ValueError, match="8 must be divisible by num_kv_heads 3"):
        MultiHeadAttention(96, 8, num_kv_heads=3)
    with pytest.raises(ValueError, match="even head width"):
        RotaryPositionalEncoding(8, 3)
