"""Files made to hurt: each is a ModelFormatError that names the file, and none takes memory."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litegpt import GPTModel
from litegpt.formats import ModelFormatError, SafetensorsFile, check_tensors, read_json


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    GPTModel(5, 4, 1, 2, 4, seed=0).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def _safetensors(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _tensor(dtype: str = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


HOSTILE = {
    "empty": b"",
    "zeros": bytes(64),
    "text": b"this is no model, but a text that somebody gave this name",
    "pickle": b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x08builtins\x94.",
    "header beyond the file": struct.pack("<Q", 1 << 20) + b"{}",
    "header length overflows": struct.pack("<Q", 2**64 - 1) + b"{}",
    "header isn't JSON": _safetensors(b'{"a": '),
    "header isn't UTF-8": _safetensors(b'{"\xff\xfe": 1}'),
    "header is a list": _safetensors([1, 2]),
    "deep header": _safetensors(b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "offsets outside": _safetensors({"a": _tensor(offsets=(0, 400), shape=(100,))}, bytes(4)),
    "offsets backwards": _safetensors({"a": _tensor(offsets=(4, 0))}, bytes(4)),
    "negative offset": _safetensors({"a": _tensor(offsets=(-4, 0))}, bytes(4)),
    "overlap": _safetensors({"a": _tensor(), "b": _tensor()}, bytes(4)),
    "hole": _safetensors({"a": _tensor(), "b": _tensor(offsets=(8, 12))}, bytes(12)),
    "shape overflows": _safetensors({"a": _tensor(shape=(2**62, 2**62))}, bytes(4)),
    "shape beyond the data": _safetensors({"a": _tensor(shape=(2**40,))}, bytes(4)),
    "negative shape": _safetensors({"a": _tensor(shape=(-1,))}, bytes(4)),
    "tensor twice": _safetensors(
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, '
        b'"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
        bytes(4),
    ),
    "unknown type": _safetensors({"a": _tensor("Q4_K")}, bytes(4)),
    "bytes left over": _safetensors({"a": _tensor()}, bytes(40)),
    "other tensors": _safetensors({"a": _tensor()}, bytes(4)),
    "no tensors": _safetensors({}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_weights(saved: Path, name: str) -> None:
    (saved / "model.safetensors").write_bytes(HOSTILE[name])
    with pytest.raises(ModelFormatError, match=r"model\.safetensors"):
        GPTModel.from_pretrained(saved)


def test_every_truncation(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    whole = _safetensors({"a": _tensor(), "b": _tensor(shape=(2, 3), offsets=(4, 28))}, bytes(28))
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFormatError, match="weights: not a whole safetensors file"):
            SafetensorsFile(path)
    path.write_bytes(whole)
    assert SafetensorsFile(path).shapes == {"a": (1,), "b": (2, 3)}


def test_a_truncated_model(saved: Path) -> None:
    path = saved / "model.safetensors"
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFormatError, match=r"model\.safetensors: not a whole"):
            GPTModel.from_pretrained(saved)


def test_flipped_bytes_of_the_header(saved: Path) -> None:
    """10,000 flips: either an error in words, or a model; nothing else ever comes out."""
    path = saved / "model.safetensors"
    whole = path.read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    rng = np.random.default_rng(0)
    refused = 0
    with path.open("r+b", buffering=0) as file:
        for _ in range(10_000):
            damaged = bytearray(whole)
            damaged[rng.integers(header)] ^= 1 << rng.integers(8)
            file.seek(0)
            file.write(damaged)
            try:
                GPTModel.from_pretrained(saved)
            except ModelFormatError:
                refused += 1
    assert refused > 7_500


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff{}", "not JSON"),
        (b"[]", "must hold a JSON object, not list"),
        (b"[" * 200_000, "nested too deeply|not JSON"),
        (b'{"b": {"n": 1, "m": 2, "n": 3}}', "n is there twice"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "not JSON"),
        (b" " * (1 << 20) + b"{}", "larger than 1048576 bytes"),
    ],
)
def test_hostile_config(saved: Path, text: bytes, says: str) -> None:
    (saved / "config.json").write_bytes(text)
    with pytest.raises(ModelFormatError, match=f"config.json: ({says})"):
        GPTModel.from_pretrained(saved)


def test_what_is_missing(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="nowhere: no such directory or file"):
        GPTModel.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(ModelFormatError, match=r"config.json: not a GGUF file"):
        GPTModel.from_pretrained(saved / "config.json")
    (saved / "model.safetensors").rename(saved / "pytorch_model.bin")
    with pytest.raises(ModelFormatError, match=r"pytorch_model.bin looks like a pickle"):
        GPTModel.from_pretrained(saved)
    (saved / "config.json").unlink()
    with pytest.raises(ModelFormatError, match=r"config.json: no such file"):
        GPTModel.from_pretrained(saved)


def test_types_that_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(
        _safetensors({"a": _tensor("I16", (2,)), "b": _tensor(offsets=(4, 8))}, bytes(8))
    )
    file = SafetensorsFile(path)
    with pytest.raises(ModelFormatError, match=r"a has type I16; types read are F32, F16, BF16$"):
        check_tensors(file, {"a": (2,), "b": (1,)}, {})
    assert file.read("b").tolist() == [0.0]


def test_all_problems_are_named_but_beyond_all_measure(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(_safetensors({}))
    with pytest.raises(ModelFormatError) as raised:
        check_tensors(SafetensorsFile(path), {str(i): (1,) for i in range(300)}, {})
    assert all(f"missing {i}" in str(raised.value) for i in range(300))
    with pytest.raises(ModelFormatError, match=r"missing 999; and 9000 more$"):
        check_tensors(SafetensorsFile(path), {str(i): (1,) for i in range(10_000)}, {})


@pytest.mark.parametrize(
    ("read", "says"),
    [
        (lambda f: f.integer("absent"), "absent is missing; it must be an integer"),
        (lambda f: f.integer("flag"), "flag must be an integer .* not True"),
        (lambda f: f.integer("zero"), "zero must be an integer from 1"),
        (lambda f: f.number("word"), "word must be a finite number, not 'w'"),
        (lambda f: f.number("long"), "long must be a finite number, not 1000"),
        (lambda f: f.flag("zero", True), "zero must be true or false"),
        (lambda f: f.choice("word", {"a": 1, "b": 2}), "word must be one of 'a', 'b', not 'w'"),
        (lambda f: f.choice("flag", {"a": 1}), "flag must be one of 'a'"),
        (lambda f: f.section("word"), "word must be an object"),
    ],
)
def test_fields(tmp_path: Path, read: Callable, says: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"flag": True, "zero": 0, "word": "w", "long": 10**400}))
    with pytest.raises(ModelFormatError, match=f"c.json: {says}"):
        read(read_json(path))


def test_absent_fields_have_their_defaults(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text('{"null": null, "n": 3, "inner": {"x": 0.5}}')
    fields = read_json(path)
    assert fields.integer("n") == 3 and fields.integer("null", 7) == 7
    assert fields.section("inner").number("x") == 0.5 and fields.section("no").fields == {}
    assert fields.choice("no", {"a": 1}, "a") == 1 and fields.flag("no", True)


def test_lies_about_sizes_take_no_memory(
    saved: Path, tmp_path: Path, refusals: Callable[..., tuple[int, list[str]]]
) -> None:
    """No file of these has more than 2 MB; with 64 more all of them are refused."""
    lies: dict[str, dict[str, Any]] = {
        "vocabulary": {"vocab_size": 2**31 - 1},
        "positions": {"n_positions": 2**31 - 1},
        "fixed positions": {"n_positions": 2**31 - 1, "litegpt": {"position": "sinusoidal"}},
        "layers": {"n_layer": 2**31 - 1},
        "width": {"n_embd": 2**31 - 2},
        "inner width": {"n_inner": 2**31 - 1},
        "heads": {"n_head": 2**31 - 1},
    }
    folders = []
    for name, changes in lies.items():
        folders.append(shutil.copytree(saved, tmp_path / name))
        config = json.loads((saved / "config.json").read_text())
        (folders[-1] / "config.json").write_text(json.dumps(config | changes))
    names = {f"a{i}": _tensor(shape=(0,), offsets=(0, 0)) for i in range(30_000)}
    index = {"weight_map": {f"a{i}": "m.safetensors" for i in range(25_000)}}
    for name, file, content in (
        ("many tensors", "model.safetensors", _safetensors(names)),
        ("long index", "model.safetensors.index.json", json.dumps(index).encode()),
    ):
        folders.append(shutil.copytree(saved, tmp_path / name))
        (folders[-1] / "model.safetensors").rename(folders[-1] / "m.safetensors")
        (folders[-1] / file).write_bytes(content)
    folders.append(shutil.copytree(saved, tmp_path / "many shards"))
    (folders[-1] / "model.safetensors").unlink()
    index = {"weight_map": {f"a{i}": f"{i}.safetensors" for i in range(5)}}
    (folders[-1] / "model.safetensors.index.json").write_text(json.dumps(index))
    for i in range(5):
        (folders[-1] / f"{i}.safetensors").write_bytes(_safetensors(names))
    taken, errors = refusals("from litegpt import GPTModel as Model", saved, *folders)
    for folder, error in zip(folders, errors, strict=True):
        assert error.startswith("ModelFormatError: ") and str(folder) in error
    assert taken < 64 << 20
