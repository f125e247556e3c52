"""GPTModel as spec'd."""

import re
from typing import Any

import numpy as np
import pytest

import litegpt
from litegpt import GPTModel


def test_attributes_and_defaults() -> None:
    model = GPTModel(100, 32, 2, 4, 64, dropout=0.3)
    sizes = (model.vocab_size, model.max_seq_len, model.num_layers, model.num_heads)
    assert sizes == (100, 32, 2, 4)
    assert (model.hidden_dim, model.ffn_dim, model.dropout) == (64, 256, 0.3)
    assert model.config.num_kv_heads == 4 and not model.config.tie_embeddings
    assert litegpt.nn.GPTModel is GPTModel
    biased = [name for name, _ in model.named_parameters() if name.endswith("bias")]
    assert all(re.search("ln1|ln2|ffn|final_norm", name) for name in biased)


@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        ((100, 32, 2, 2, 32, 64), 24_320),
        ((500, 64, 4, 4, 64, 256), 267_136),
        ((1000, 128, 6, 6, 192, 768), 3_073_536),
    ],
)
def test_documented_sizes(sizes: tuple[int, ...], count: int) -> None:
    model = GPTModel(*sizes)
    assert model.get_num_parameters() == count
    assert model.nbytes == 4 * count  # no gradients yet
    assert sum(p.size for p in model.parameters()) == count


def test_size_in_memory_is_what_is_there() -> None:
    model = GPTModel(50, 16, 1, 2, 32)
    plain = model.nbytes
    with model.packed_weights():
        assert model.nbytes >= plain + 4 * (32 * 96 + 32 * 32 + 2 * 32 * 128 + 32 * 50)
    assert model.nbytes == plain
    model.loss_and_backward([1, 2], [2, 3])
    assert model.nbytes == 2 * plain


def test_tied_table_counts_once() -> None:
    tied = GPTModel(50, 16, 1, 2, 32, tie_embeddings=True)
    assert tied.get_num_parameters() == GPTModel(50, 16, 1, 2, 32).get_num_parameters() - 50 * 32
    assert tied.head.weight is tied.token_embedding.weight


def test_initial_weights() -> None:
    model = GPTModel(300, 64, 8, 4, 64, bias=True, seed=0)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.data.any()
        elif "ln" in name or "norm" in name:
            assert (parameter.data == 1).all()
        else:
            wanted = 0.02 / 4 if "output" in name or "down" in name else 0.02
            assert parameter.data.std() == pytest.approx(wanted, rel=0.06), name
    loss = model.eval().compute_loss([[1, 2, 3]], [[2, 3, 4]])
    assert loss == pytest.approx(np.log(300), abs=0.1)  # it knows nothing yet


def test_logits_and_hidden_states(backend: str, model: GPTModel, ids: np.ndarray) -> None:
    logits, states = model(ids, return_hidden_states=True)
    assert logits.shape == (3, 37, 23) and logits.dtype == np.float32
    assert [s.shape for s in states] == [(3, 37, 32)] * 3
    np.testing.assert_array_equal(model.forward(ids), logits)
    np.testing.assert_array_equal(model.head(model.final_norm(states[-1])), logits)
    np.testing.assert_array_equal(model.blocks[0](states[0], causal=True), states[1])
    np.testing.assert_array_equal(model(ids.astype(np.uint8).tolist()), logits)


def test_one_axis_is_one_row(model: GPTModel, ids: np.ndarray) -> None:
    assert np.array_equal(model(ids[0]), model(ids[:1]))
    assert model.compute_loss(ids[0], ids[1]) == model.compute_loss(ids[:1], ids[1:2])


def test_loss_is_a_python_float(model: GPTModel, ids: np.ndarray) -> None:
    loss = model.compute_loss(ids, np.roll(ids, -1, axis=1))
    assert type(loss) is float and loss > 0
    assert type(model.loss_and_backward(ids, np.roll(ids, -1, axis=1))) is float


def test_the_future_does_not_matter(backend: str, model: GPTModel, ids: np.ndarray) -> None:
    changed = ids.copy()
    changed[:, 20:] = (changed[:, 20:] + 1) % 23
    before, after = model(ids), model(changed)
    np.testing.assert_array_equal(before[:, :20], after[:, :20])
    assert not np.allclose(before[:, 20:], after[:, 20:])


