"""Training with products of bfloat16: what is rounded, what stays, and what becomes of a run."""

import json

import numpy as np
import pytest

from litegpt import kernels
from litegpt.models import GPTModel, LoRAConfig, add_lora
from litegpt.training import Callback, Checkpoints
from litegpt.training.forecast import seconds_of_batch


def gradients(model: GPTModel, recompute: bool = False) -> dict[str, np.ndarray]:
    """Of one batch, with dropout."""
    model.train().zero_grad()
    ids = np.random.default_rng(0).integers(0, model.vocab_size, (4, model.max_seq_len))
    model.loss_and_backward(ids, np.roll(ids, -1, axis=1), seed=3, recompute=recompute)
    return {name: p.grad.copy() for name, p in model.named_parameters() if p.trainable}


@pytest.fixture
def model() -> GPTModel:
    return GPTModel(50, 32, 2, 2, 64, dropout=0.1, tie_embeddings=True, bias=True, seed=0)


def test_gradients_are_near_those_of_float32(backend: str, model: GPTModel) -> None:
    """2 % of each array, where a wrong product would be off by all of it; and not the same."""
    exact, got = gradients(model), gradients(model.set_precision("bfloat16"))
    for name, gradient in exact.items():
        missed = np.linalg.norm(got[name] - gradient) / np.linalg.norm(gradient)
        assert 1e-5 < missed < 0.02, name
        assert got[name].dtype == np.float32
    again = gradients(model.set_precision("float32"))
    assert all(np.array_equal(again[name], exact[name]) for name in exact)


def test_recomputed_blocks_have_the_same_gradients(model: GPTModel) -> None:
    model.set_precision("bfloat16")
    kept, again = gradients(model), gradients(model, recompute=True)
    assert all(np.array_equal(kept[name], again[name]) for name in kept)


def test_the_plain_call_is_untouched(model: GPTModel) -> None:
    ids = np.arange(20)[None]
    before = model.eval()(ids)
    np.testing.assert_array_equal(model.set_precision("bfloat16")(ids), before)


def test_it_is_the_whole_models(model: GPTModel) -> None:
    model.set_precision("bfloat16")
    assert {module.precision for module in model.modules()} == {"bfloat16"}
    with pytest.raises(ValueError, match="one of float32, bfloat16, not 'half'"):
        model.set_precision("half")


@pytest.mark.parametrize("format", [None, "q8"])
def test_adapters_too(model: GPTModel, format: str | None) -> None:
    """Their own products, and those that carry gradients through the weights below them."""
    if format:
        model.quantize(format)
    add_lora(model, LoRAConfig(r=4), seed=1)
    rng = np.random.default_rng(2)
    for parameter in model.parameters():
        if parameter.trainable:  # b too, which starts at zero
            parameter.data = rng.normal(0, 0.1, parameter.shape)
    exact, got = gradients(model), gradients(model.set_precision("bfloat16"))
    assert len(exact) == 2 * 2 * 4  # a and b for each of a block's four layers
    for name, gradient in exact.items():
        missed = np.linalg.norm(got[name] - gradient) / np.linalg.norm(gradient)
        assert 1e-4 < missed < 0.06, name


def test_the_losses_are_near_those_of_float32(make_run, losses) -> None:
    """Step by step: within a hundredth of a nat where seeds are tenths apart."""
    plain, other = (make_run(seed=seed, max_steps=60) for seed in (7, 8))
    rounded = make_run(precision="bfloat16", max_steps=60)
    courses = [np.array([record.loss for record in run.fit()]) for run in (plain, other, rounded)]
    assert courses[0][-1] < 0.6 * courses[0][0]
    seeds, precisions = (np.abs(course - courses[0]) for course in courses[1:])
    assert 0 < precisions.max() < 0.05
    assert precisions.mean() < 0.2 * seeds.mean()


@pytest.mark.parametrize("split", [3, 10])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(
    at, split, make_run, everything, losses, tmp_path
) -> None:
    options = {"precision": "bfloat16", "checkpoints": Checkpoints(tmp_path)}
    whole = make_run(precision="bfloat16")
    whole.fit()
    first = make_run(**options, callbacks=[at(split)])
    first.fit()
    state = json.loads((tmp_path / f"checkpoints/step-{split:06}/state.json").read_text())
    assert state["settings"]["precision"] == "bfloat16"
    second = make_run(**options)
    assert second.resume()
    second.fit()
    assert everything(second) == everything(whole)
    assert losses(first.records + second.records) == losses(whole.records)


def test_a_run_keeps_its_precision(at, make_run, tmp_path) -> None:
    make_run(checkpoints=Checkpoints(tmp_path), callbacks=[at(4)]).fit()
    with pytest.raises(ValueError, match="precision 'float32', not 'bfloat16'"):
        make_run(precision="bfloat16", checkpoints=Checkpoints(tmp_path)).resume()


def test_threads_change_nothing(make_run, everything) -> None:
    before, runs = kernels.num_threads(), []
    try:
        for threads in (1, 3):
            kernels.set_num_threads(threads)
            runs.append(make_run(precision="bfloat16"))
            runs[-1].fit()
    finally:
        kernels.set_num_threads(before)
    assert everything(runs[0]) == everything(runs[1])


class Heard(Callback):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def on_notice(self, trainer: object, text: str) -> None:
        self.texts.append(text)


def test_where_it_is_no_faster_a_line_says_so(backend: str, make_run) -> None:
    heard = {name: Heard() for name in ("bfloat16", "float32")}
    for precision, callback in heard.items():
        make_run(precision=precision, max_steps=1, callbacks=[callback]).fit()
    assert heard["float32"].texts == []
    assert len(heard["bfloat16"].texts) == (not kernels.multiplies_bfloat16())
    assert all(backend in text for text in heard["bfloat16"].texts)


def test_a_measured_batch_has_the_runs_precision(make_run, monkeypatch) -> None:
    trainer, seen = make_run(precision="bfloat16"), []
    model = trainer.model.set_precision("float32")
    loss_and_backward = model.loss_and_backward

    def noted(*arguments, **options):
        seen.append(model.blocks[0].ffn.up.precision)
        return loss_and_backward(*arguments, **options)

    monkeypatch.setattr(model, "loss_and_backward", noted)
    batch = trainer.data.batch(4, np.random.default_rng(0))
    assert seconds_of_batch(model, batch, trainer.config, 1e-9) > 0
    assert set(seen) == {"bfloat16"} and model.blocks[0].ffn.up.precision == "float32"
