"""GGUF files made to hurt: each is a ModelFormatError that names the file and the field."""

import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litegpt import GPTModel, TextModel
from litegpt.formats import ModelFormatError
from litegpt.formats.gguf import GgufFile
from litegpt.formats.gguf_types import TYPE_NAMED, encode
from litegpt.formats.gguf_write import GgufTensor, write_gguf
from litegpt.models.gguf_export import save_gguf
from litegpt.text.byte import byte_alphabet

U32, STRING, ARRAY, BOOL = 4, 8, 9, 7


def _text(text: str | bytes, length: int | None = None) -> bytes:
    encoded = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded


def _entry(key: str, kind: int, value: bytes) -> bytes:
    return _text(key) + struct.pack("<I", kind) + value


def _array(kind: int, count: int, items: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + items


def _info(
    name: str | bytes, shape: Any = (8,), kind: int = 0, offset: int = 0, axes: Any = None
) -> bytes:
    count = len(shape) if axes is None else axes
    return _text(name) + struct.pack(f"<I{len(shape)}QIQ", count, *shape, kind, offset)


def _file(
    entries: list[bytes] | None = None,
    infos: list[bytes] | None = None,
    data: int = 64,
    magic: bytes = b"GGUF",
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    entries, infos = entries or [], infos or []
    tensors, fields = counts or (len(infos), len(entries))
    head = magic + struct.pack("<IQQ", version, tensors, fields) + b"".join(entries + infos)
    return head + bytes(-len(head) % 32) + bytes(data)


MOST = 2**64 - 1
HOSTILE = {
    "empty": (b"", "not a GGUF file"),
    "other magic": (_file(magic=b"GGML"), "not a GGUF file"),
    "magic alone": (b"GGUF", "header: ends beyond the file's 4 bytes"),
    "version 1": (_file(version=1), "version 1; versions 2 and 3"),
    "big-endian": (_file(version=3 << 24), "big-endian; versions 2 and 3"),
    "absurd tensors": (_file(counts=(MOST, 0)), f"header: {MOST} tensors; at most 65536"),
    "absurd entries": (_file(counts=(0, MOST)), f"header: {MOST} metadata entries; at most"),
    "tensors that aren't there": (_file(counts=(60000, 0), data=0), "tensor : ends beyond"),
    "more entries than any": (
        _file([_entry(f"k{i}", U32, bytes(4)) for i in range(4097)]),
        "header: 4097 metadata entries; at most 4096 are read",
    ),
    "key beyond the file": (_file([_text(b"k", 5000)]), "metadata entry 0: ends beyond"),
    "key's length overflows": (_file([_text(b"k", MOST)]), f"a name of {MOST} bytes"),
    "key isn't UTF-8": (
        _file([_text(b"\xff") + struct.pack("<II", U32, 1)]),
        "key of metadata entry 0",
    ),
    "name isn't UTF-8": (_file([], [_info(b"\xff")]), "name of tensor 0: not UTF-8"),
    "key twice": (_file([_entry("k", U32, bytes(4))] * 2), "k is there twice"),
    "unknown type of value": (_file([_entry("k", 13, bytes(8))]), "k: type 13 is unknown"),
    "text beyond the file": (_file([_entry("k", STRING, _text(b"", 999))]), "k: ends beyond"),
    "text's length overflows": (_file([_entry("k", STRING, _text(b"", MOST))]), "k: ends beyond"),
    "truth of 2": (_file([_entry("k", BOOL, b"\x02")]), "k: a truth value must be 0 or 1, not 2"),
    "truths of 2": (_file([_entry("k", ARRAY, _array(BOOL, 2, b"\1\2"))]), "k: a truth value"),
    "array beyond the file": (_file([_entry("k", ARRAY, _array(U32, 999))]), "k: ends beyond"),
    "array's count overflows": (_file([_entry("k", ARRAY, _array(U32, 2**62))]), "k: ends beyond"),
    "array of arrays": (_file([_entry("k", ARRAY, _array(ARRAY, 1))]), "arrays in arrays"),
    "array of an unknown type": (_file([_entry("k", ARRAY, _array(77, 1))]), "type 77 is unknown"),
    "texts beyond the file": (_file([_entry("k", ARRAY, _array(STRING, 999))]), "k: ends beyond"),
    "texts without end": (_file([_entry("k", ARRAY, _array(STRING, MOST))]), f"k: {MOST} texts"),
    "text in an array overflows": (
        _file([_entry("k", ARRAY, _array(STRING, 2, _text(b"", MOST)))]),
        "k: ends beyond",
    ),
    "many texts": (
        _file([_entry("k", ARRAY, _array(STRING, 2**21))], data=2**24),
        "k: 2097152 texts; arrays hold at most 1048576",
    ),
    "alignment 0": (
        _file([_entry("general.alignment", U32, struct.pack("<I", 0))]),
        "general.alignment must be a multiple of 8 up to 2.20, not 0",
    ),
    "alignment as text": (
        _file([_entry("general.alignment", STRING, _text("32"))]),
        "general.alignment must be .* not '32'",
    ),
    "absurd alignment": (
        _file([_entry("general.alignment", U32, b"\xf8\xff\xff\xff")]),
        "general.alignment must be",
    ),
    "tensor without axes": (_file([], [_info("t", ())]), "tensor t: 0 axes; allowed are 1 to 4"),
    "tensor of many axes": (_file([], [_info("t", axes=2**31)]), "tensor t: 2147483648 axes"),
    "tensor of size 0": (_file([], [_info("t", (8, 0))]), r"tensor t has shape \(0, 8\)"),
    "sizes overflow": (_file([], [_info("t", (2**63, 2**63, 2**63))]), "tensor t: .* end beyond"),
    "sizes overflow to 0": (_file([], [_info("t", (2**32, 2**32))]), "tensor t: .* end beyond"),
    "unknown type of tensor": (_file([], [_info("t", kind=99)]), "tensor t: type 99 isn't read"),
    "type that is no longer": (_file([], [_info("t", (32,), kind=4)]), "types read are F32, F16"),
    "half a group": (_file([], [_info("t", (40,), kind=8)]), "tensor t .* multiple of 32 in Q8_0"),
    "offset outside": (_file([], [_info("t", offset=64)]), "tensor t: 32 bytes at offset 64 end"),
    "offset overflows": (_file([], [_info("t", offset=2**64 - 32)]), "tensor t: .* end beyond"),
    "offset between": (_file([], [_info("t", offset=4)]), "tensor t: offset 4 is no multiple of"),
    "tensor beyond": (_file([], [_info("t", (17,))]), "tensor t: 68 bytes at offset 0 end beyond"),
    "tensors overlap": (
        _file([], [_info("t", (16,)), _info("u", offset=32)]),
        "tensors t and u overlap",
    ),
    "name of two lines": (_file([], [_info("t\nu", (0,))]), r"tensor t\\nu has shape"),
    "tensor in a tensor": (_file([], [_info("t"), _info("u")]), "tensors t and u overlap"),
    "tensor twice": (_file([], [_info("t"), _info("t", offset=32)]), "tensor t is there twice"),
    "tensor's name beyond": (_file([], [_text(b"t", 9999)]), "tensor 0: ends beyond"),
    "tensor's name too long": (_file([], [_text(b"t", 99999)]), "tensor 0: a name of 99999 bytes"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(tmp_path: Path, name: str) -> None:
    content, says = HOSTILE[name]
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match=rf"model\.gguf: .*{says}"):
        GgufFile(path)


def test_what_the_hostile_files_are_made_from_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    entries = [_entry("k", U32, bytes(4)), _entry("s", ARRAY, _array(STRING, 1, _text("a")))]
    path.write_bytes(_file(entries, [_info("t"), _info("u", offset=32)]))
    file = GgufFile(path)
    assert file.metadata["k"] == 0 and file.metadata["s"] == ["a"]
    assert file.read("u").tolist() == [0.0] * 8


def test_texts_that_are_not_utf8(tmp_path: Path) -> None:
    """They are read when they are asked for, and refused then."""
    path = tmp_path / "model.gguf"
    path.write_bytes(
        _file(
            [
                _entry("text", STRING, _text(b"\xff")),
                _entry("texts", ARRAY, _array(STRING, 2, _text("a") + _text(b"\xc3"))),
            ]
        )
    )
    file = GgufFile(path)
    for key in ("text", "texts"):
        with pytest.raises(ModelFormatError, match=rf"model\.gguf: {key}: not UTF-8"):
            file.metadata[key]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small file with a bit of everything; no padding at its end."""
    path = tmp_path_factory.mktemp("gguf") / "m.gguf"
    weights = np.random.default_rng(0).standard_normal((2, 64)).astype(np.float32)

    def tensor(name: str) -> GgufTensor:
        form = TYPE_NAMED[name]
        return GgufTensor(weights.shape, form, lambda: encode(weights, form))

    metadata = {
        "general.architecture": "llama",
        "n": 3,
        "x": 0.5,
        "yes": True,
        "words": ["a", "bc", ""],
        "numbers": np.arange(5, dtype=np.int32),
    }
    write_gguf(path, metadata, {name: tensor(name) for name in ("Q8_0", "Q4_0", "F32")})
    return path.read_bytes()


def _use(path: Path) -> None:
    """Everything that a file offers."""
    file = GgufFile(path)
    for key in file.metadata:
        file.metadata[key]
    for name in file.tensors:
        assert file.read(name).shape == file.tensors[name].shape


def test_every_truncation(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(whole)
    _use(path)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFormatError, match=r"model\.gguf: "):
            GgufFile(path)


def test_flipped_bytes(tmp_path: Path, whole: bytes) -> None:
    """10,000 files with up to three bytes changed: an error in words, or a file that is read."""
    path = tmp_path / "model.gguf"
    rng = np.random.default_rng(0)
    header = whole.index(b"F32") + 40
    refused = 0
    path.write_bytes(whole)
    with path.open("r+b", buffering=0) as file:
        for _ in range(10_000):
            damaged = bytearray(whole)
            for place in rng.integers(4, header, rng.integers(1, 4)):
                damaged[place] = rng.integers(256)
            file.seek(0)
            file.write(damaged)
            try:
                _use(path)
            except ModelFormatError:
                refused += 1
    assert 4_000 < refused < 10_000


def test_flipped_bytes_of_a_model(tmp_path: Path) -> None:
    """Of what describes it and its tokenizer: a ValueError that names the file, or a model."""
    tokens = [*byte_alphabet(), "to", "<end>"]
    vocabulary = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.eos_token_id": 257,
        "tokenizer.chat_template": "{{ messages[0].content }}",
        "tokenizer.ggml.merges": ["t o"],
        "tokenizer.ggml.token_type": np.array([1] * 257 + [3], np.int32),
        "tokenizer.ggml.tokens": tokens,
    }
    parts = {"norm": "rmsnorm", "position": "rotary", "activation": "swiglu", "bias": False}
    model = GPTModel(258, 16, 1, 2, 32, num_kv_heads=1, seed=0, **parts)
    path = tmp_path / "model.gguf"
    save_gguf(model, path, "q4", vocabulary)
    whole = path.read_bytes()
    described = [*range(4, whole.index(b"tokenizer.ggml.tokens") + 60)]
    described += range(whole.index(b"token_embd.weight"), whole.index(b"ffn_down.weight") + 40)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        damaged = bytearray(whole)
        damaged[rng.choice(described)] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            TextModel.from_pretrained(path).ids("to be")
        except ValueError as error:
            assert str(path) in str(error)
            refused += 1
    assert 250 < refused < 500


def test_a_vocabulary_that_is_refused(tmp_path: Path) -> None:
    """It is read beside the thread that gets the memory: none is left behind."""
    path = tmp_path / "model.gguf"
    parts = {"norm": "rmsnorm", "position": "rotary", "activation": "swiglu", "bias": False}
    save_gguf(GPTModel(8, 16, 1, 2, 32, seed=0, **parts), path, "q8", {"tokenizer.ggml.model": "x"})
    threads = threading.active_count()
    with pytest.raises(ModelFormatError, match=r"model\.gguf: tokenizer\.ggml\.model 'x' isn't"):
        TextModel.from_pretrained(path)
    assert threading.active_count() == threads


def test_more_tokens_than_the_model_has(tmp_path: Path) -> None:
    """Refused before there is a list of them."""
    path = tmp_path / "model.gguf"
    parts = {"norm": "rmsnorm", "position": "rotary", "activation": "swiglu", "bias": False}
    tokens = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": list("abcdefghi")}
    save_gguf(GPTModel(8, 16, 1, 2, 32, seed=0, **parts), path, "q8", tokens)
    for read in (GPTModel.from_pretrained, TextModel.from_pretrained):
        with pytest.raises(
            ModelFormatError, match=r"ggml\.tokens has 9 tokens, token_embd\.weight 8"
        ):
            read(path)


def test_a_configuration_that_would_take_memory(tmp_path: Path) -> None:
    """Brackets become lists, of twenty times their size."""
    own = '{"a": [' + "[]," * 30_000 + "1]}"
    metadata = {"general.architecture": "llama", "litegpt.config": own}
    write_gguf(tmp_path / "model.gguf", metadata, {})
    with pytest.raises(ModelFormatError, match=r"litegpt\.config must be .* up to 65536 bytes"):
        GPTModel.from_pretrained(tmp_path / "model.gguf")


CHILD = """
import sys
from litegpt.formats import ModelFormatError
from litegpt.formats.gguf import GgufFile
before = peak()
try:
    file = GgufFile(Path(sys.argv[1]))
    [file.metadata[key] for key in file.metadata]
    print("read")
except ModelFormatError:
    print("refused")
print(peak() - before)
"""


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (_file([_entry("k", ARRAY, _array(STRING, 2**20))], data=2**23), "read"),
        (_file([_entry("k", ARRAY, _array(STRING, 2**19, _text("字字") * 2**19))]), "read"),
        (_file([_entry("k", STRING, _text("字" * 5_000_000))]), "read"),
        (_file([_entry("k", STRING, _text("a" * 2**24 + "b"))]), "refused"),
        (_file([_entry("k", ARRAY, _array(STRING, 20, _text("a" * 2**20) * 20))]), "refused"),
        (_file([_entry(f"k{i}", U32, bytes(4)) for i in range(4096)]), "read"),
    ],
    ids=["empty texts", "many texts", "one text", "long text", "long texts", "many entries"],
)
def test_memory_stays_within_bounds(
    tmp_path: Path, content: bytes, outcome: str, measured: Callable[..., list[str]]
) -> None:
    """The file's size and 64 MB, whatever is read of it."""
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    said, kilobytes = measured(CHILD, path)
    assert said == outcome
    assert int(kilobytes) * 1024 < len(content) + (64 << 20)
