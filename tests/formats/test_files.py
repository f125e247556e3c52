"""Files are there whole, or as they were before; a foreign directory isn't touched."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from litegpt.formats import check_destination, write_checkpoint, write_together

TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3)}


def test_files_take_their_places_together(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("old")

    def write_second(path: Path) -> None:
        assert first.read_text() == "old"  # nothing is in place before everything is written
        path.write_text("new 2")

    write_together({first: lambda path: path.write_text("new 1"), second: write_second})
    assert (first.read_text(), second.read_text()) == ("new 1", "new 2")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failure_leaves_everything_as_it_was(tmp_path: Path, error: type) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("old")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise error

    with pytest.raises(error):
        write_together({first: lambda path: path.write_text("new"), second: fail})
    assert first.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["first"]


def test_a_device_or_pipe_is_not_replaced(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(FileExistsError, match="not a file") as caught:
            write_together({path: lambda partial: partial.write_text("new")})
        assert caught.value.filename == str(path)
    assert pipe.is_fifo() and link.is_symlink() and len(list(tmp_path.iterdir())) == 2


def test_a_failure_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    absent = tmp_path / "absent" / "file"
    with pytest.raises(FileNotFoundError) as caught:
        write_together({absent: lambda path: None})
    assert caught.value.filename == str(absent)
    (tmp_path / ".file.partial").mkdir()  # which is no more removed than from a read-only system
    with pytest.raises(IsADirectoryError) as blocked:
        write_together({tmp_path / "file": lambda path: path.write_text("new")})
    assert blocked.value.filename == str(tmp_path / "file")


def test_a_checkpoint_that_can_not_be_written(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    write_checkpoint(directory, {"n": 1}, TENSORS)
    before = {p.name: p.read_bytes() for p in directory.iterdir()}
    with pytest.raises(ValueError, match="JSON"):
        write_checkpoint(directory, {"n": float("nan")}, {})
    os.mkdir(directory / ".config.json.partial")  # where the config can't be written, then
    with pytest.raises(OSError):
        write_checkpoint(directory, {"n": 2}, TENSORS)
    os.rmdir(directory / ".config.json.partial")
    assert {p.name: p.read_bytes() for p in directory.iterdir()} == before


def test_a_new_directory_goes_again_when_nothing_comes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str, encoding: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(tmp_path / "model", {}, TENSORS)
    assert not list(tmp_path.iterdir())


def test_where_a_model_may_be_written(tmp_path: Path) -> None:
    check_destination(tmp_path / "new")
    check_destination(tmp_path)  # empty
    for name in ("tokenizer.json", "log.jsonl", ".model.safetensors.partial"):
        (tmp_path / name).touch()
    check_destination(tmp_path)  # of a run that hasn't saved yet
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"holds something else \(thesis.tex\)"):
        write_checkpoint(tmp_path, {}, TENSORS)
    assert not (tmp_path / "model.safetensors").exists()
    with pytest.raises(ValueError, match="a file; a model needs a directory"):
        check_destination(tmp_path / "thesis.tex")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="something else"):
        check_destination(tmp_path)  # a config.json alone makes no model
    (tmp_path / "model.safetensors").touch()
    check_destination(tmp_path)


def test_a_checkpoint_is_readable_by_others(tmp_path: Path) -> None:
    """As other files are: its mode comes from the umask."""
    write_checkpoint(tmp_path / "model", {"n": 1}, TENSORS)
    (tmp_path / "plain").touch()
    for path in (tmp_path / "model").iterdir():
        assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert json.loads((tmp_path / "model" / "config.json").read_text()) == {"n": 1}
