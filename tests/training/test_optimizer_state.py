"""Every optimizer: its state goes out and comes back, and what isn't trained has none."""

import numpy as np
import pytest

from litegpt.nn import Parameter
from litegpt.training import OPTIMIZERS, TrainConfig

SHAPES = {"token_embedding.weight": (7, 5), "blocks.0.up.weight": (5, 9), "blocks.0.up.bias": (9,)}


@pytest.fixture(params=OPTIMIZERS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def parameters(frozen: str = "") -> dict[str, Parameter]:
    rng = np.random.default_rng(0)
    made = {name: Parameter(rng.standard_normal(shape)) for name, shape in SHAPES.items()}
    for name in made:
        made[name].trainable = name != frozen
    return made


def take(optimizer: object, ours: dict[str, Parameter], step: int) -> None:
    rng = np.random.default_rng((1, step))
    for name, shape in SHAPES.items():
        ours[name].grad[...] = rng.standard_normal(shape)
    optimizer.step(1e-2)


def make(kind: str, ours: dict[str, Parameter]) -> object:
    return OPTIMIZERS[kind](ours.items(), TrainConfig(optimizer=kind))


def test_a_restored_state_goes_on_bit_for_bit(backend: str, kind: str) -> None:
    whole, stopped, resumed = parameters(), parameters(), parameters()
    optimizer = make(kind, whole)
    for step in range(6):
        take(optimizer, whole, step)
    optimizer = make(kind, stopped)
    for step in range(3):
        take(optimizer, stopped, step)
    state = {name: array.copy() for name, array in optimizer.state_dict().items()}
    for name, parameter in resumed.items():
        parameter.data[...] = stopped[name].data
    optimizer = make(kind, resumed)
    optimizer.load_state_dict(state)
    for step in range(3, 6):
        take(optimizer, resumed, step)
    for name in SHAPES:
        assert resumed[name].data.tobytes() == whole[name].data.tobytes()


def test_a_state_that_does_not_fit_changes_nothing(kind: str) -> None:
    ours = parameters()
    optimizer = make(kind, ours)
    take(optimizer, ours, 0)
    before = {name: array.copy() for name, array in optimizer.state_dict().items()}
    wrong = {name: array.copy() for name, array in before.items() if name != "steps"}
    moment = next(iter(wrong))
    wrong[moment] = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match=rf"missing steps; .*unexpected extra.*{moment} has shape"):
        optimizer.load_state_dict(wrong | {"extra": np.zeros(1)})
    for name, array in optimizer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("frozen", SHAPES)
def test_what_is_frozen_stays_and_has_no_moments(backend: str, kind: str, frozen: str) -> None:
    ours, free = parameters(frozen), parameters()
    optimizer, whole = make(kind, ours), make(kind, free)
    assert not any(frozen in name for name in optimizer.state_dict())
    take(optimizer, ours, 0), take(whole, free, 0)
    for name in SHAPES:
        wanted = parameters()[name] if name == frozen else free[name]
        np.testing.assert_array_equal(ours[name].data, wanted.data)
    squares = sum(
        float((ours[n].grad.astype(np.float64) ** 2).sum()) for n in SHAPES if n != frozen
    )
    assert optimizer.grad_norm() == pytest.approx(squares**0.5, rel=1e-12)


def test_nothing_to_train(kind: str) -> None:
    with pytest.raises(RuntimeError, match="no parameter is trainable"):
        make(kind, {"bias": parameters("blocks.0.up.bias")["blocks.0.up.bias"]})
