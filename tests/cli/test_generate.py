"""`litegpt generate`, from the outside."""

import argparse
import os
import shutil
import signal
from functools import partial

import numpy as np
import pytest

from litegpt.cli.generate import load
from litegpt.formats import GgufFile
from litegpt.formats.gguf_types import TYPE_NAMED, encode
from litegpt.formats.gguf_write import GgufTensor, write_gguf
from litegpt.generation import generate
from litegpt.models import GPTModel
from litegpt.models.gguf_export import save_gguf
from litegpt.nn.frozen import FrozenParameter
from litegpt.nn.linear import Linear
from litegpt.text import ByteTokenizer, load_tokenizer


@pytest.fixture(scope="module")
def byte_model(tmp_path_factory):
    """An untrained model over bytes: it writes mostly what isn't UTF-8."""
    directory = tmp_path_factory.mktemp("byte") / "model"
    model = GPTModel(256, 16, 1, 1, 8, dropout=0.0, init_std=0.1, seed=0)
    model.save_pretrained(directory)
    ByteTokenizer().save(directory)
    return directory


def test_it_writes_the_prompt_and_what_the_library_generates(litegpt, trained) -> None:
    done = litegpt("generate", "To be", "--model", trained, "--seed", 3, "--max-new-tokens", 40)
    model, tokenizer = GPTModel.from_pretrained(trained), load_tokenizer(trained)
    ids = generate(model, tokenizer.encode("To be"), 40, 0.8, 50, 1.0, seed=3)[0]
    assert done.stdout == tokenizer.decode(ids) + "\n"
    assert done.stdout.startswith("To be")
    assert len(done.stdout) == 5 + 40 + 1
    assert (done.returncode, done.stderr) == (0, "")


def test_weights_are_kept_once(trained) -> None:
    """Packed for inference; a plain copy beside them would double what the process takes."""
    model = load(argparse.Namespace(model=trained)).model
    weights = [m.weight for m in model.modules() if isinstance(m, Linear)]
    assert weights
    assert all(isinstance(weight, FrozenParameter) for weight in weights)


def test_flags_arrive(litegpt, trained) -> None:
    flags = {"temperature": 1.7, "top_k": 5, "top_p": 0.9, "seed": 9}
    arguments = [w for n, v in flags.items() for w in ("--" + n.replace("_", "-"), v)]
    done = litegpt("generate", "or", "--model", trained, "--max-new-tokens", 60, *arguments)
    model, tokenizer = GPTModel.from_pretrained(trained), load_tokenizer(trained)
    assert done.stdout == tokenizer.decode(
        generate(model, tokenizer.encode("or"), 60, **flags)[0]
    ) + "\n"  # fmt: skip


