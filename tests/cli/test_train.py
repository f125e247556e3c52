"""`litegpt train`, from the outside."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from litegpt.models import GPTModel
from litegpt.text import load_tokenizer

MODEL = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
FILES = sorted(["checkpoints", "log.jsonl", "samples.jsonl", "tokens.safetensors", *MODEL])


def contents(directory: Path) -> dict[str, bytes]:
    """Files by path, those in folders too."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def test_it_leaves_a_model_a_tokenizer_and_a_log(trained, text_file) -> None:
    assert sorted(os.listdir(trained)) == FILES
    model, tokenizer = GPTModel.from_pretrained(trained), load_tokenizer(trained)
    assert tokenizer.decode(tokenizer.encode(text_file.read_text())) == text_file.read_text()
    assert model.vocab_size == tokenizer.vocab_size == len(set(text_file.read_text()))
    assert (model.num_layers, model.num_heads, model.hidden_dim) == (1, 2, 8)
    assert model.max_seq_len == 8
    records = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [5, 10, 12]
    assert all(record["val_loss"] > 0 for record in records)
    assert all(set(r) >= {"step", "loss", "lr", "grad_norm", "tokens_per_s"} for r in records)


def test_plain_lines_where_nobody_watches(litegpt, text_file, tmp_path, small) -> None:
    done = litegpt("train", text_file, "--out", tmp_path / "m", *small)
    lines = done.stdout.splitlines()
    assert done.stderr == ""
    assert "1,290 tokens (17 different, char)" in lines[0]
    assert [line.split()[1] for line in lines[1:4]] == ["5", "10", "12"]
    assert all("loss" in line and "tokens/s" in line for line in lines[1:4])
    assert "validation loss" in lines[-2]
    assert lines[-1] == f"try: litegpt generate --model {tmp_path / 'm'}"
    assert "\x1b" not in done.stdout


def test_a_live_panel_on_a_terminal(terminal, text_file, small, tmp_path) -> None:
    pytest.importorskip("rich", reason="the live panel is rich's")
    shown = terminal("train", text_file, "--out", tmp_path / "m", *small)
    assert "\x1b[" in shown
    assert shown.count("  val ") == 3
    *_, last = shown.split("step 12 of 12")
    for figure in ("loss 2.", "best val 2.", "tokens/s", "lr 0.0001", "MiB", "0:00 left"):
        assert figure in last
    assert any("\u2800" < character <= "\u28ff" for character in last)  # curves
    assert "step 12 writes: " in last
    assert "validation loss" in last


def test_plain_lines_on_a_terminal_without_the_signs(terminal, text_file, small, tmp_path) -> None:
    for number, lacking in enumerate(({"PYTHONIOENCODING": "ascii"}, {"TERM": "dumb"})):
        shown = terminal("train", text_file, "--out", tmp_path / str(number), *small, **lacking)
        assert "step 12  loss" in shown and "of 12" not in shown


