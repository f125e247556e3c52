"""`litegpt chat` and `litegpt eval`, from the outside."""

import json
import math
import signal
import subprocess

import numpy as np
import pytest

from litegpt.generation import Chat, TextModel, evaluate
from litegpt.models import GPTModel
from litegpt.text import ByteTokenizer


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    directory = tmp_path_factory.mktemp("talker") / "model"
    model = GPTModel(256, 256, 1, 2, 16, dropout=0.0, init_std=0.2, seed=0)
    model.save_pretrained(directory)
    ByteTokenizer().save(directory)
    return directory


@pytest.fixture
def converse(start):
    """Starts a chat whose lines come through a pipe."""

    def launch(*flags: object) -> subprocess.Popen[str]:
        return start("chat", *flags, stdin=subprocess.PIPE)

    return launch


def test_a_conversation_is_that_of_the_library(converse, talker) -> None:
    flags = ["--model", talker, "--seed", 4, "--max-new-tokens", 9, "--system", "Hm."]
    process = converse(*flags)
    lines = ["hi", "/reset", "hi", "more", "/system Rhyme.", "hi", "/what", "", "/quit", "never"]
    stdout, stderr = process.communicate("\n".join(lines) + "\n", timeout=120)
    assert (process.returncode, stderr) == (0, "")
    options = {"max_new_tokens": 9, "seed": 4, "temperature": 0.8, "top_k": 50}
    model = TextModel.from_pretrained(talker)
    chat, other = Chat(model, "Hm.", **options), Chat(model, "Rhyme.", **options)
    first = "".join(chat.say("hi"))
    more = "".join(chat.say("more"))
    rhyme = "".join(other.say("hi"))
    expected = f"{first}\n(forgotten)\n{first}\n{more}\n(begun anew)\n{rhyme}\n/reset begins"
    assert stdout.replace("\r", "\n").startswith(expected.replace("\r", "\n"))
    assert "never" not in stdout


def test_ctrl_c_ends_the_answer_and_not_the_conversation(converse, talker) -> None:
    process = converse("--model", talker, "--max-new-tokens", 100000000, "--seed", 1)
    process.stdin.write("hi\n")
    process.stdin.flush()
    assert process.stdout.read(10)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate("/reset\n/quit\n", timeout=120)
    assert (process.returncode, stderr) == (0, "")
    assert stdout.endswith("\n(forgotten)\n")


def test_a_text_that_is_too_long_ends_no_conversation_in_a_terminal(terminal, talker) -> None:
    flags = ["--model", talker, "--seed", 4, "--max-new-tokens", 9]
    shown = terminal("chat", *flags, typed=f"{'long ' * 60}\nhi\n/reset\n/quit\n")
    assert "(316 tokens leave no room for an answer in 256)\r\n> hi\r\n" in shown
    assert shown.endswith("(forgotten)\r\n> /quit\r\n")


@pytest.mark.parametrize("flags, named", [
    (["--temperature", "-1"], ["temperature must be"]),
    (["--max-new-tokens", "-1"], ["--max-new-tokens must be"]),
    (["--min-p", "2"], ["--min-p must be"]),
])  # fmt: skip
def test_bad_arguments_of_a_chat(converse, talker, flags, named) -> None:
    process = converse("--model", talker, *flags)
    _, stderr = process.communicate("hi\n", timeout=120)
    assert process.returncode == 2
    assert stderr.startswith("litegpt: error: ")
    assert stderr.count("\n") == 1
    assert all(word in stderr for word in named)


def test_eval_is_what_the_library_finds(litegpt, talker, text_file) -> None:
    done = litegpt("eval", text_file, "--model", talker, "--stride", 100, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    model = TextModel.from_pretrained(talker)
    found = evaluate(model.model, model.tokenizer, text_file.read_bytes(), stride=100)
    assert facts["tokens"] == facts["bytes"] == 1289
    assert facts["loss"] == pytest.approx(found.loss)
    assert facts["perplexity"] == pytest.approx(math.exp(found.loss))
    assert facts["bits_per_byte"] == pytest.approx(found.loss / math.log(2))
    shown = litegpt("eval", text_file, "--model", talker, "--stride", 100).stdout
    assert f"1,289 tokens scored; loss {found.loss:.4f}" in shown


def test_a_trained_model_foretells_its_text(litegpt, trained, text_file) -> None:
    done = litegpt("eval", text_file, "--model", trained, "--json")
    assert json.loads(done.stdout)["loss"] < np.log(17) + 0.2


@pytest.mark.parametrize("flags, named", [
    (["--context", "257"], ["context must be at most max_seq_len 256"]),
    (["--stride", "0"], ["stride must be"]),
])  # fmt: skip
def test_bad_arguments_of_eval(litegpt, talker, text_file, refused, flags, named) -> None:
    refused(litegpt("eval", text_file, "--model", talker, *flags), named)


def test_stop_and_penalties_of_generate(litegpt, trained) -> None:
    flags = ["--model", trained, "--seed", 3, "--max-new-tokens", 60, "--repetition-penalty", 1.3]
    free = litegpt("generate", "To be", *flags).stdout
    model = TextModel.from_pretrained(trained)
    options = {"seed": 3, "max_new_tokens": 60, "temperature": 0.8, "top_k": 50}
    text = "".join(model.stream("To be", repetition_penalty=1.3, **options))
    assert free == f"To be{text}\n"
    stop = text[10:12]
    done = litegpt("generate", "To be", *flags, "--stop", stop, "--speculate", 3)
    assert done.stdout == f"To be{text[: text.index(stop)]}\n"


@pytest.mark.parametrize("dtype", ["bfloat16", "q8"])
def test_weights_in_fewer_bits(litegpt, text_file, dtype, tmp_path) -> None:
    model = GPTModel(256, 32, 1, 2, 64, dropout=0.0, init_std=0.2, seed=0)
    model.save_pretrained(tmp_path)
    ByteTokenizer().save(tmp_path)
    losses = {}
    for name in ("float32", dtype):
        flags = ["--model", tmp_path, "--dtype", name, "--json"]
        done = litegpt("eval", text_file, *flags)
        assert done.returncode == 0, done.stderr
        losses[name] = json.loads(done.stdout)["loss"]
    assert losses[dtype] != losses["float32"]
    assert losses[dtype] == pytest.approx(losses["float32"], rel=0.01)
