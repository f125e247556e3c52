"""Runs of `litegpt train` that are ended by others, and the same command again."""

import argparse
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from kills import kill_and_resume

from litegpt.cli.training_run import on_ranks
from litegpt.models import GPTModel
from litegpt.training import Alone


def model_of(directory: Path) -> bytes:
    return (directory / "model.safetensors").read_bytes()


def newest(directory: Path) -> Path:
    return max((directory / "checkpoints").iterdir())


def test_six_kills_at_random_moments(tmp_path) -> None:
    """benchmarks/kills.py does it 200 times."""
    outcome = kill_and_resume(6, seed=1, folder=tmp_path)
    assert not outcome.problems
    assert outcome.survived == outcome.kills == 6


@pytest.fixture
def command(text_file, small, tmp_path) -> list[object]:
    """A run of a million steps into tmp_path / "m", with a checkpoint every 100."""
    return ["train", text_file, "--out", tmp_path / "m", *small,
            "--max-steps", 10**6, "--save-interval", 100]  # fmt: skip


def begun(process: subprocess.Popen[str], directory: Path) -> None:
    deadline = time.monotonic() + 120
    while not (directory / "checkpoints").exists() or not list(directory.glob("checkpoints/step*")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "there are no checkpoints"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_save_and_leave(number, start, command, tmp_path, litegpt) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup may have it ignored
    process = start(*command)
    signal.signal(signal.SIGHUP, before)
    begun(process, tmp_path / "m")
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert stderr == ""
    last = stdout.splitlines()[-1]
    assert last.startswith("stopped at step ")
    assert f"{tmp_path / 'm'} holds the model of step" in last
    step = int(last.split("step ")[1].split(";")[0])
    assert newest(tmp_path / "m").name == f"step-{step:06}"
    state = json.loads((newest(tmp_path / "m") / "state.json").read_text())
    assert state["run"]["step"] == step
    again = litegpt(*command, "--max-steps", step + 5)
    assert again.returncode == 0, again.stderr
    assert f"{tmp_path / 'm'}: goes on from step {step}\n" in again.stdout
    GPTModel.from_pretrained(tmp_path / "m")


def test_a_finished_run_says_so(litegpt, text_file, small, tmp_path) -> None:
    command = ["train", text_file, "--out", tmp_path / "m", *small]
    litegpt(*command)
    before = model_of(tmp_path / "m")
    log = (tmp_path / "m" / "log.jsonl").read_text()
    done = litegpt(*command)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == (
        f"{tmp_path / 'm'}: all 12 steps are done; {tmp_path / 'm'} holds the model of step 12. "
        "Higher limits go on from there, --restart begins anew"
    )
    assert model_of(tmp_path / "m") == before
    more = litegpt(*command, "--max-steps", 17)
    assert "goes on from step 12" in more.stdout
    assert (tmp_path / "m" / "log.jsonl").read_text().startswith(log)
    assert model_of(tmp_path / "m") != before


def test_one_process_at_a_time(start, command, litegpt, refused, tmp_path) -> None:
    process = start(*command)
    begun(process, tmp_path / "m")
    refused(litegpt(*command), [str(tmp_path / "m"), "another process trains into it"])
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)  # reads, too: a full pipe would hold the run up
    assert process.returncode == 143


def test_a_broken_checkpoint_is_told_of(litegpt, text_file, small, tmp_path) -> None:
    command = ["train", text_file, "--out", tmp_path / "m", *small, "--save-interval", 4]
    litegpt(*command)
    newest(tmp_path / "m").joinpath("optimizer.safetensors").write_bytes(b"nothing")
    done = litegpt(*command)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert "optimizer.safetensors: not as it was written (its sha256 differs)" in said[1]
    assert said[2] == f"{tmp_path / 'm'}: goes on from step 10"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
@pytest.mark.parametrize("asked", ["stop", "continue"])
def test_a_full_disk(litegpt, start, text_file, small, tmp_path, asked) -> None:
    """A real one, of half a megabyte, which something else fills while the run goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        command = ["train", text_file, "--out", disk / "m", *small, "--max-steps", 10**6,
                   "--save-interval", 50, "--on-save-error", asked]  # fmt: skip
        process = start(*command)
        begun(process, disk / "m")
        with (disk / "other").open("wb", buffering=0) as other:
            try:
                while other.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        if asked == "stop":
            _, stderr = process.communicate(timeout=120)
            assert process.returncode == 2
            assert stderr.startswith("litegpt: error: ")
            assert stderr.count("\n") == 1
            assert "No space left on device" in stderr
        else:
            while "training goes on" not in (line := process.stdout.readline()):
                assert line
            assert "No space left on device" in line
            (disk / "other").unlink()
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=120)
            assert process.returncode == 143
        (disk / "other").unlink(missing_ok=True)
        GPTModel.from_pretrained(disk / "m")
        again = litegpt(*command, "--max-steps", 1)
        assert again.returncode == 0, again.stderr
        assert "steps are done" in again.stdout
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_the_time_a_run_may_take(litegpt, text_file, small, tmp_path, refused) -> None:
    at = small.index("--max-steps")
    command = ["train", text_file, "--out", tmp_path / "m", *small[:at], *small[at + 2 :]]
    command = [*command, "--eval-interval", 100]
    done = litegpt(*command, "--max-time", "1s")
    assert done.returncode == 0, done.stderr
    state = json.loads((newest(tmp_path / "m") / "state.json").read_text())["run"]
    assert state["step"] == state["planned_steps"] > 0
    assert state["planned_time"] == 1.0
    again = litegpt(*command, "--max-time", "1s")
    assert f"all {state['step']} steps are done" in again.stdout
    for words in ("soon", "0s"):
        refused(litegpt(*command, "--max-time", words), ["--max-time", words, "1h30m"])
    refused(litegpt(*command, "--max-time", "1m", "--max-steps", 5), ["--max-steps", "--max-time"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_the_first_step_leaves_in_order(number: signal.Signals) -> None:
    """While texts become tokens, say: the code that shells expect, and what was begun is undone."""
    undone = []

    def train(arguments: argparse.Namespace, team: Alone) -> int:
        try:
            signal.raise_signal(number)
            return 0
        finally:
            undone.append(number)

    with pytest.raises(SystemExit) as left:
        on_ranks(train, argparse.Namespace())
    assert left.value.code == 128 + number and undone == [number]
    assert signal.getsignal(number) is signal.SIG_DFL
