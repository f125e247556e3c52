"""The loop: it learns, repeats itself exactly, records what happened, and can be stopped."""

import json
import math
import resource
import signal

import numpy as np
import pytest

from litegpt.models import GPTModel
from litegpt.training import Callback, JsonLinesLog, Record, TextWindows, TrainConfig, Trainer

TEXT = np.array(list(b"the cat sat on the mat, and the dog on the log. " * 40)) % 32


def make_model(dropout: float = 0.0) -> GPTModel:
    return GPTModel(32, 16, 2, 2, 16, dropout=dropout, seed=0, tie_embeddings=True, bias=False)


def make_trainer(dropout: float = 0.0, callbacks: tuple = (), **settings: object) -> Trainer:
    settings = {
        "batch_size": 8, "max_steps": 30, "learning_rate": 1e-2, "min_learning_rate": 1e-3,
        "warmup_steps": 5, "eval_interval": 10, "eval_steps": 2, "log_interval": 4, "seed": 7,
    } | settings  # fmt: skip
    data = TextWindows(TEXT, 16)
    return Trainer(make_model(dropout), data, TrainConfig(**settings), callbacks)


def weights(trainer: Trainer) -> dict[str, bytes]:
    return {name: p.data.tobytes() for name, p in trainer.model.named_parameters()}


def test_it_learns_a_small_text(backend) -> None:
    trainer = make_trainer(max_steps=120)
    before = trainer.evaluate()
    assert before == pytest.approx(math.log(32), abs=0.1)  # knows nothing yet
    records = trainer.fit()
    assert records[-1].val_loss < 1.0
    assert records[-1].val_loss == trainer.evaluate()


def test_the_same_seed_gives_the_same_weights_bit_for_bit(backend) -> None:
    first, second = make_trainer(dropout=0.2), make_trainer(dropout=0.2)
    losses = [[(r.loss, r.val_loss, r.grad_norm) for r in t.fit()] for t in (first, second)]
    assert losses[0] == losses[1]
    assert weights(first) == weights(second)


def test_one_thread_gives_the_weights_that_all_give(compiled, request) -> None:
    """At the default size of `litegpt train`, where the work is really shared."""

    def run() -> dict[str, bytes]:
        model = GPTModel(65, 64, 4, 4, 128, dropout=0.1, seed=0)
        data = TextWindows(np.tile(TEXT, 4), 64)
        trainer = Trainer(model, data, TrainConfig(max_steps=3, eval_steps=1))
        trainer.fit()
        return weights(trainer)

    all_threads = run()
    request.getfixturevalue("one_thread")
    assert run() == all_threads


def test_another_seed_gives_others() -> None:
    first, second = make_trainer(max_steps=2), make_trainer(max_steps=2, seed=8)
    first.fit(), second.fit()
    assert weights(first) != weights(second)


def test_a_stopped_run_that_goes_on_is_a_run_left_alone(backend) -> None:
    class StopAt11(Callback):
        def on_step(self, trainer: Trainer) -> None:
            if trainer.step == 11:
                trainer.stop()

    stopped, whole = make_trainer(0.2, (StopAt11(),)), make_trainer(0.2)
    stopped.fit()
    assert stopped.step == 11
    stopped.fit()
    whole.fit()
    assert weights(stopped) == weights(whole)


def test_steps_do_what_their_formulas_say() -> None:
    """Two steps by hand, with clipping, against the trainer's."""
    trainer = make_trainer(max_steps=2, warmup_steps=1, grad_clip=0.1, weight_decay=0.2)
    model, data, config = make_model(), trainer.data, trainer.config
    moments = {name: (np.zeros(p.shape), np.zeros(p.shape)) for name, p in model.named_parameters()}
    for step, lr in enumerate([1e-2 / 2, 1e-2]):
        inputs, targets = data.batch(8, np.random.default_rng((7, step, 0)))
        model.zero_grad()
        model.loss_and_backward(inputs, targets)
        gradients = {name: p.grad.astype(np.float64) for name, p in model.named_parameters()}
        norm = math.sqrt(sum((g**2).sum() for g in gradients.values()))
        assert norm > config.grad_clip
        for name, p in model.named_parameters():
            m, v = moments[name]
            g = gradients[name] * config.grad_clip / norm
            m += 0.1 * (g - m)
            v += 0.01 * (g * g - v)
            if p.data.ndim > 1:
                p.data *= 1 - lr * 0.2
            corrected = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.99 ** (step + 1))
            p.data -= lr * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
    trainer.fit()
    for (name, ours), (_, theirs) in zip(
        trainer.model.named_parameters(), model.named_parameters(), strict=True
    ):
        np.testing.assert_allclose(ours.data, theirs.data, atol=3e-5, err_msg=name)


def test_records() -> None:
    records = make_trainer().fit()
    assert [r.step for r in records] == [4, 8, 10, 12, 16, 20, 24, 28, 30]
    assert [r.step for r in records if r.val_loss is not None] == [10, 20, 30]
    assert all(r.loss > 0 and r.grad_norm > 0 and r.tokens_per_s > 0 for r in records)
    assert records[0].lr == pytest.approx(1e-2 * 4 / 6)
    assert records[-1].lr == pytest.approx(1e-3, rel=0.2)