def test_a_name_that_the_output_can_not_hold(litegpt, small, tmp_path) -> None:
    """One that isn't UTF-8, as Linux allows."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("To be, or not to be\n" * 20)
    (folder / os.fsdecode(b"\xff.bin")).write_bytes(bytes(9))
    done = litegpt("train", folder, "--out", tmp_path / "m", *small, PYTHONIOENCODING="utf-8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"passed over: a file that isn't text ({folder}/?.bin)\n")


def test_a_validation_that_holds_nothing_to_learn(litegpt, small, tmp_path) -> None:
    """One window, in a long prompt."""
    line = json.dumps({"prompt": "To be, or not to be? " * 9, "completion": "To be."})
    (tmp_path / "rare.jsonl").write_text(f"{line}\n" * 30)
    few = ["--no-pack", "--batch-size", 1, "--eval-steps", 1]
    done = litegpt("train", tmp_path / "rare.jsonl", "--out", tmp_path / "m", *small, *few)
    assert done.returncode == 0, done.stderr
    assert "no validation loss: its windows hold nothing to learn after 0:0" in done.stdout
    assert "model of step 12" in done.stdout


def test_plain_lines_on_a_terminal_without_rich(terminal, text_file, small, tmp_path) -> None:
    (tmp_path / "rich.py").write_text("raise ImportError('not installed')\n")
    shown = terminal("train", text_file, "--out", tmp_path / "m", *small, PYTHONPATH=str(tmp_path))
    assert "\x1b" not in shown
    assert shown.count("  val ") == 3


def test_the_same_seed_gives_the_same_files(litegpt, text_file, trained, tmp_path, small) -> None:
    for name, seed in (("same", 1337), ("other", 1338)):
        litegpt("train", text_file, "--out", tmp_path / name, "--seed", seed, *small)
    first = contents(trained)["model.safetensors"]
    assert contents(tmp_path / "same")["model.safetensors"] == first
    assert contents(tmp_path / "other")["model.safetensors"] != first


def test_the_byte_tokenizer_takes_any_file(litegpt, tmp_path, small) -> None:
    (tmp_path / "data").write_bytes(bytes(range(256)) * 4)
    done = litegpt(
        "train", tmp_path / "data", "--out", tmp_path / "m", "--tokenizer", "byte", *small
    )
    assert done.returncode == 0, done.stderr
    assert GPTModel.from_pretrained(tmp_path / "m").vocab_size == 256


def test_without_a_file_it_learns_what_python_carries(litegpt, tmp_path, small) -> None:
    done = litegpt("train", "--out", tmp_path / "m", *small, "--max-steps", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("pydoc_data: ")
    load_tokenizer(tmp_path / "m").encode("The statement:\n")


def test_an_earlier_run_is_replaced_if_asked(
    litegpt, text_file, trained, tmp_path, small, refused
) -> None:
    shutil.copytree(trained, tmp_path / "m")
    command = ["train", text_file, "--out", tmp_path / "m", *small, "--seed", 5]
    done = litegpt(*command)
    assert done.returncode == 2
    assert "has seed 1337, not 5" in done.stderr
    assert "--restart begins anew" in done.stderr
    assert contents(tmp_path / "m") == contents(trained)
    done = litegpt(*command, "--restart")
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path / "m")) == FILES
    assert contents(tmp_path / "m")["model.safetensors"] != contents(trained)["model.safetensors"]


def test_products_in_bfloat16(litegpt, text_file, trained, tmp_path, small) -> None:
    command = ["train", text_file, "--out", tmp_path / "m", *small]
    done = litegpt(*command, "--precision", "bfloat16", LITEGPT_BACKEND="baseline")
    assert done.returncode == 0, done.stderr
    assert "precision bfloat16 makes nothing faster here: baseline has no" in done.stdout
    assert contents(tmp_path / "m")["model.safetensors"] != contents(trained)["model.safetensors"]
    done = litegpt(*command)
    assert done.returncode == 2
    assert "has precision 'bfloat16', not 'float32'" in done.stderr


# What is wrong with FILE or the flags, and what the one line has to name.
BAD_FILES = {
    "missing": (None, ["missing", "No such file"]),
    "a folder": ("folder", ["a folder", "directory"]),
    "empty": (b"", ["empty"]),
    "too short": (b"To be", ["too short", "5 tokens", "windows of 8"]),
    "not UTF-8": (b"To be \xff or not" * 20, ["not UTF-8", "0xff", "offset 6", "byte tokenizer"]),
}
BAD_FLAGS = [
    (["--hidden-dim", "10", "--num-heads", "4"], ["10", "4", "divisible"]),
    (["--num-layers", "0"], ["--num-layers"]),
    (["--max-seq-len", "0"], ["--max-seq-len"]),
    (["--max-seq-len", "x"], ["--max-seq-len", "x"]),
    (["--batch-size", "0"], ["--batch-size", "1 or more"]),
    (["--max-steps", "-1"], ["--max-steps", "1 or more"]),
    (["--learning-rate", "nan"], ["--learning-rate", "finite"]),
    (["--learning-rate", "1e-9"], ["--min-learning-rate", "--learning-rate"]),
    (["--dropout", "-0.5"], ["dropout"]),
    (["--precision", "half"], ["precision", "float32, bfloat16", "half"]),
    (["--seed", "-1"], ["seed", "0 or more"]),
    (["--tokenizer", "word"], ["--tokenizer word: no such path", "char", "byte"]),
    (["--no-such-flag"], ["--no-such-flag"]),
    (["--hidden-dim", "100000000"], ["GiB", "this machine has"]),
    (["--num-layers", "100000000", "--hidden-dim", "4"], ["GiB", "this machine has"]),
    (["--batch-size", "10000000000"], ["GB of memory", "are there: a smaller --batch-size"]),
    (["--freeze", "absent.*"], ["no parameter is called 'absent.*'"]),
    (["--freeze", "*"], ["freeze * leaves no parameter to train"]),
    (["--max-seq-len", "2000"], ["1290 tokens", "windows of 2000"]),
]


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(litegpt, tmp_path, name, refused, small) -> None:
    content, named = BAD_FILES[name]
    if content == "folder":
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    done = litegpt("train", tmp_path / name, "--out", tmp_path / "m", *small)
    refused(done, named)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("flags, named", BAD_FLAGS, ids=lambda value: " ".join(value))
def test_bad_flags(litegpt, text_file, tmp_path, flags, named, refused, small) -> None:
    done = litegpt("train", text_file, "--out", tmp_path / "m", *small, *flags)
    refused(done, named)
    assert not (tmp_path / "m").exists()


def test_out_has_to_be_named(litegpt, text_file, refused) -> None:
    refused(litegpt("train", text_file), ["--out"])


@pytest.mark.parametrize(
    "held", [["notes.txt"], ["config.json", "model.safetensors"], [*MODEL, "log.jsonl", "x"]]
)
def test_a_directory_that_holds_something_else(
    litegpt, text_file, tmp_path, held, refused, small
) -> None:
    (tmp_path / "m").mkdir()
    for name in held:
        (tmp_path / "m" / name).write_text("mine")
    done = litegpt("train", text_file, "--out", tmp_path / "m", *small)
    refused(done, [str(tmp_path / "m"), "something else"])
    assert contents(tmp_path / "m") == dict.fromkeys(held, b"mine")


def test_out_that_is_a_file_or_under_one(litegpt, text_file, tmp_path, refused, small) -> None:
    refused(litegpt("train", text_file, "--out", text_file, *small), ["a file"])
    done = litegpt("train", text_file, "--out", text_file / "m", *small)
    refused(done, [str(text_file / "m")])
    assert text_file.read_text() == text_file.read_text()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_out_that_is_not_writable(litegpt, text_file, tmp_path, refused, small) -> None:
    (tmp_path / "m").mkdir(mode=0o555)
    done = litegpt("train", text_file, "--out", tmp_path / "m", *small)
    refused(done, [str(tmp_path / "m"), "can't be written"])


def test_an_absent_backend(litegpt, text_file, tmp_path, refused, small) -> None:
    done = litegpt("train", text_file, "--out", tmp_path / "m", *small, LITEGPT_BACKEND="abacus")
    refused(done, ["LITEGPT_BACKEND", "abacus", "numpy"])
    assert not (tmp_path / "m").exists()


def test_a_run_that_blows_up_says_so_and_keeps_the_last_good_step(
    litegpt, text_file, tmp_path, small
) -> None:
    flags = ["--learning-rate", "1e30", "--grad-clip", "0", "--max-steps", "200"]
    done = litegpt("train", text_file, "--out", tmp_path / "m", *small, *flags)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("litegpt: error: step ")
    assert "lower learning rate" in done.stderr
    GPTModel.from_pretrained(tmp_path / "m")


@pytest.fixture
def endless(start, text_file, small, tmp_path) -> subprocess.Popen[str]:
    """A run of a million steps into tmp_path / "m", whose log has begun."""
    process = start("train", text_file, "--out", tmp_path / "m", *small, "--max-steps", 1000000)
    wait_for_log(process, tmp_path / "m" / "log.jsonl", lines=8)
    return process


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_a_full_disk_in_the_middle(litegpt, text_file, small, tmp_path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "log.jsonl").symlink_to("/dev/full")
    done = litegpt("train", text_file, "--out", tmp_path / "m", *small)
    assert done.returncode == 2
    log = tmp_path / "m" / "log.jsonl"
    assert done.stderr == f"litegpt: error: {log}: No space left on device\n"
    assert "holds the model of step 5" in done.stdout
    GPTModel.from_pretrained(tmp_path / "m")


def wait_for_log(process: subprocess.Popen[str], log: Path, lines: int) -> None:
    deadline = time.monotonic() + 120
    while not log.exists() or log.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "the log doesn't grow"
        time.sleep(0.02)


def test_ctrl_c_keeps_what_was_learned(endless, tmp_path) -> None:
    endless.send_signal(signal.SIGINT)
    stdout, stderr = endless.communicate(timeout=120)
    assert endless.returncode == 130
    assert stderr == ""
    assert "holds the model of step" in stdout.splitlines()[-1]
    assert sorted(os.listdir(tmp_path / "m")) == FILES
    GPTModel.from_pretrained(tmp_path / "m")
    load_tokenizer(tmp_path / "m")


def test_ctrl_c_before_anything_was_learned_keeps_the_earlier_model(
    start, text_file, small, trained, tmp_path
) -> None:
    shutil.copytree(trained, tmp_path / "m")
    before = contents(tmp_path / "m")
    long_steps = ["--accumulate", 100_000, "--restart"]  # a minute each, on any number of cores
    process = start("train", text_file, "--out", tmp_path / "m", *small, *long_steps)
    assert "parameters" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert stderr == ""
    assert contents(tmp_path / "m") == before


def test_a_reader_that_goes_away_does_not_end_the_run(endless, tmp_path) -> None:
    log = tmp_path / "m" / "log.jsonl"
    endless.stdout.close()
    wait_for_log(endless, log, lines=log.read_bytes().count(b"\n") + 30)
    endless.send_signal(signal.SIGINT)
    assert endless.wait(120) == 130
    assert endless.stderr.read() == ""
    GPTModel.from_pretrained(tmp_path / "m")
