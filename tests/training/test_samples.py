"""What the model writes meanwhile: kept by step, without a trace in the run."""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np

from litegpt import ByteTokenizer, CharTokenizer, GPTModel
from litegpt.training import Callback, Samples, TextWindows, TrainConfig, Trainer

TEXT = b"the cat sat on the mat, and the dog on the log. " * 40


def make_trainer(samples: list[Callback], **settings: object) -> Trainer:
    settings = {"batch_size": 4, "max_steps": 12, "eval_interval": 5, "eval_steps": 2} | settings
    data = TextWindows(np.array(list(TEXT)), 16)
    model = GPTModel(256, 16, 1, 2, 16, dropout=0.2, seed=0)
    return Trainer(model, data, TrainConfig(**settings), samples)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_text_for_every_evaluation(tmp_path) -> None:
    path = tmp_path / "samples.jsonl"
    samples = Samples(path, ByteTokenizer(), prompt_tokens=4, new_tokens=20)
    trainer = make_trainer([samples])
    trainer.fit()
    assert [line["step"] for line in lines(path)] == [5, 10, 12]
    assert samples.newest == (12, lines(path)[-1]["text"])
    beginning = TEXT[len(TEXT) - len(TEXT) // 10 :][:4]  # of the last tenth
    written = trainer.model.generate([list(beginning)], 20, seed=trainer.config.seed)[0]
    assert lines(path)[-1]["text"] == ByteTokenizer().decode(written)
    assert all(line["text"].startswith(beginning.decode()) for line in lines(path))


def test_writing_changes_nothing_in_the_run(tmp_path) -> None:
    watched = make_trainer([Samples(tmp_path / "samples.jsonl", ByteTokenizer())])
    alone = make_trainer([])
    watched.fit(), alone.fit()
    for (name, here), (_, there) in zip(
        watched.model.named_parameters(), alone.model.named_parameters(), strict=True
    ):
        assert here.data.tobytes() == there.data.tobytes(), name
    assert watched.model.training == alone.model.training


def test_a_text_that_cannot_be_shown_does_not_end_the_run(tmp_path) -> None:
    class Told(Callback):
        notices: ClassVar[list[str]] = []

        def on_notice(self, trainer: Trainer, text: str) -> None:
            self.notices.append(text)

    few = CharTokenizer.from_text("abc")  # the model has 256 ids
    trainer = make_trainer([Samples(tmp_path / "samples.jsonl", few), Told()])
    trainer.fit()
    assert trainer.step == 12
    assert len(Told.notices) == 3
    assert all(notice.startswith("what the model writes can't be") for notice in Told.notices)
    assert lines(tmp_path / "samples.jsonl") == []


def test_a_run_that_goes_on_keeps_the_texts_of_its_steps(tmp_path) -> None:
    path = tmp_path / "samples.jsonl"
    samples = Samples(path, ByteTokenizer())
    trainer = make_trainer([samples])
    trainer.fit()
    first = path.read_text()
    again = make_trainer([Samples(path, ByteTokenizer())], max_steps=17)
    again.state = trainer.state
    again.fit()
    assert path.read_text().startswith(first)
    assert [line["step"] for line in lines(path)] == [5, 10, 12, 15, 17]
