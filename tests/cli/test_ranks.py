"""`mpirun -n 2 litegpt train`: one run, one voice, one end."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from litegpt.models import GPTModel

Launch = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def launch(mpirun, start, text_file, small, tmp_path) -> Launch:
    """Starts two ranks that train into tmp_path / "m"; a name among their variables."""
    directory = tmp_path / "m"

    def train(*flags: object, file: Path = text_file) -> subprocess.Popen[str]:
        arguments = ("train", file, "--out", directory, *small, *flags)
        return start(*arguments, before=mpirun, OF_TEST=str(tmp_path))

    return train


@pytest.fixture
def endless(launch: Launch, tmp_path: Path) -> subprocess.Popen[str]:
    """A run of a million steps whose first checkpoint is there; others will take its place."""
    process = launch("--max-steps", 1_000_000, "--save-interval", 20)
    deadline = time.monotonic() + 120
    while not checkpoints(tmp_path):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "no checkpoint comes"
        time.sleep(0.02)
    return process


def checkpoints(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "m" / "checkpoints").glob("step-*"))


def rank_1(tmp_path: Path) -> int:
    """The process id of the second rank."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if {b"PMI_RANK=1", f"OF_TEST={tmp_path}".encode()} <= set(variables):
            return int(folder.name)
    raise AssertionError("there is no second rank")


def log(tmp_path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (tmp_path / "m" / "log.jsonl").read_text().splitlines()]


def test_two_ranks_make_one_run_that_goes_on(launch, trained, litegpt, text_file, small, tmp_path):
    stdout, stderr = launch("--batch-size", 2).communicate(timeout=120)
    assert stderr == ""
    lines = stdout.splitlines()
    assert lines[0].endswith("; 2 ranks")
    assert [line.split()[1] for line in lines[1:4]] == ["5", "10", "12"]
    assert len(lines) == 6
    assert sorted(os.listdir(tmp_path / "m")) == sorted(os.listdir(trained))
    alone = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    for here, there in zip(log(tmp_path), alone, strict=True):  # of one process of batch 4
        for name in ("step", "loss", "val_loss", "lr"):
            assert here[name] == pytest.approx(there[name], abs=1e-5)
    stdout, stderr = launch("--batch-size", 2, "--max-steps", 15).communicate(timeout=120)
    assert stderr == ""
    assert "goes on from step 12" in stdout
    assert log(tmp_path)[-1]["step"] == 15


def test_a_rank_that_dies_ends_all_and_the_last_checkpoint_stands(endless, tmp_path) -> None:
    os.kill(rank_1(tmp_path), signal.SIGKILL)
    stdout, stderr = endless.communicate(timeout=120)
    assert endless.returncode != 0
    assert "Killed" in stdout + stderr  # says the launcher
    GPTModel.from_pretrained(checkpoints(tmp_path)[-1])
    with pytest.raises(AssertionError, match="no second rank"):
        rank_1(tmp_path)


@pytest.mark.parametrize("to", ["the launcher", "one rank"])
def test_a_signal_ends_all_ranks_after_the_same_step(endless, tmp_path, to: str) -> None:
    whom = endless.pid if to == "the launcher" else rank_1(tmp_path)
    os.kill(whom, signal.SIGTERM)
    stdout, stderr = endless.communicate(timeout=120)
    assert endless.returncode == 128 + signal.SIGTERM, stderr
    last = stdout.splitlines()[-1]
    assert last.startswith("stopped at step ")
    step = int(last.split()[3].rstrip(";"))
    GPTModel.from_pretrained(tmp_path / "m" / "checkpoints" / f"step-{step:06}")


def test_a_mistake_ends_all_ranks(launch, tmp_path) -> None:
    stdout, stderr = launch(file=tmp_path / "absent").communicate(timeout=120)
    assert stdout == ""
    assert "litegpt: rank 0 of 2: " in stderr and "absent: No such file" in stderr
    assert "rank 1" not in stderr


def test_a_missing_mpi_is_one_line(mpirun, litegpt, refused, text_file, tmp_path) -> None:
    absent = tmp_path / "libmpi.so"
    command = ("train", text_file, "--out", tmp_path / "m")
    done = litegpt(*command, PMI_SIZE="2", MPI4PY_LIBMPI=str(absent))
    refused(done, [str(absent)])