def test_the_same_seed_gives_the_same_text(litegpt, trained) -> None:
    texts = [litegpt("generate", "--model", trained, "--seed", n).stdout for n in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert len(texts[0]) == 201


def test_without_a_prompt_it_goes_on_from_a_newline(litegpt, trained) -> None:
    done = litegpt("generate", "--model", trained, "--temperature", 0, "--max-new-tokens", 30)
    model, tokenizer = GPTModel.from_pretrained(trained), load_tokenizer(trained)
    ids = generate(model, tokenizer.encode("\n"), 30, temperature=0)[0]
    assert done.stdout == tokenizer.decode(ids)[1:] + "\n"
    assert litegpt("generate", "", "--model", trained, "--temperature", 0).returncode == 0


def test_bytes_that_are_no_text_never_break_the_output(litegpt, byte_model) -> None:
    prompt = b"caf\xc3".decode("utf-8", "surrogateescape")  # as the shell would hand over the bytes
    flags = ["--seed", 4, "--top-k", 0, "--temperature", 2]
    done = litegpt("generate", prompt, "--model", byte_model, *flags)
    assert done.returncode == 0, done.stderr
    ids = generate(GPTModel.from_pretrained(byte_model), list(b"caf\xc3"), 200, 2.0, seed=4)[0]
    assert done.stdout == ByteTokenizer().decode(ids).replace("\r", "\n") + "\n"


def test_a_terminal_of_few_characters(litegpt, byte_model) -> None:
    done = litegpt("generate", "café", "--model", byte_model, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("caf?")


def test_a_reader_that_goes_away(start, trained) -> None:
    process = start("generate", "--model", trained, "--max-new-tokens", 1000000)
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(120) == 141
    assert process.stderr.read() == ""


def test_ctrl_c(start, trained) -> None:
    process = start("generate", "--model", trained, "--max-new-tokens", 100000000)
    process.stdout.read(10)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert stderr == ""
    assert stdout.endswith("\n")


def test_a_closed_stdout(litegpt, trained) -> None:
    done = litegpt("generate", "--model", trained, redirect=">&-")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("flags, named", [
    (["To bé"], ["PROMPT", "'é'", "position 4"]),
    (["--temperature", "-1"], ["temperature must be"]),
    (["--top-k", "-1"], ["--top-k must be"]),
    (["--top-p", "0"], ["--top-p must be"]),
    (["--max-new-tokens", "-1"], ["--max-new-tokens must be"]),
    (["--seed", "-1"], ["seed must be"]),
    (["--seed", "x"], ["--seed", "x"]),
])  # fmt: skip
def test_bad_arguments(litegpt, trained, flags, named, refused) -> None:
    refused(litegpt("generate", *flags, "--model", trained), named)


def test_a_model_that_is_named_has_to_be_there(litegpt, tmp_path, text_file, refused) -> None:
    refused(litegpt("chat"), ["--model"])  # the one in the box can't talk
    refused(litegpt("generate", "--model", tmp_path / "none"), ["none", "no such directory"])
    refused(litegpt("generate", "--model", text_file), ["not a GGUF file"])
    refused(litegpt("generate", "--model", tmp_path), ["config.json"])


@pytest.mark.parametrize("name, damage", [
    ("model.safetensors", lambda data: data[: len(data) // 2]),
    ("model.safetensors", lambda data: data[:5]),
    ("model.safetensors", lambda data: b""),
    ("model.safetensors", lambda data: b"PK\x03\x04" + bytes(500)),
    ("model.safetensors", lambda data: b"\xff" * 8 + data[8:]),
    ("config.json", lambda data: data[:-9]),
    ("config.json", lambda data: b"[]"),
    ("config.json", lambda data: data.replace(b'8', b'16')),
    ("tokenizer.json", lambda data: data[:100]),
    ("tokenizer.json", lambda data: b"{}"),
])  # fmt: skip
def test_damaged_files(litegpt, trained, tmp_path, name, damage, refused) -> None:
    shutil.copytree(trained, tmp_path / "m")
    path = tmp_path / "m" / name
    path.write_bytes(damage(path.read_bytes()))
    refused(litegpt("generate", "--model", tmp_path / "m"), [str(tmp_path / "m")])


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_missing_files(litegpt, trained, tmp_path, name, refused) -> None:
    shutil.copytree(trained, tmp_path / "m")
    os.remove(tmp_path / "m" / name)
    refused(litegpt("generate", "--model", tmp_path / "m"), [name])


def test_a_tokenizer_of_another_model(litegpt, trained, tmp_path, refused, text_file) -> None:
    shutil.copytree(trained, tmp_path / "m")
    ByteTokenizer().save(tmp_path / "m")
    done = litegpt("generate", "--model", tmp_path / "m")
    refused(done, [str(len(set(text_file.read_text()))), "256"])


def test_weights_that_are_not_numbers(litegpt, trained, tmp_path) -> None:
    model = GPTModel.from_pretrained(trained)
    model.final_norm.weight.data[:] = np.nan
    shutil.copytree(trained, tmp_path / "m")
    model.save_pretrained(tmp_path / "m")
    done = litegpt("generate", "--model", tmp_path / "m")
    assert done.returncode == 2
    assert done.stderr.startswith("litegpt: error: ")
    assert "NaN" in done.stderr


def test_a_warning_is_a_line(litegpt, tmp_path) -> None:
    """Blocks that can't stay as they are: of q, k and v, which are one matrix here, v is F16."""
    parts = {"norm": "rmsnorm", "position": "rotary", "activation": "swiglu", "bias": False}
    model = GPTModel(256, 16, 1, 1, 32, seed=0, **parts)
    save_gguf(model, tmp_path / "q8.gguf", "q8")
    file, half = GgufFile(tmp_path / "q8.gguf"), TYPE_NAMED["F16"]
    tensors = {
        name: GgufTensor(place.shape, place.form, partial(file.blocks, name))
        for name, place in file.tensors.items()
    }
    name = "blk.0.attn_v.weight"
    tensors[name] = GgufTensor((32, 32), half, lambda: encode(file.read(name), half))
    write_gguf(tmp_path / "m.gguf", dict(file.metadata), tensors)
    done = litegpt("eval", __file__, "--model", tmp_path / "m.gguf", PYTHONWARNINGS="")
    (warning, error) = done.stderr.splitlines()
    assert warning == (
        f"litegpt: warning: {tmp_path}/m.gguf: weights in Q8_0 become float32; "
        'dtype="q8" or "q5" or "q4" or "q4_0" rounds them anew'
    )
    assert "tokenizer.ggml.model 'none'" in error
