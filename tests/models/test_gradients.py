"""Every entry of every parameter of whole models against central differences, in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from litegpt import GPTModel, kernels


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_every_parameter(make_model: Any, family: str, dropout: float, slope: Callable) -> None:
    heads = 2 if family == "llama" else 1
    sizes = {"vocab_size": 7, "num_layers": 2, "num_heads": 2 * heads, "hidden_dim": 4 * heads}
    model = make_model(family, max_seq_len=5, ffn_dim=6, dropout=dropout, **sizes)
    for parameter in model.parameters():
        parameter.cast(np.float64)
    rng = np.random.default_rng(4)
    ids, targets = rng.integers(0, 7, (2, 2, 4))
    targets[0, 1] = -100

    def loss() -> float:
        return model.compute_loss(ids, targets, seed=5)

    with kernels.use_backend("numpy"):
        assert model.loss_and_backward(ids, targets, seed=5) == pytest.approx(loss(), rel=1e-12)
        for name, parameter in model.named_parameters():
            slopes = [slope(loss, parameter.data, i) for i in range(parameter.size)]
            np.testing.assert_allclose(
                parameter.grad.ravel(), slopes, rtol=1e-5, atol=1e-9, err_msg=name
            )


def _gradients(model: GPTModel) -> dict[str, np.ndarray]:
    return {name: parameter.grad.copy() for name, parameter in model.named_parameters()}


def test_every_rung_agrees_with_float64(
    backend: str, make_model: Any, family: str, ids: np.ndarray, targets: np.ndarray
) -> None:
    model, exact = make_model(family), make_model(family)
    loss = model.loss_and_backward(ids, targets)
    for parameter in exact.parameters():
        parameter.cast(np.float64)
    with kernels.use_backend("numpy"):
        assert loss == pytest.approx(exact.loss_and_backward(ids, targets), rel=1e-5)
    wanted = _gradients(exact)
    for name, grad in _gradients(model).items():
        tolerance = 2e-5 * np.abs(wanted[name]).max()
        np.testing.assert_allclose(grad, wanted[name], rtol=1e-3, atol=tolerance, err_msg=name)


def test_accumulated_halves_are_the_whole(
    backend: str, model: GPTModel, ids: np.ndarray, targets: np.ndarray
) -> None:
    targets[targets == -100] = 0  # halves that count alike
    ids, targets = ids[:2], targets[:2]
    whole_loss = model.loss_and_backward(ids, targets)
    whole = _gradients(model)
    model.zero_grad()
    losses = [model.loss_and_backward(ids[b], targets[b], scale=0.5) for b in range(2)]
    assert np.mean(losses) == pytest.approx(whole_loss, rel=1e-5)  # they aren't scaled
    for name, grad in _gradients(model).items():
        tolerance = 1e-5 * np.abs(whole[name]).max()
        np.testing.assert_allclose(grad, whole[name], rtol=1e-3, atol=tolerance, err_msg=name)


def test_nothing_to_learn_from(backend: str, model: GPTModel, ids: np.ndarray) -> None:
    nothing = np.full(ids.shape, -100)
    assert np.isnan(model.compute_loss(ids, nothing))
    assert np.isnan(model.loss_and_backward(ids, nothing))
    assert not any(grad.any() for grad in _gradients(model).values())


def test_ignored_targets_change_nothing(
    backend: str, model: GPTModel, ids: np.ndarray, targets: np.ndarray
) -> None:
    """The loss over all rows is the mean over the targets that count, one by one."""
    logits = model(ids).astype(np.float64)
    counted = targets != -100
    top = logits.max(-1)
    lse = np.log(np.exp(logits - top[..., None]).sum(-1)) + top
    picked = np.take_along_axis(logits, np.where(counted, targets, 0)[..., None], -1)[..., 0]
    wanted = (lse - picked)[counted].mean()
    assert model.compute_loss(ids, targets) == pytest.approx(wanted, rel=1e-6)
    other = np.where(counted, targets, 3)
    assert model.compute_loss(ids, np.where(counted, targets, -7), -7) == pytest.approx(wanted)
    assert model.compute_loss(ids, other) != pytest.approx(wanted)


def test_gradients_are_complete_when_backward_says_so(
    model: GPTModel, ids: np.ndarray, targets: np.ndarray
) -> None:
    told: list[tuple[Any, np.ndarray]] = []
    model.loss_and_backward(
        ids, targets, when_complete=lambda ps: told.extend((p, p.grad.copy()) for p in ps)
    )
    for parameter, grad in told:
        np.testing.assert_array_equal(grad, parameter.grad)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    order = [names[id(parameter)] for parameter, _ in told]
    assert len(set(order)) == len(order)
    left_out = [name for name in names.values() if name not in order]
    assert all(name.startswith(("token_embedding", "position_encoding")) for name in left_out)
    blocks = [int(name.split(".")[1]) for name in order if name.startswith("blocks")]
    assert blocks == sorted(blocks, reverse=True) and set(blocks) == set(range(model.num_layers))
