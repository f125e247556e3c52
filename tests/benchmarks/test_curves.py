"""benchmarks/curves.py: what it says of losses and times, and what the contenders read."""

import curves
import numpy as np
import pytest
from contenders import AUTOCAST, LITEGPT, inputs, ours

PYTORCH = "PyTorch"


def test_the_table_has_the_mean_losses_of_each_part() -> None:
    lines = curves.table({(LITEGPT, 1): [6, 4, 3, 3, 2, 2, 2, 1, 1, 1, 1, 0]})
    assert lines[0] == "| mean loss up to step | 2 | 4 | 6 | 8 | 10 | 12 |"
    assert (
        lines[2] == f"| {LITEGPT}, seed 1 | 5.0000 | 3.0000 | 2.0000 | 1.5000 | 1.0000 | 0.5000 |"
    )


def test_differences_and_speed() -> None:
    base = np.linspace(4, 2, 12)
    losses = {
        (LITEGPT, 1): list(base), (PYTORCH, 1): list(base + 0.01),
        (LITEGPT, 2): list(base + 0.2), (PYTORCH, 2): list(base + 0.23),
    }  # fmt: skip
    said = "\n".join(curves.summary(losses, {LITEGPT: [1, 2, 9], PYTORCH: [3, 6, 6]}))
    assert "same seed: 0.0300" in said
    assert "between seeds, same system: 0.2200" in said
    assert "LiteGPT: 2000.0 ms" in said and "PyTorch: 6000.0 ms" in said
    assert "LiteGPT is 3.00 x as fast as PyTorch" in said
    third = {(AUTOCAST, seed): list(base + seed * 0.05) for seed in (1, 2)}
    said = "\n".join(curves.summary(losses | third, {LITEGPT: [2], PYTORCH: [6], AUTOCAST: [3]}))
    assert "between LiteGPT and PyTorch autocast, same seed: 0.1000" in said
    assert "LiteGPT is 1.50 x as fast as PyTorch autocast" in said
    assert "LiteGPT is 3.00 x as fast as PyTorch\n" in said
    one = {key: course for key, course in losses.items() if key[1] == 1}
    assert "between seeds" not in "\n".join(curves.summary(one, {LITEGPT: [1], PYTORCH: [1]}))


@pytest.fixture
def tiny(data_dir, tmp_path, monkeypatch) -> str:
    """The name of a model as small as may be, and a folder to keep it in."""
    monkeypatch.setenv(inputs.FOLDER, str(tmp_path))
    monkeypatch.setattr(inputs, "DATA", data_dir)
    shape = {"vocab_size": 65, "max_seq_len": 8, "num_layers": 1, "num_heads": 2, "hidden_dim": 8}
    monkeypatch.setitem(inputs.MODELS, "tiny", shape | {"bias": False})
    monkeypatch.setitem(inputs.OPTIMIZERS, "tiny", (1e-2, (0.9, 0.99), 0.1, 1.0))
    return "tiny"


def test_a_seed_has_its_own_weights_and_windows(tiny: str) -> None:
    first, again, other = (list(inputs.course(tiny, seed, 2, 10)) for seed in (1, 1, 2))
    for (ids, targets, rate), (same, _, same_rate) in zip(first, again, strict=True):
        assert (ids == same).all() and rate == same_rate
        assert ids.shape == (2, 8) and (ids[:, 1:] == targets[:, :-1]).all()
    assert any((a[0] != b[0]).any() for a, b in zip(first, other, strict=True))
    rates = [rate for _, _, rate in first]
    assert rates[0] < rates[1] == pytest.approx(1e-2) and rates[-1] < rates[1]
    weights = [inputs.directory(tiny, seed) / "model.safetensors" for seed in (1, 2)]
    assert weights[0].read_bytes() != weights[1].read_bytes()


def test_both_contenders_have_the_same_losses(tiny: str) -> None:
    task = ours.run(tiny, 1, 4, 12)
    losses = [task.run() for _ in range(12)]
    assert losses[-1] < losses[0]
    pytest.importorskip("torch")
    from contenders import nanogpt

    task = nanogpt.run(tiny, 1, 4, 12)
    assert [task.run() for _ in range(12)] == pytest.approx(losses, rel=1e-4)


def test_in_bfloat16_all_contenders_losses_are_near(tiny: str) -> None:
    """Rounded products differ, and stay near those of float32."""
    exact, rounded = ours.run(tiny, 1, 4, 12), ours.run(tiny, 1, 4, 12, precision="bfloat16")
    losses = [exact.run() for _ in range(12)]
    near = [rounded.run() for _ in range(12)]
    assert near != losses and near == pytest.approx(losses, rel=5e-3)
    pytest.importorskip("torch")
    from contenders import autocast

    task = autocast.run(tiny, 1, 4, 12)
    theirs = [task.run() for _ in range(12)]
    assert theirs != losses and theirs == pytest.approx(losses, rel=5e-3)
