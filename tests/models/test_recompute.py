"""Blocks computed twice: the same gradients bit for bit, for less memory."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from litegpt import GPTModel, use_backend


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_same_gradients(
    backend: str,
    family: str,
    make_model: Callable[..., GPTModel],
    ids: np.ndarray,
    targets: np.ndarray,
    dropout: float,
) -> None:
    kept, again = make_model(family, dropout=dropout), make_model(family, dropout=dropout)
    loss = kept.loss_and_backward(ids, targets, seed=5)
    assert again.loss_and_backward(ids, targets, seed=5, recompute=True) == loss
    for (name, a), (_, b) in zip(kept.named_parameters(), again.named_parameters(), strict=True):
        assert a.grad.tobytes() == b.grad.tobytes(), name


def test_the_same_gradients_of_documents(
    backend: str, family: str, make_model: Callable[..., GPTModel], ids: np.ndarray
) -> None:
    starts = np.zeros(ids.shape, bool)
    starts[:2, [3, 30]] = True
    kept, again = make_model(family, dropout=0.3), make_model(family, dropout=0.3)
    for model, recompute in ((kept, False), (again, True)):
        model.loss_and_backward(ids, ids, seed=5, document_starts=starts, recompute=recompute)
    for (name, a), (_, b) in zip(kept.named_parameters(), again.named_parameters(), strict=True):
        assert a.grad.tobytes() == b.grad.tobytes(), name


def test_it_takes_less_memory() -> None:
    """On the numpy rung, whose arrays tracemalloc sees."""
    model = GPTModel(50, 64, num_layers=6, num_heads=2, hidden_dim=32, dropout=0.1, seed=0)
    ids = np.zeros((4, 64), np.int64)
    peaks = []
    with use_backend("numpy"):
        model.loss_and_backward(ids, ids)  # which makes the gradients
        for recompute in (False, True):
            tracemalloc.start()
            model.loss_and_backward(ids, ids, seed=0, recompute=recompute)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 0.5 * peaks[0]
