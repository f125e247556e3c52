"""Checkpoints on disk: what they hold, which stay, and what becomes of broken ones."""

import json
import os
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from litegpt.models import GPTModel
from litegpt.training import Callback, CheckpointError, Checkpoints, Trainer

FILES = ["config.json", "model.safetensors", "optimizer.safetensors", "state.json"]


class Notices(Callback):
    def __init__(self) -> None:
        self.said: list[str] = []

    def on_notice(self, trainer: Trainer, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def finished(make_run: Callable[..., Trainer], tmp_path: Path) -> Trainer:
    """A run of 20 steps in tmp_path, with checkpoints of all evaluations and every 4 steps."""
    trainer = make_run(checkpoints=Checkpoints(tmp_path), keep_last=3)
    trainer.fit()
    return trainer


def steps(directory: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in (directory / "checkpoints").iterdir())


def test_a_checkpoint_holds_the_whole_run(finished, tmp_path) -> None:
    path = tmp_path / "checkpoints" / "step-000020"
    assert sorted(os.listdir(path)) == FILES
    for name, array in GPTModel.from_pretrained(path).state_dict().items():
        assert array.tobytes() == finished.model.state_dict()[name].tobytes()
    stored = load_file(path / "optimizer.safetensors")
    own = finished.optimizer.state_dict()
    assert stored.keys() == own.keys()
    assert all(stored[name].tobytes() == own[name].tobytes() for name in own)
    state = json.loads((path / "state.json").read_text())
    assert state["run"]["step"] == 20
    assert state["run"]["best_loss"] == min(r.val_loss for r in finished.records if r.val_loss)
    assert state["settings"]["seed"] == 7
    assert state["model"]["hidden_dim"] == 16
    assert state["data"] == finished.data.fingerprint
    assert sorted(state["sha256"]) == FILES


def test_the_last_ones_and_the_best_stay(make_run, tmp_path) -> None:
    """A learning rate that spoils what was learned: the best is an early one."""

    class Spoil(Callback):
        def on_step(self, trainer: Trainer) -> None:
            if trainer.step == 10:
                for parameter in trainer.model.parameters():
                    parameter.data *= -10

    trainer = make_run(
        checkpoints=Checkpoints(tmp_path), callbacks=[Spoil()], keep_last=2, on_spike="ignore",
        learning_rate=1e-3, min_learning_rate=1e-3,
    )  # fmt: skip
    trainer.fit()
    assert trainer.state.best_step == 5
    assert steps(tmp_path) == [5, 16, 20]
    best = (tmp_path / "checkpoints" / "step-000005" / "model.safetensors").read_bytes()
    assert (tmp_path / "model.safetensors").read_bytes() == best


def test_the_best_model_takes_its_space_once(finished, tmp_path) -> None:
    best = tmp_path / "checkpoints" / f"step-{finished.state.best_step:06}"
    assert (tmp_path / "model.safetensors").samefile(best / "model.safetensors")


def test_where_no_links_can_be_made_it_is_a_copy(make_run, tmp_path, monkeypatch) -> None:
    def no_links(*paths: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    trainer = make_run(checkpoints=Checkpoints(tmp_path))
    trainer.fit()
    best = tmp_path / "checkpoints" / f"step-{trainer.state.best_step:06}" / "model.safetensors"
    assert (tmp_path / "model.safetensors").read_bytes() == best.read_bytes()
    assert not (tmp_path / "model.safetensors").samefile(best)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", [cut, flip, Path.unlink])
def test_a_broken_checkpoint_gives_way_to_the_one_before(
    harm, name, finished, make_run, everything, tmp_path
) -> None:
    assert steps(tmp_path)[-2:] == [16, 20]
    harm(tmp_path / "checkpoints" / "step-000020" / name)
    notices = Notices()
    again = make_run(checkpoints=Checkpoints(tmp_path), callbacks=[notices], keep_last=3)
    assert again.resume()
    assert again.step == 16
    (said,) = notices.said
    assert str(tmp_path / "checkpoints" / "step-000020" / name) in said
    assert "goes on from step-000016" in said
    assert 20 not in steps(tmp_path)
    again.fit()
    assert everything(again) == everything(finished)
    GPTModel.from_pretrained(tmp_path)


def test_when_all_are_broken_it_says_so_and_removes_nothing(finished, make_run, tmp_path) -> None:
    before = steps(tmp_path)
    for step in before:
        cut(tmp_path / "checkpoints" / f"step-{step:06}" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"no checkpoint is whole: .*not as it was written"):
        make_run(checkpoints=Checkpoints(tmp_path)).resume()
    assert steps(tmp_path) == before


def test_a_file_of_a_checkpoint_s_name_is_none(finished, make_run, tmp_path) -> None:
    (tmp_path / "checkpoints" / "step-000099").write_text("a note")
    again = make_run(checkpoints=Checkpoints(tmp_path), max_steps=21)
    assert again.resume()
    again.fit()
    assert steps(tmp_path)[-2:] == [21, 99]


def test_what_a_killed_process_left_is_removed(finished, make_run, tmp_path) -> None:
    folder = tmp_path / "checkpoints"
    for name in (".step-000024.partial", ".step-000004.discarded"):
        (folder / name).mkdir()
        (folder / name / "model.safetensors").write_bytes(b"half")
    again = make_run(checkpoints=Checkpoints(tmp_path), max_steps=24)
    again.resume()
    assert all(name.startswith("step-") for name in os.listdir(folder))  # should that be all
    again.fit()
    assert sorted(os.listdir(folder)) == ["step-000020", "step-000024"]


class Limited(Callback):
    """Files of this process can't be written after step 9, and can again after step `until`.

    And after the block, which ends before pytest writes of the test: that may be to a file as well.
    """

    def __init__(self, until: int = 99) -> None:
        self.until, self.before = until, resource.getrlimit(resource.RLIMIT_FSIZE)

    def __enter__(self) -> "Limited":
        return self

    def __exit__(self, *exception: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)

    def on_step(self, trainer: Trainer) -> None:
        if trainer.step in (9, self.until):
            most = 4096 if trainer.step == 9 else self.before[0]
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, self.before[1]))


