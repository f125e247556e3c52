"""Rows that hold several documents: each counts as if it stood alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import litegpt
from litegpt import GPTModel, kernels

# (row, first position, length) of the documents in rows (3, 37): a row whole, one token alone, and
# lengths on both sides of the kernels' blocks of 32 positions.
DOCUMENTS = [(0, 0, 37), (1, 0, 1), (1, 1, 33), (1, 34, 3), (2, 0, 5), (2, 5, 32)]


@pytest.fixture
def starts() -> np.ndarray:
    starts = np.zeros((3, 37), bool)
    for row, first, _ in DOCUMENTS[1:]:  # the first row is left to begin by itself
        starts[row, first] = True
    return starts


def test_logits_are_those_of_each_document_alone(
    backend: str, model: GPTModel, ids: np.ndarray, starts: np.ndarray
) -> None:
    model.eval()
    together = model(ids, document_starts=starts)
    for row, first, length in DOCUMENTS:
        alone = model(ids[row, first : first + length])[0]
        packed = together[row, first : first + length]
        if litegpt.backend() == "numpy":
            np.testing.assert_allclose(packed, alone, rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(packed, alone)


def test_loss_and_gradients_are_those_of_the_documents(
    make_model: Any, family: str, ids: np.ndarray, targets: np.ndarray, starts: np.ndarray
) -> None:
    """In float64, where only the order of additions differs."""
    packed, alone = make_model(family), make_model(family)
    for model in (packed, alone):
        for parameter in model.parameters():
            parameter.cast(np.float64)
    with kernels.use_backend("numpy"):
        loss = packed.loss_and_backward(ids, targets, document_starts=starts)
        counted, losses = np.sum(targets != -100), []
        for row, first, length in DOCUMENTS:
            at = slice(first, first + length)
            share = np.sum(targets[row, at] != -100) / counted
            losses.append(
                share * alone.loss_and_backward(ids[row, at], targets[row, at], scale=share)
            )
        assert loss == pytest.approx(sum(losses), rel=1e-9)
        assert loss == pytest.approx(packed.compute_loss(ids, targets, document_starts=starts))
    wanted = dict(alone.named_parameters())
    for name, parameter in packed.named_parameters():
        np.testing.assert_allclose(
            parameter.grad, wanted[name].grad, rtol=1e-6, atol=1e-10, err_msg=name
        )


def test_every_rung_agrees_with_float64(
    backend: str,
    make_model: Any,
    family: str,
    ids: np.ndarray,
    targets: np.ndarray,
    starts: np.ndarray,
) -> None:
    model, exact = make_model(family), make_model(family)
    loss = model.loss_and_backward(ids, targets, document_starts=starts)
    for parameter in exact.parameters():
        parameter.cast(np.float64)
    with kernels.use_backend("numpy"):
        wanted = exact.loss_and_backward(ids, targets, document_starts=starts)
    assert loss == pytest.approx(wanted, rel=1e-5)
    for (name, parameter), right in zip(model.named_parameters(), exact.parameters(), strict=True):
        atol = 2e-5 * np.abs(right.grad).max()
        np.testing.assert_allclose(parameter.grad, right.grad, rtol=0, atol=atol, err_msg=name)


def test_every_parameter_with_dropout(make_model: Any, slope: Callable) -> None:
    """Forward and backward drop the same, document by document: against central differences."""
    sizes = {"vocab_size": 5, "num_layers": 1, "num_heads": 2, "hidden_dim": 4}
    model = make_model("llama", max_seq_len=5, ffn_dim=6, dropout=0.3, num_kv_heads=1, **sizes)
    for parameter in model.parameters():
        parameter.cast(np.float64)
    rng = np.random.default_rng(4)
    ids, targets = rng.integers(0, 5, (2, 2, 5))
    starts = np.array([[True, False, True, False, False], [True, True, False, False, False]])

    def loss() -> float:
        return model.compute_loss(ids, targets, seed=5, document_starts=starts)

    with kernels.use_backend("numpy"):
        got = model.loss_and_backward(ids, targets, seed=5, document_starts=starts)
        assert got == pytest.approx(loss(), rel=1e-12)
        for name, parameter in model.named_parameters():
            slopes = [slope(loss, parameter.data, i) for i in range(parameter.size)]
            np.testing.assert_allclose(
                parameter.grad.ravel(), slopes, rtol=1e-5, atol=1e-9, err_msg=name
            )


def test_documents_of_whole_rows_change_nothing(model: GPTModel, ids: np.ndarray) -> None:
    starts = np.zeros(ids.shape, bool)
    np.testing.assert_array_equal(model(ids, document_starts=starts), model(ids))


@pytest.mark.parametrize("starts", [np.zeros((3, 36), bool), np.zeros((3, 37), int), [[0, 5]]])
def test_starts_that_do_not_fit(model: GPTModel, ids: np.ndarray, starts: Any) -> None:
    with pytest.raises(ValueError, match=r"booleans of input_ids' shape \(3, 37\), not"):
        model(ids, document_starts=starts)


def test_documents_and_a_mask_are_too_much(make_model: Any, ids: np.ndarray) -> None:
    from litegpt.nn.documents import Documents

    attention = make_model("default").blocks[0].attention
    documents = Documents(np.ones((1, 4), bool), (1, 4))
    with pytest.raises(ValueError, match="only causal self-attention"):
        attention(np.zeros((1, 4, 32)), mask=np.zeros((4, 4)), documents=documents)
