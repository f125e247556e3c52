"""What is promised to be equal: bit for bit on compiled rungs, within 1e-5 on the numpy rung."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import litegpt
from litegpt import GPTModel


def assert_equal(a: np.ndarray, b: np.ndarray) -> None:
    if litegpt.backend() == "numpy":
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_array_equal(a, b)


@pytest.fixture(autouse=True)
def threads_restored() -> Iterator[None]:
    before = litegpt.num_threads()
    yield
    litegpt.set_num_threads(before)


@pytest.mark.parametrize("packed", [False, True])
def test_cached_decoding_is_full_recomputation(
    backend: str, model: GPTModel, ids: np.ndarray, packed: bool
) -> None:
    full = model.eval()(ids)
    cache = model.new_cache(len(ids))
    steps = [slice(0, 5), slice(5, 6), slice(6, 31), *(slice(i, i + 1) for i in range(31, 37))]
    for step in steps:
        if packed:
            with model.packed_weights():
                logits = model.next_logits(ids[:, step], cache)
        else:
            logits = model.next_logits(ids[:, step], cache)
        assert_equal(logits, full[:, step.stop - 1])
    assert cache.lengths.tolist() == [37] * 3


def test_next_logits_without_a_cache(backend: str, model: GPTModel, ids: np.ndarray) -> None:
    assert_equal(model.next_logits(ids), model.eval()(ids)[:, -1])


def test_a_row_in_a_batch_is_that_row_alone(backend: str, model: GPTModel, ids: np.ndarray) -> None:
    together = model(ids)
    cache = model.new_cache(3)
    model.next_logits(ids[:, :-1], cache)
    cached = model.next_logits(ids[:, -1:], cache)
    for b, row in enumerate(ids):
        assert_equal(model(row)[0], together[b])
        alone = model.new_cache(1)
        model.next_logits(row[:-1], alone)
        assert_equal(model.next_logits(row[-1:], alone)[0], cached[b])


def test_rows_of_unequal_length_in_one_cache(
    backend: str, model: GPTModel, ids: np.ndarray
) -> None:
    """Rows join a batch at lengths of their own, and decode as if alone."""
    lengths = [36, 3, 17]
    cache = model.new_cache(3)
    for b, length in enumerate(lengths):
        alone = model.new_cache(1)
        model.next_logits(ids[b, :length], alone)
        for layer, own in zip(cache.layers, alone.layers, strict=True):
            layer.keys[b], layer.values[b] = own.keys[0], own.values[0]
    cache.lengths[:] = lengths
    new = ids[range(3), lengths][:, None]
    logits = model.next_logits(new, cache)
    for b, length in enumerate(lengths):
        assert_equal(logits[b], model(ids[b, : length + 1])[0, -1])


def _trained(make_model: Any, family: str, ids: np.ndarray, targets: np.ndarray) -> list:
    model = make_model(family, dropout=0.2)
    losses = [model.loss_and_backward(ids, targets, seed=seed) for seed in (3, 4)]
    return [np.array(losses), model(ids, seed=5), *(p.grad for p in model.parameters())]


def test_threads_change_nothing(compiled: str, make_model: Any, family: str) -> None:
    """In a model large enough that its kernels share their work out."""
    sizes = {"vocab_size": 300, "max_seq_len": 64, "hidden_dim": 128, "ffn_dim": 256}
    ids, targets = np.random.default_rng(6).integers(0, 300, (2, 4, 64))

    def trained(threads: int) -> list[np.ndarray]:
        litegpt.set_num_threads(threads)
        model = make_model(family, dropout=0.2, **sizes)
        loss = model.loss_and_backward(ids, targets, seed=3)
        logits = [model.eval()(ids), model.next_logits(ids[:1])]
        return [np.array(loss), *logits, *(p.grad for p in model.parameters())]

    wanted = trained(1)
    for threads in (2, 3):
        for got, want in zip(trained(threads), wanted, strict=True):
            np.testing.assert_array_equal(got, want)


def test_the_same_seed_twice(
    backend: str, make_model: Any, family: str, ids: np.ndarray, targets: np.ndarray
) -> None:
    first, second = (_trained(make_model, family, ids, targets) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert_equal(a, b)
    other = make_model(family, dropout=0.2)
    assert other.loss_and_backward(ids, targets, seed=9) != first[0][0]


def test_seeds_of_new_models() -> None:
    def weights(seed: Any) -> np.ndarray:
        return GPTModel(11, 8, 1, 2, 8, seed=seed).head.weight.data

    assert np.array_equal(weights(1), weights(1)) and not np.array_equal(weights(1), weights(2))
    np.random.seed(5)
    first = weights(None)
    np.random.seed(5)
    assert np.array_equal(weights(None), first)