def test_where_nothing_can_be_written_the_run_stops(make_run, everything, tmp_path) -> None:
    with Limited() as limited, pytest.raises(CheckpointError) as raised:
        trainer = make_run(checkpoints=Checkpoints(tmp_path), callbacks=[limited])
        trainer.fit()
    folder = tmp_path / "checkpoints"
    assert str(raised.value) == (
        f"{folder / 'step-000010'}: this checkpoint can't be written (File too large); "
        "that of step 8 is whole"
    )
    assert trainer.step == 10
    assert sorted(os.listdir(folder)) == ["step-000005", "step-000008"]
    again, whole = make_run(checkpoints=Checkpoints(tmp_path)), make_run()
    again.resume()
    again.fit(), whole.fit()
    assert everything(again) == everything(whole)


def test_or_goes_on_if_asked(make_run, everything, tmp_path) -> None:
    notices = Notices()
    with Limited(until=15) as limited:
        options = {"callbacks": [notices, limited], "on_save_error": "continue"}
        trainer = make_run(checkpoints=Checkpoints(tmp_path), **options)
        trainer.fit()
    assert [text.split(":")[0][-6:] for text in notices.said] == ["000010", "000012"]
    assert all("can't be written" in text and "goes on" in text for text in notices.said)
    assert steps(tmp_path) == [16, 20]
    whole = make_run(on_save_error="continue")
    whole.fit()
    assert everything(trainer) == everything(whole)


def test_a_run_whose_last_checkpoint_can_t_be_written_fails(make_run, tmp_path) -> None:
    problem = pytest.raises(CheckpointError, match=r"step-000020: .*; that of step 8 is whole")
    with Limited() as limited, problem:
        options = {"callbacks": [limited], "on_save_error": "continue"}
        make_run(checkpoints=Checkpoints(tmp_path), **options).fit()


@pytest.fixture
def read_only():
    """read_only(folder) takes the right to write to a folder, from root as well, until the end."""
    was_root = os.geteuid() == 0

    def forbid(folder: Path) -> None:
        folder.chmod(0o555)
        if was_root:
            os.seteuid(65534)  # nobody

    yield forbid
    if was_root:
        os.seteuid(0)


@pytest.mark.parametrize("asked", ["stop", "continue"])
def test_a_folder_that_becomes_read_only(asked, make_run, everything, read_only) -> None:
    class Forbid(Callback):
        def on_step(self, trainer: Trainer) -> None:
            if trainer.step == 9:
                read_only(folder)

    with tempfile.TemporaryDirectory() as directory:  # which others than its owner may enter, too
        os.chmod(directory, 0o755)
        folder, notices = Path(directory, "checkpoints"), Notices()
        options = {"callbacks": [notices, Forbid()], "on_save_error": asked, "max_steps": 14}
        trainer = make_run(checkpoints=Checkpoints(directory), **options)
        with pytest.raises(CheckpointError, match=r"written \(Permission denied\); that of step 8"):
            trainer.fit()
        assert trainer.step == (10 if asked == "stop" else 14)
        assert len(notices.said) == (0 if asked == "stop" else 3)
        assert not any("\n" in text for text in notices.said)
        assert sorted(os.listdir(folder)) == ["step-000005", "step-000008"]
        GPTModel.from_pretrained(directory)
        if os.getuid() == 0:
            os.seteuid(0)
        folder.chmod(0o755)
        again = make_run(checkpoints=Checkpoints(directory), max_steps=14)
        whole = make_run(max_steps=14)
        assert again.resume()
        again.fit(), whole.fit()
        assert everything(again) == everything(whole)


def test_a_model_of_no_weight_family_is_refused_in_a_line(tmp_path, make_run) -> None:
    trainer = make_run()
    model = GPTModel(32, 16, 1, 2, 16, norm="rmsnorm", position="learned", seed=0)
    other = Trainer(model, trainer.data, trainer.config, checkpoints=Checkpoints(tmp_path))
    with pytest.raises(CheckpointError, match=r"can't be written \(no weight family .*none yet"):
        other.fit()
    assert np.all([np.isfinite(p.data).all() for p in model.parameters()])
