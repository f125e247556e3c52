"""Lion and Muon against their formulas in float64, and PyTorch's Muon where there is one."""

import numpy as np
import pytest

from litegpt import kernels
from litegpt.nn import Parameter
from litegpt.training import AdamW, Lion, Muon
from litegpt.training.muon import orthogonalized

SHAPES = {
    "token_embedding.weight": (7, 5),
    "blocks.0.up.weight": (6, 24),
    "blocks.0.down.weight": (24, 6),
    "blocks.0.up.bias": (24,),
}


def parameters() -> dict[str, Parameter]:
    rng = np.random.default_rng(0)
    return {name: Parameter(rng.standard_normal(shape)) for name, shape in SHAPES.items()}


def gradients(step: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng((1, step))
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}


def take(optimizer: object, ours: dict[str, Parameter], step: int, *arguments: float) -> None:
    for name, gradient in gradients(step).items():
        ours[name].grad[...] = gradient
    optimizer.step(*arguments)


def exact(matrix: np.ndarray) -> np.ndarray:
    """What orthogonalized stands for: the iterations' polynomial of the singular values."""
    u, s, vt = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    s /= np.sqrt((s**2).sum())
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u * s @ vt


def test_ten_steps_of_lion(backend: str) -> None:
    ours = parameters()
    optimizer = Lion(ours.items(), 1e-2, 0.9, 0.98, weight_decay=0.1)
    wanted = {name: p.data.astype(np.float64) for name, p in ours.items()}
    moments = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    for step in range(10):
        lr, clip = 1e-2 / (step + 1), 0.3
        take(optimizer, ours, step, lr, clip)
        for name, gradient in gradients(step).items():
            g = clip * gradient.astype(np.float64)
            direction = np.sign(0.9 * moments[name] + 0.1 * g)
            decay = 0.1 if g.ndim > 1 else 0.0
            wanted[name] = wanted[name] - lr * (direction + decay * wanted[name])
            moments[name] = 0.98 * moments[name] + 0.02 * g
            np.testing.assert_allclose(ours[name].data, wanted[name], rtol=0, atol=2e-6)


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (5, 40), (40, 5), (64, 96)])
def test_orthogonalized(backend: str, shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    made = orthogonalized(matrix)
    np.testing.assert_allclose(made, exact(matrix), rtol=0, atol=2e-5)
    assert not orthogonalized(np.zeros(shape, np.float32)).any()
    if max(shape) >= 8 * min(shape):  # well conditioned
        assert np.all(np.abs(np.linalg.svd(made)[1] - 0.95) < 0.3)


def test_ten_steps_of_muon(backend: str) -> None:
    ours, adam = parameters(), parameters()
    optimizer = Muon(ours.items(), 1e-2, 0.9, 0.95, weight_decay=0.1, momentum=0.9)
    rest = AdamW(adam.items(), 1e-2, 0.9, 0.95, weight_decay=0.1)
    wanted = {name: p.data.astype(np.float64) for name, p in ours.items()}
    moments = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    for step in range(10):
        lr = 1e-2 / (step + 1)
        take(optimizer, ours, step, lr, 0.3)
        take(rest, adam, step, lr, 0.3)
        for name, gradient in gradients(step).items():
            if name in ("token_embedding.weight", "blocks.0.up.bias"):
                np.testing.assert_array_equal(ours[name].data, adam[name].data)
                continue
            new = 0.1 * 0.3 * gradient.astype(np.float64)
            moments[name] = 0.9 * moments[name] + new
            move = 0.2 * 24**0.5 * exact(0.9 * moments[name] + new)
            wanted[name] = wanted[name] * (1 - lr * 0.1) - lr * move
            np.testing.assert_allclose(ours[name].data, wanted[name], rtol=0, atol=1e-5)
    assert [len(optimizer.moments[kind]) for kind in ("first", "second", "momentum")] == [2, 2, 2]


def test_muon_beside_pytorch() -> None:
    """PyTorch's iterates in bfloat16, of 8 bits; ten steps of 0.01 agree to a part of one."""
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle")
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this PyTorch has no Muon")
    ours = parameters()
    matrices = [name for name in ours if name.startswith("blocks") and ours[name].data.ndim == 2]
    theirs = {name: torch.nn.Parameter(torch.tensor(ours[name].data.copy())) for name in matrices}
    before = {name: ours[name].data.copy() for name in matrices}
    optimizer = Muon(ours.items(), 1e-2, weight_decay=0.1)
    oracle = torch.optim.Muon(
        theirs.values(), lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(10):
        take(optimizer, ours, step)
        for name in matrices:
            theirs[name].grad = torch.tensor(gradients(step)[name])
        oracle.step()
    for name in matrices:
        moved = np.abs(ours[name].data - before[name]).max()
        difference = np.abs(ours[name].data - theirs[name].detach().numpy()).max()
        assert difference < 0.02 * moved


def test_all_matrices_or_none_are_muons() -> None:
    ours = parameters()
    every = Muon(ours.items(), tables=())
    assert set(every.moments["momentum"]) == {n for n, shape in SHAPES.items() if len(shape) == 2}
    assert not Muon(ours.items(), tables=("*",)).moments["momentum"]


def test_in_float64() -> None:
    ours = parameters()
    for parameter in ours.values():
        parameter.cast(np.float64)
    with kernels.use_backend("numpy"):
        before = ours["blocks.0.up.weight"].data.copy()
        take(Muon(ours.items(), weight_decay=0.0, momentum=0.0), ours, 0, 1.0)
        gradient = gradients(0)["blocks.0.up.weight"]
        move = 0.2 * 24**0.5 * exact(gradient)
        np.testing.assert_allclose(
            before - ours["blocks.0.up.weight"].data, move, rtol=0, atol=1e-12
        )