def test_the_log_is_a_record_per_line(tmp_path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("an older log\n")
    records = make_trainer(callbacks=(JsonLinesLog(path),)).fit()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [Record(**line) for line in lines] == records
    assert list(lines[0]) == ["step", "loss", "val_loss", "lr", "grad_norm", "tokens_per_s"]
    trainer = make_trainer(callbacks=(JsonLinesLog(path),))
    trainer.data.validation_batches = lambda batch_size, batches: iter(())
    assert all(math.isnan(r.val_loss) for r in trainer.fit() if r.step % 10 == 0)
    assert "NaN" not in path.read_text()  # which JSON hasn't


def test_lines_that_do_not_fit_on_the_disk_are_left_out_whole(tmp_path) -> None:
    """A largest size of files stands for a disk that is full from step 5 to 8."""
    path, before = tmp_path / "log.jsonl", resource.getrlimit(resource.RLIMIT_FSIZE)

    class Disk(Callback):
        def on_step(self, trainer: Trainer) -> None:
            if trainer.step == 5:
                room = path.stat().st_size + 20
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
            if trainer.step == 8:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)

    try:
        make_trainer(
            callbacks=(Disk(), JsonLinesLog(path)),
            max_steps=10,
            log_interval=1,
            on_save_error="continue",
        ).fit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 8, 9, 10]


def test_evaluation_drops_nothing_and_modes_come_back() -> None:
    trainer = make_trainer(dropout=0.5)
    assert trainer.evaluate() == trainer.evaluate()
    assert trainer.model.training
    trainer.model.eval()
    trainer.fit()
    assert not trainer.model.training


def test_callbacks_hear_of_everything_in_order() -> None:
    heard: list[str] = []

    class Listener(Callback):
        def on_start(self, trainer: Trainer) -> None:
            heard.append("start")

        def on_step(self, trainer: Trainer) -> None:
            assert math.isfinite(trainer.loss)
            heard.append(f"step {trainer.step}")

        def on_record(self, trainer: Trainer, record: Record) -> None:
            heard.append(f"record {record.step}")

        def on_end(self, trainer: Trainer) -> None:
            heard.append("end")

    make_trainer(callbacks=(Listener(),), max_steps=3, log_interval=2).fit()
    assert heard == ["start", "step 1", "step 2", "record 2", "step 3", "record 3", "end"]


def test_a_loss_that_is_not_finite_leaves_the_weights_alone() -> None:
    trainer = make_trainer()
    trainer.model.blocks[0].ln1.weight.data[0] = np.nan
    before = weights(trainer)
    with pytest.raises(FloatingPointError, match="step 1: loss nan"):
        trainer.fit()
    assert trainer.step == 0
    assert weights(trainer) == before


def test_an_interrupt_in_the_optimizer_waits_for_its_end(ctrl_c) -> None:
    trainer, whole = make_trainer(), make_trainer(max_steps=30)
    take_step = trainer.optimizer.step

    def interrupted_step(*arguments: object) -> None:
        if trainer.step == 5:
            signal.raise_signal(signal.SIGINT)
        take_step(*arguments)

    trainer.optimizer.step = interrupted_step
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert trainer.step == trainer.optimizer.steps == 6
    trainer.optimizer.step = take_step
    trainer.fit()
    whole.fit()
    assert weights(trainer) == weights(whole)


def test_an_interrupt_elsewhere_undoes_the_step_under_way(ctrl_c) -> None:
    trainer = make_trainer()
    loss_and_backward = trainer.model.loss_and_backward

    def interrupted(*arguments: object, **options: object) -> float:
        loss = loss_and_backward(*arguments, **options)
        if trainer.step == 5:
            signal.raise_signal(signal.SIGINT)
        return loss

    trainer.model.loss_and_backward = interrupted
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    trainer.model.loss_and_backward = loss_and_backward
    assert trainer.step == trainer.optimizer.steps == 5
    trainer.fit()
    whole = make_trainer()
    whole.fit()
    assert weights(trainer) == weights(whole)


def test_batches_one_after_the_other_are_one_large_batch(backend) -> None:
    """Also where some of their targets aren't counted, and not the same number in each."""

    class Holes(TextWindows):
        def batch(self, batch_size: int, rng: np.random.Generator) -> tuple:
            inputs, targets = super().batch(batch_size, rng)
            targets[1, 3:] = targets[4:6] = -100
            return inputs, targets

    def run(**settings: int) -> Trainer:
        config = TrainConfig(max_steps=3, warmup_steps=0, eval_steps=1, log_interval=1, **settings)
        trainer = Trainer(make_model(), Holes(TEXT, 16), config)
        trainer.fit()
        return trainer

    parts, whole = run(batch_size=2, accumulate=4), run(batch_size=8)
    for ours, theirs in zip(parts.records, whole.records, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-5)
        assert ours.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-4)


def test_an_optimizer_goes_on_from_its_state() -> None:
    first, second = make_trainer(max_steps=5), make_trainer(max_steps=5)
    first.fit()
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    ours, theirs = first.optimizer.state_dict(), second.optimizer.state_dict()
    assert second.optimizer.steps == 5
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    name = "second.final_norm.weight"
    bent = {n: a for n, a in ours.items() if n != name} | {"x": ours[name], "steps": np.zeros(2)}
    with pytest.raises(ValueError, match=rf"missing {name}; unexpected x; steps has shape"):
        second.optimizer.load_state_dict(bent)
