"""Parameters that aren't trained: the others' gradients are what they were, theirs aren't made."""

import fnmatch
from collections.abc import Callable

import numpy as np
import pytest

from litegpt import GPTModel
from litegpt.formats.quant import FORMATS, weight_format
from litegpt.kernels.reference.quantized import packed_shape
from litegpt.nn import Linear
from litegpt.nn.frozen import FrozenParameter


def _gradients(model: GPTModel) -> dict[str, np.ndarray]:
    return {name: p.grad.copy() for name, p in model.named_parameters() if p.trainable}


@pytest.mark.parametrize("patterns", [
    ("blocks.0.*",),
    ("*ln?.*", "final_norm.*"),
    ("token_embedding.*", "position_encoding.*", "head.*"),
    ("*.weight",),
    ("*.attention.*",),
])  # fmt: skip
def test_the_others_learn_as_before(
    backend: str,
    family: str,
    make_model: Callable[..., GPTModel],
    ids: np.ndarray,
    targets: np.ndarray,
    patterns: tuple[str, ...],
) -> None:
    whole = make_model(family)
    loss = whole.loss_and_backward(ids, targets)
    wanted = _gradients(whole)
    model = make_model(family)
    fitting = [p for p in patterns if fnmatch.filter(wanted, p)]
    frozen = set(model.freeze(*fitting))
    left = wanted.keys() - frozen
    if not left:
        with pytest.raises(RuntimeError, match="no parameter is trainable"):
            model.loss_and_backward(ids, targets)
        return
    assert model.loss_and_backward(ids, targets) == loss
    assert _gradients(model).keys() == left
    for name, grad in _gradients(model).items():
        tolerance = 1e-6 * np.abs(wanted[name]).max()
        np.testing.assert_allclose(grad, wanted[name], rtol=1e-4, atol=tolerance, err_msg=name)
    for name, parameter in model.named_parameters():
        if name in frozen:
            assert parameter.nbytes == parameter.data.nbytes, name  # no gradient was made


def test_unknown_patterns_and_there_and_back(make_model: Callable[..., GPTModel]) -> None:
    model = make_model("gpt2")
    with pytest.raises(ValueError, match=r"no parameter is called 'block\.0'"):
        model.freeze("final_norm.*", "block.0")
    assert all(p.trainable for p in model.parameters())
    assert model.freeze("final_norm.*") == ["final_norm.weight", "final_norm.bias"]
    assert sum(not p.trainable for p in model.parameters()) == 2
    model.freeze("*", trainable=True)
    assert all(p.trainable for p in model.parameters())


@pytest.mark.parametrize(
    ("format", "tolerance"),
    [(name, 0.15 if form.codes else 1e-5) for name, form in FORMATS.items()],
)
def test_gradients_through_quantised_weights(
    backend: str,
    family: str,
    make_model: Callable[..., GPTModel],
    ids: np.ndarray,
    targets: np.ndarray,
    format: str,
    tolerance: float,
) -> None:
    """Those of the model with the decoded weights; codes round what goes in besides.

    (By 8 bits, which these models of large random weights feel more than trained ones do.)
    """
    model = make_model(family).quantize(format)
    with pytest.raises(RuntimeError, match="can't be trained"):
        model.freeze("*", trainable=True)
    trained = [n for n, p in model.named_parameters() if not isinstance(p, FrozenParameter)]
    model.freeze(*trained, trainable=True)
    decoded = make_model(family)
    decoded.load_state_dict({name: p.data for name, p in model.named_parameters()})
    loss = decoded.loss_and_backward(ids, targets)
    assert model.loss_and_backward(ids, targets) == pytest.approx(loss, rel=tolerance)
    wanted = _gradients(decoded)
    assert _gradients(model).keys() == set(trained)
    for name, grad in _gradients(model).items():
        missed = np.linalg.norm(grad - wanted[name]) / np.linalg.norm(wanted[name])
        assert missed < tolerance, name


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("sizes", [(5, 3), (33, 70), (2100, 1111)])  # the last: in several pieces
def test_back_through_a_frozen_layer(compiled: str, format: str, sizes: tuple[int, int]) -> None:
    inputs, outputs = sizes
    rng = np.random.default_rng(0)
    layer = Linear(inputs, outputs, std=0.5, seed=0)
    room = np.empty(packed_shape(weight_format(format), inputs, outputs), np.uint8)
    layer.weight = frozen = FrozenParameter.of(layer.weight.data, format, False, room)
    x, dy = (rng.standard_normal((2, 3, n)).astype(np.float32) for n in sizes)
    y, backward = layer.forward_train(x, residual=dy)
    np.testing.assert_array_equal(y, layer.eval()(x, dy))
    exact = dy.astype(np.float64) @ frozen.data.T.astype(np.float64)
    np.testing.assert_allclose(backward(dy), exact, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(layer.bias.grad, dy.sum((0, 1)), rtol=1e-5, atol=1e-5)
