"""Parameters, modules and where random numbers come from."""

import numpy as np
import pytest

from litegpt.nn import Linear, Module, Parameter, TransformerBlock
from litegpt.nn.random import generator, normal


class _Pair(Module):
    def __init__(self) -> None:
        self.layers = [Linear(2, 3, seed=0), Linear(3, 2, bias=False, seed=1)]
        self.tied = Linear.tied(self.layers[0].weight)
        self.scale = Parameter([1.0, 2.0])


def test_names() -> None:
    pair = _Pair()
    names = [name for name, _ in pair.named_parameters()]
    assert names == ["scale", "layers.0.weight", "layers.0.bias", "layers.1.weight"]
    assert [p.size for p in pair.parameters()] == [2, 6, 3, 6]
    assert {type(m) for m in pair.modules()} == {_Pair, Linear}


def test_modes() -> None:
    block = TransformerBlock(8, 2, 8)
    assert all(m.training for m in block.modules())
    assert block.eval() is block and not any(m.training for m in block.modules())
    block.ffn.train()
    with block.evaluating():
        assert not any(m.training for m in block.modules())
    assert not block.training and block.ffn.training and block.ffn.up.training


def test_state_goes_out_and_in() -> None:
    source, target = _Pair(), _Pair()
    for parameter in source.parameters():
        parameter.data += 1
    before = target.layers[0].weight.data
    target.load_state_dict({k: v.astype(np.float64) for k, v in source.state_dict().items()})
    for name, array in target.state_dict().items():
        assert np.array_equal(array, source.state_dict()[name]) and array.dtype == np.float32
    assert target.layers[0].weight.data is before  # copied into place


def test_everything_that_does_not_fit_is_named_at_once() -> None:
    pair = _Pair()
    state = {name: array.copy() for name, array in pair.state_dict().items()}
    wrong = {
        **state,
        "layers.0.weight": np.zeros((9, 9)),
        "other": np.zeros(1),
        "scale": [5.0, 6.0],
    }
    del wrong["layers.0.bias"], wrong["layers.1.weight"]
    with pytest.raises(ValueError) as raised:
        pair.load_state_dict(wrong)
    for part in (
        "missing layers.0.bias",
        "missing layers.1.weight",
        "unexpected other",
        "layers.0.weight has shape (9, 9), not (2, 3)",
    ):
        assert part in str(raised.value)
    assert pair.scale.data.tolist() == [1.0, 2.0]  # nothing was changed
    with pytest.raises(ValueError, match=r"has shape \(9, 9\)"):
        pair.load_state_dict(wrong, strict=False)
    del wrong["layers.0.weight"]
    pair.load_state_dict(wrong, strict=False)
    assert pair.scale.data.tolist() == [5.0, 6.0]


def test_parameter() -> None:
    parameter = Parameter([[1, 2], [3, 4]])
    assert parameter.data.dtype == np.float32 and parameter.shape == (2, 2)
    assert parameter.nbytes == 16  # no gradient yet
    assert not parameter.grad.any() and parameter.nbytes == 32
    parameter.grad += 1
    parameter.zero_grad()
    assert not parameter.grad.any()
    memory, adds = parameter.grad_memory()
    assert adds and memory is parameter.grad
    memory += 1
    parameter.zero_grad()
    memory, adds = parameter.grad_memory()
    assert not adds  # to be overwritten
    memory[...] = 5
    assert parameter.grad_memory() == (memory, True) and parameter.grad[0, 0] == 5
    parameter.zero_grad()
    shared = np.ones((2, 2), np.float32)
    parameter.keep_grad_in(shared)
    shared += 1
    parameter.zero_grad()
    assert not shared.any() and parameter.grad_memory() == (shared, True)
    parameter.data = np.asfortranarray(np.eye(2))
    assert parameter.data.flags.c_contiguous and parameter.data.dtype == np.float32
    with pytest.raises(ValueError, match=r"\(2, 2\) can't take values of shape \(2,\)"):
        parameter.data = [1, 2]


def test_what_is_not_a_layer_can_not_be_called() -> None:
    with pytest.raises(NotImplementedError, match="_Pair has no forward"):
        _Pair()()


def test_generator() -> None:
    rng = np.random.default_rng(0)
    assert generator(rng) is rng
    assert generator(np.int64(7)).random() == np.random.default_rng(7).random()
    np.random.seed(1)
    first = [generator().random(), generator().random()]
    np.random.seed(1)
    assert [generator().random(), generator().random()] == first and first[0] != first[1]
    for wrong in (-1, 1.5, "a", True):
        with pytest.raises(ValueError, match="seed must be None, an integer from 0 on"):
            generator(wrong)


def test_normal() -> None:
    drawn = normal(0, (200, 100), 0.5)
    assert drawn.dtype == np.float32
    assert abs(drawn.mean()) < 0.012 and abs(drawn.std() - 0.5) < 0.01
    rng = np.random.default_rng(4)
    assert not normal(rng, (3, 3), 0).any()
    assert rng.random() == np.random.default_rng(4).random()  # nothing was drawn


def test_a_gradient_moves_into_memory_that_is_given() -> None:
    parameter, memory = Parameter([[1.0, 2.0]]), np.full((1, 2), 9, np.float32)
    parameter.grad += 3
    parameter.keep_grad_in(memory)
    parameter.grad[0, 1] = 4
    assert memory.tolist() == [[3, 4]]
    parameter.zero_grad()
    assert memory.tolist() == [[0, 0]]
    for wrong in (np.zeros(2, np.float32), np.zeros((1, 2))):
        with pytest.raises(ValueError, match=r"can't keep a gradient of float32, shape \(1, 2\)"):
            parameter.keep_grad_in(wrong)