def test_bad_ids(model: GPTModel) -> None:
    with pytest.raises(ValueError, match="50 positions are more than max_seq_len 40"):
        model(np.zeros((2, 50), int))
    with pytest.raises(ValueError, match="input_ids must be integers in rows of one length"):
        model.forward([[1], [2, 3]])
    with pytest.raises(ValueError, match=r"\(B, T\) or \(T,\) with T >= 1, not \(1, 2, 3\)"):
        model(np.zeros((1, 2, 3), int))
    with pytest.raises(ValueError, match="T >= 1"):
        model([])
    with pytest.raises(IndexError, match="id 23 at position 1"):
        model([0, 23])
    with pytest.raises(IndexError, match="id -1 at position 0"):
        model([-1, 0])
    with pytest.raises(TypeError, match="integers"):
        model([0.5])
    with pytest.raises(ValueError, match=r"target_ids \(2,\) must have input_ids' shape \(1, 3\)"):
        model.compute_loss([1, 2, 3], [1, 2])
    with pytest.raises(IndexError, match="target 23 at position 2"):
        model.compute_loss([1, 2, 3], [1, -100, 23])


def test_a_full_cache_is_left_as_it_is(model: GPTModel, ids: np.ndarray) -> None:
    cache = model.new_cache(3)
    model.next_logits(ids, cache)
    with pytest.raises(ValueError, match="41 positions are more than max_seq_len 40"):
        model.next_logits(ids[:, :4], cache)
    assert cache.lengths.tolist() == [37] * 3
    model.next_logits(ids[:, :3], cache)
    cache.reset()
    assert np.array_equal(model.next_logits(ids, cache), model.next_logits(ids, model.new_cache(3)))


def test_dropout_in_training_only(make_model: Any, family: str, ids: np.ndarray) -> None:
    model, plain = make_model(family, dropout=0.5), make_model(family)
    wanted = plain(ids)
    assert not np.allclose(model(ids), wanted)
    np.random.seed(1)
    first = model(ids)
    np.random.seed(1)
    assert np.array_equal(model(ids), first)
    assert np.array_equal(model(ids, seed=2), model(ids, seed=2))
    np.testing.assert_allclose(model.next_logits(ids), wanted[:, -1], atol=1e-5)  # never drops
    assert model.training
    np.testing.assert_allclose(model.eval()(ids), wanted, atol=1e-5)


def test_packed_weights_are_for_the_time_being(model: GPTModel, ids: np.ndarray) -> None:
    before, layer = model.next_logits(ids), model.blocks[0].ffn.down
    with model.packed_weights():
        with model.packed_weights():
            pass
        assert layer.packed is not None  # the inner one did nothing
        layer.weight.data[...] = 0
        np.testing.assert_allclose(model.next_logits(ids), before, atol=1e-5)
    assert layer.packed is None
    assert np.abs(model.next_logits(ids) - before).max() > 0.01


def test_a_step_against_the_gradient_lowers_the_loss(
    backend: str, model: GPTModel, ids: np.ndarray, targets: np.ndarray
) -> None:
    loss = model.loss_and_backward(ids, targets)
    for parameter in model.parameters():
        parameter.data -= 0.01 * parameter.grad
    assert model.compute_loss(ids, targets) < loss
    model.zero_grad()
    assert not any(p.grad.any() for p in model.parameters())


def test_generate_and_stream(model: GPTModel) -> None:
    prompt = [[1, 2, 3, 4]]
    out = model.generate(prompt, max_new_tokens=10, seed=0)
    assert out.shape == (1, 14) and out[0, :4].tolist() == prompt[0]
    assert np.array_equal(np.stack(list(model.stream(prompt, 10, seed=0)), 1), out[:, 4:])
    assert model.generate(np.ones((3, 5), int), 8).shape == (3, 13)
    np.random.seed(42)
    first = model.generate(prompt, 10)
    np.random.seed(42)
    assert np.array_equal(model.generate(prompt, 10), first)
