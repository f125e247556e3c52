"""`litegpt tokenize`, and what `litegpt train` takes besides one text."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from litegpt.formats import TokenFile
from litegpt.text import load_tokenizer

LINES = [
    {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
    for q, a in (("one and one?", "two"), ("two and two?", "four"), ("none?", "zero"))
] * 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    (folder / "below").mkdir(parents=True)
    for number in range(20):
        (folder / "below" / f"{number}.txt").write_text(f"number {number} of twenty\n" * 3)
    (folder / "picture.png").write_bytes(b"\x89PNG\0")
    return folder


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    path = tmp_path / "talks.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return path


def records(directory: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]


def test_tokens_made_once_train_as_the_texts_do(litegpt, folder, small, tmp_path) -> None:
    done = litegpt("tokenize", folder, "--out", tmp_path / "t")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == f"passed over: a file that isn't text ({folder / 'picture.png'})"
    assert second.startswith("20 files: 1,170 tokens in 20 documents (")
    names = sorted(os.listdir(tmp_path / "t"))
    assert names == ["tokenizer.json", "tokenizer_config.json", "tokens.safetensors"]
    file, tokenizer = (
        TokenFile(tmp_path / "t" / "tokens.safetensors"),
        load_tokenizer(tmp_path / "t"),
    )
    wanted = "".join(path.read_text() for path in sorted((folder / "below").iterdir()))
    assert tokenizer.decode(file.ids.tolist()) == wanted
    direct = litegpt("train", folder, "--out", tmp_path / "a", *small)
    made = litegpt("train", tmp_path / "t", "--out", tmp_path / "b", *small)
    assert (direct.returncode, made.returncode) == (0, 0), direct.stderr + made.stderr
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]
    assert not (tmp_path / "b" / "tokens.safetensors").exists()
    before = (tmp_path / "t" / "tokens.safetensors").stat().st_ino
    assert litegpt("tokenize", folder, "--out", tmp_path / "t").returncode == 0
    assert (tmp_path / "t" / "tokens.safetensors").stat().st_ino == before


def test_conversations_are_learned_in_their_answers(litegpt, talks, small, tmp_path) -> None:
    sizes = [*small, "--max-seq-len", 96, "--tokenizer", "byte"]
    done = litegpt("train", talks, "--out", tmp_path / "m", *sizes)
    assert done.returncode == 0, done.stderr
    assert "in 60 documents (256 different, byte)" in done.stdout
    file = TokenFile(tmp_path / "m" / "tokens.safetensors")
    given, answer = b"User: one and one?\nAssistant:", b" two\nUser:"
    first = file.ids[: file.borders[1]].astype(np.uint8)
    assert bytes(first) == given + answer
    assert file.given[:, 0].tolist() == [0, len(given)]
    flags = {"default": (), "crossing": ("--no-borders",), "windows": ("--no-pack",)}
    losses = {}
    for name, more in flags.items():
        done = litegpt("train", talks, "--out", tmp_path / name, *sizes, *more)
        assert done.returncode == 0, done.stderr
        losses[name] = records(tmp_path / name)[-1]["val_loss"]
    assert len(set(losses.values())) == 3
    assert losses["default"] == records(tmp_path / "m")[-1]["val_loss"]


def test_a_run_does_not_go_on_with_other_texts(litegpt, text_file, small, tmp_path) -> None:
    (tmp_path / "text").write_text(text_file.read_text())
    done = litegpt("train", tmp_path / "text", "--out", tmp_path / "m", *small)
    assert done.returncode == 0, done.stderr
    (tmp_path / "text").write_text(text_file.read_text().replace("question", "questiox"))
    more = [*small, "--max-steps", 14]
    done = litegpt("train", tmp_path / "text", "--out", tmp_path / "m", *more)
    assert done.returncode == 2
    assert "data" in done.stderr and "--restart" in done.stderr


BAD = {
    "a line": (["lines.jsonl"], ["lines.jsonl: line 2: not JSON"]),
    "a field": (["fields.jsonl"], ["fields.jsonl: line 1: must hold", '"question"']),
    "no match": (["*.md"], ["*.md: matches no text"]),
    "an empty folder": (["nothing"], ["nothing: a directory without any text in it"]),
    "binary": (["picture"], ["picture: a binary file", "byte tokenizer"]),
    "one of several": (["good.txt", "absent"], ["absent: No such file"]),
    "too little to pack": (["one.jsonl"], ["one.jsonl: too few documents (1)"]),
}


@pytest.mark.parametrize(
    ("verb", "name"), [*(("train", name) for name in BAD), ("tokenize", "a line")]
)
def test_what_is_wrong_is_one_line(litegpt, refused, small, tmp_path, name, verb) -> None:
    for file, content in {
        "lines.jsonl": '{"text": "a"}\n{"text"\n',
        "fields.jsonl": '{"question": "a", "answer": "b"}\n',
        "good.txt": "good " * 50,
        "picture": "\x89PNG\0",
        "one.jsonl": '{"prompt": "what?", "completion": "that"}',
    }.items():
        (tmp_path / file).write_text(content)
    (tmp_path / "nothing").mkdir()
    paths, named = BAD[name]
    done = litegpt(
        verb, *(tmp_path / path for path in paths), "--out", tmp_path / "m",
        *(small if verb == "train" else ()),
    )  # fmt: skip
    refused(done, named)
    assert not (tmp_path / "m").exists()


def test_where_tokens_may_go_and_what_goes_with_them(
    litegpt, refused, text_file, small, tmp_path
) -> None:
    done = litegpt("tokenize", text_file, "--out", tmp_path / "t", "--tokenizer", "byte")
    assert done.returncode == 0, done.stderr
    train = ["train", tmp_path / "t", "--out", tmp_path / "m", *small]
    refused(litegpt(*train, "--tokenizer", "char"), ["holds tokens", "leave --tokenizer out"])
    (tmp_path / "t" / "tokens.safetensors").write_bytes(b"\0" * 99)
    refused(litegpt(*train), ["tokens.safetensors: not a whole safetensors file"])
    assert litegpt("tokenize", text_file, "--out", tmp_path / "t").returncode == 0
    other = litegpt("tokenize", text_file, "--out", tmp_path / "o", "--tokenizer", "byte")
    assert other.returncode == 0
    (tmp_path / "o" / "tokenizer.json").replace(tmp_path / "t" / "tokenizer.json")
    refused(litegpt(*train), ["made with another tokenizer"])
    (tmp_path / "t" / "mine").write_text("mine")
    refused(litegpt("tokenize", text_file, "--out", tmp_path / "t"), ["something else (mine)"])
    refused(litegpt("tokenize", text_file, "--out", text_file), ["a file"])


def test_tokens_beyond_the_vocabulary_are_one_line(litegpt, text_file, small, tmp_path) -> None:
    assert litegpt("tokenize", text_file, "--out", tmp_path / "t").returncode == 0
    path = tmp_path / "t" / "tokens.safetensors"
    metadata, tokens = TokenFile(path).metadata, load_file(path)
    tokens["tokens"][:] = 999
    save_file(tokens, path, dict(metadata))
    done = litegpt("train", tmp_path / "t", "--out", tmp_path / "m", *small)
    assert done.returncode == 2
    assert done.stderr.startswith("litegpt: error: the data: id 999 at position 0 is outside")
    assert done.stderr.count("\n") == 1


def test_a_bar_on_a_terminal(terminal, text_file, tmp_path) -> None:
    pytest.importorskip("rich", reason="the bar is rich's")
    shown = terminal("tokenize", text_file, "--out", tmp_path / "t")
    assert "\x1b[" in shown and "bytes" in shown
    assert "1,290 tokens (17 different, char)" in shown


def test_ctrl_c_while_processes_tokenise_leaves_nothing(start, tmp_path) -> None:
    """Two processes are busy with a file of many names; they go without a word."""
    (tmp_path / "texts").mkdir()
    first = tmp_path / "texts" / "0.jsonl"
    first.write_text('{"text": "to be or not to be, "}\n'.replace("to", "to" * 40) * 20_000)
    for number in range(1, 400):  # work for minutes, of which seconds are done
        os.link(first, tmp_path / "texts" / f"{number}.jsonl")
    process = start(
        "tokenize", tmp_path / "texts", "--out", tmp_path / "t", "--tokenizer", "byte",
        LITEGPT_NUM_THREADS="2",
    )  # fmt: skip
    partial = tmp_path / "t" / ".tokens.safetensors.partial"
    deadline = time.monotonic() + 120
    while not partial.exists() or partial.stat().st_size < 8192:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    for pid in (*map(int, children), process.pid):  # as a terminal does
        os.kill(pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert (process.returncode, stderr) == (130, "")
    assert not (tmp_path / "t").exists()
