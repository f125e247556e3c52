"""The repeated step: recorded once, run again without Python, and equal to the layers' own."""

import threading
from collections.abc import Callable

import numpy as np
import pytest

from litegpt import GPTModel, kernels
from litegpt.models.decoding import DecodingStep


def test_steps_are_full_recomputation(compiled: str, model: GPTModel, ids: np.ndarray) -> None:
    full = model.eval()(ids)
    cache = model.new_cache(len(ids))
    with model.packed_weights():
        model.next_logits(ids[:, :4], cache)
        step = DecodingStep(model, cache)
        for i in range(4, 37):
            np.testing.assert_array_equal(step(ids[:, i]), full[:, i])
            assert step.program.complete
    assert cache.lengths.tolist() == [37] * 3


def test_steps_on_the_numpy_rung(model: GPTModel, ids: np.ndarray) -> None:
    with kernels.use_backend("numpy"):
        full = model.eval()(ids)
        step = DecodingStep(model, model.new_cache(len(ids)))
        for i in range(5):
            np.testing.assert_allclose(step(ids[:, i]), full[:, i], rtol=1e-5, atol=1e-5)
        assert step.program is None


def test_rows_of_unequal_length(compiled: str, model: GPTModel, ids: np.ndarray) -> None:
    full = model.eval()(ids)
    cache = model.new_cache(3)
    with model.packed_weights():
        model.next_logits(ids[:, :9], cache)
        cache.lengths[:] = lengths = np.array([9, 3, 6])  # rows 1 and 2 forget what came later
        step = DecodingStep(model, cache)
        for i in range(20):
            logits = step(ids[np.arange(3), lengths + i])
            np.testing.assert_array_equal(logits, full[np.arange(3), lengths + i])


@pytest.mark.parametrize("family", ["default", "llama"])
def test_a_full_cache_is_an_index_error(
    compiled: str, make_model: Callable[..., GPTModel], family: str
) -> None:
    model = make_model(family, max_seq_len=32)
    cache = model.new_cache(1)
    with model.packed_weights():
        step = DecodingStep(model, cache)
        for _ in range(32):
            step(np.array([1]))
        with pytest.raises(IndexError, match="full cache"):
            step(np.array([1]))
        cache.reset()
        with pytest.raises(IndexError, match="id outside"):
            step(np.array([23]))


def test_what_cannot_be_recorded_is_done_by_the_layers(compiled: str, model: GPTModel) -> None:
    cache = model.new_cache(1)  # plain weights: their product isn't a recorded kernel
    step = DecodingStep(model, cache)
    first = step(np.array([3])).copy()
    assert not step.program.complete
    with pytest.raises(RuntimeError, match="not complete"):
        step.program.run()
    cache.reset()
    np.testing.assert_array_equal(step(np.array([3])), first)


def test_two_threads_record_side_by_side(
    compiled: str, make_model: Callable[..., GPTModel]
) -> None:
    model = make_model("gpt2").eval()
    alone = model.generate([1, 2, 3], 30, seed=5)
    texts: list[np.ndarray] = []
    threads = [
        threading.Thread(target=lambda: texts.append(model.generate([1, 2, 3], 30, seed=5)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 4
    for text in texts:
        np.testing.assert_array_equal(text, alone)
