"""A run that was stopped and goes on is the run that was left alone, bit for bit."""

import json
import signal
from functools import partial

import numpy as np
import pytest

from litegpt.models import GPTModel, LoRAConfig, add_lora, load_lora, save_lora
from litegpt.training import Callback, Checkpoints, JsonLinesLog, Trainer


@pytest.mark.parametrize(
    "split, optimizer",
    [(n, "adamw") for n in (1, 2, 3, 4, 5, 9, 10, 13, 16, 19)] + [(7, "muon"), (14, "lion")],
)
def test_n_steps_and_the_rest_are_all_steps(
    at, split, optimizer, make_run, everything, losses, tmp_path
) -> None:
    """Ten split points, before, at and after evaluations, records and checkpoints; dropout on."""
    whole = make_run(optimizer=optimizer)
    whole.fit()
    first = make_run(optimizer=optimizer, checkpoints=Checkpoints(tmp_path), callbacks=[at(split)])
    first.fit()
    assert first.step == split
    second = make_run(optimizer=optimizer, checkpoints=Checkpoints(tmp_path))
    assert second.resume()
    second.fit()
    assert everything(second) == everything(whole)
    assert losses(first.records + second.records) == losses(whole.records)


@pytest.mark.parametrize("step", [3, 4, 5, 15, 20])
def test_an_interrupt_before_a_step_is_settled(
    at, step, make_run, everything, losses, tmp_path, ctrl_c
) -> None:
    """Ctrl-C comes after the step, before its evaluation, record and checkpoint."""
    whole = make_run()
    whole.fit()
    interrupt = at(step, lambda trainer: signal.raise_signal(signal.SIGINT))
    log = JsonLinesLog(tmp_path / "log.jsonl")
    first = make_run(checkpoints=Checkpoints(tmp_path), callbacks=[log, interrupt])
    with pytest.raises(KeyboardInterrupt):
        first.fit()
    second = make_run(checkpoints=Checkpoints(tmp_path), callbacks=[log])
    assert second.resume()
    assert second.step == step
    second.fit()
    assert everything(second) == everything(whole)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"], line["val_loss"]) for line in lines] == [
        record[:3] for record in losses(whole.records)
    ]


@pytest.mark.parametrize("lost", [1, 20])
def test_a_line_of_the_log_without_its_end_is_left_out(lost, at, make_run, tmp_path) -> None:
    log = tmp_path / "log.jsonl"
    make_run(checkpoints=Checkpoints(tmp_path), callbacks=[JsonLinesLog(log), at(7)]).fit()
    log.write_bytes(log.read_bytes()[:-lost])
    again = make_run(checkpoints=Checkpoints(tmp_path), callbacks=[JsonLinesLog(log), at(9)])
    again.resume()
    again.fit()
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == [3, 5, 9]


def test_accumulated_steps_resume_too(at, make_run, everything, tmp_path) -> None:
    whole = make_run(accumulate=3, batch_size=2)
    whole.fit()
    options = {"accumulate": 3, "batch_size": 2, "checkpoints": Checkpoints(tmp_path)}
    make_run(**options, callbacks=[at(7)]).fit()
    second = make_run(**options)
    second.resume()
    second.fit()
    assert everything(second) == everything(whole)


def test_what_differs_is_named(at, make_run, tmp_path) -> None:
    make_run(checkpoints=Checkpoints(tmp_path), callbacks=[at(6)]).fit()
    other = {"learning_rate": 2e-2, "batch_size": 8, "dropout": 0.1}
    with pytest.raises(ValueError) as raised:
        make_run(**other, checkpoints=Checkpoints(tmp_path)).resume()
    assert str(raised.value) == (
        "the run of step 6 has batch_size 4, not 8, learning_rate 0.01, not 0.02, "
        "dropout 0.2, not 0.1"
    )
    text = np.arange(500) % 32
    with pytest.raises(ValueError, match="the run of step 6 has other data"):
        make_run(text=text, checkpoints=Checkpoints(tmp_path)).resume()


def test_adapters_go_on_with_their_own_model_alone(at, make_run, everything, tmp_path) -> None:
    def run(base: int, **options) -> Trainer:
        model = GPTModel(32, 16, 1, 2, 16, dropout=0.1, seed=base)
        add_lora(model, LoRAConfig(r=2), seed=0)
        files = {"save_model": partial(save_lora, base="base"), "load_model": load_lora}
        checkpoints = Checkpoints(tmp_path / str(options), **files)
        callbacks = [at(options.pop("stop", 0))]
        return Trainer(model, make_run().data, make_run().config, callbacks, checkpoints)

    whole, first, second, other = run(1), run(1, stop=7), run(1, stop=7), run(2, stop=7)
    whole.fit(), first.fit()
    with pytest.raises(ValueError, match="step 7 has other weights under those trained"):
        other.resume()
    second.callbacks = ()
    second.resume()
    second.fit()
    assert everything(second) == everything(whole)


def test_a_finished_run_is_finished_until_it_gets_more_steps(make_run, tmp_path) -> None:
    make_run(checkpoints=Checkpoints(tmp_path)).fit()
    again = make_run(checkpoints=Checkpoints(tmp_path))
    assert again.resume()
    assert again.ended == "all 20 steps are done"
    before = (tmp_path / "checkpoints" / "step-000020" / "state.json").read_bytes()
    assert again.fit() == []
    assert (tmp_path / "checkpoints" / "step-000020" / "state.json").read_bytes() == before
    more = make_run(checkpoints=Checkpoints(tmp_path), max_steps=24)
    assert more.resume()
    assert [record.step for record in more.fit()] == [21, 24]


def test_a_run_begins_anew_only_if_asked(make_run, tmp_path) -> None:
    make_run(checkpoints=Checkpoints(tmp_path)).fit()
    with pytest.raises(ValueError, match="holds the checkpoints of a run; resume goes on with it"):
        make_run(checkpoints=Checkpoints(tmp_path)).fit()
    anew = make_run(checkpoints=Checkpoints(tmp_path, replace=True), seed=8, max_steps=7)
    anew.fit()
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-000005", "step-000007"]


def test_nothing_to_resume(make_run, tmp_path) -> None:
    assert not make_run(checkpoints=Checkpoints(tmp_path / "new")).resume()
    with pytest.raises(ValueError, match="without checkpoints can't be resumed"):
        make_run().resume()


def test_the_directory_is_a_model_whenever_one_looks(make_run, tmp_path) -> None:
    """The best so far: at each evaluation, what was validated is what can be loaded."""
    seen = []

    class Look(Callback):
        def on_step(self, trainer: Trainer) -> None:
            if trainer.step > 4:
                model = GPTModel.from_pretrained(tmp_path)
                own = Trainer(model, trainer.data, trainer.config)
                seen.append((trainer.step, own.evaluate(), trainer.state.best_loss))

    make_run(checkpoints=Checkpoints(tmp_path), callbacks=[Look()]).fit()
    assert [step for step, _, _ in seen] == list(range(5, 21))
    assert all(loss == best for _, loss, best in seen[1:])
