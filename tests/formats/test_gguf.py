"""GGUF: what the gguf package writes we read, what we write it reads, bit for bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litegpt.formats.gguf import GgufFile
from litegpt.formats.gguf_types import TENSOR_TYPES, TYPE_NAMED, decode, encode
from litegpt.formats.gguf_write import GgufTensor, write_gguf

METADATA: dict[str, Any] = {
    "text": "naïve 🙂",
    "empty": "",
    "yes": True,
    "count": 7,
    "below": -3,
    "large": 2**40,
    "lowest": -(2**63),
    "rate": 0.5,
    "words": ["a", "", "Ġthe", "字", "x" * 300],
    "NULs": ["\0", "", "a\0b", "字"],
    "flags": np.array([True, False]),
    **{f"array {t}": np.array([0, 1, 100], t) for t in ("u1", "i1", "u2", "i2", "u4", "i4")},
    **{f"array {t}": np.array([0, 1, 2**40], t) for t in ("u8", "i8", "f4", "f8")},
}


def _same(a: Any, b: Any) -> bool:
    if isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.tolist() == b.tolist()
    return type(a) is type(b) and a == b


def _weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _blocks(form: Any, rows: int, groups: int) -> np.ndarray:
    """Any bytes at all, but for scales that are finite."""
    blocks = np.random.default_rng(form.number).integers(
        0, 256, (rows, groups, form.block_bytes), np.uint8
    )
    if form.name in ("F32", "BF16", "F16"):
        return blocks & 0xBF  # exponents below all ones
    scales = {"Q6_K": [209]}.get(form.name, [1, 3] if form.name[-1] in "1K" else [1])
    blocks[..., scales] &= 0xBF
    return blocks


def test_a_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    tensors = {
        form.name: GgufTensor(
            (3, 2, 256), form, lambda form=form: _blocks(form, 6, 256 // form.group)
        )
        for form in TENSOR_TYPES.values()
    }
    write_gguf(path, METADATA, tensors)
    file = GgufFile(path)
    assert list(file.metadata) == list(METADATA)
    for key, value in METADATA.items():
        assert _same(file.metadata[key], value), key
    assert list(file.tensors) == list(tensors)
    for name, tensor in tensors.items():
        assert file.tensors[name].shape == (3, 2, 256)
        assert file.blocks(name).tobytes() == tensor.blocks().tobytes()
    assert [p.name for p in tmp_path.iterdir()] == ["m.gguf"]


def test_what_can_not_be_written(tmp_path: Path) -> None:
    for value in ({}, [1], None, 2**64, np.zeros((1, 1), np.float32)):
        with pytest.raises(TypeError, match=r"metadata thing|64 bits"):
            write_gguf(tmp_path / "m.gguf", {"thing": value}, {})
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="Q4_K is read, but isn't written"):
        encode(_weights(1, 256), TYPE_NAMED["Q4_K"])
    with pytest.raises(ValueError, match="rows of 33 aren't whole groups of 32"):
        encode(_weights(1, 33), TYPE_NAMED["Q8_0"])
    for value, name in ((np.nan, "F32"), (np.inf, "F32"), (1e5, "F16"), (1e6, "Q4_0")):
        with pytest.raises(ValueError, match=f"{name} holds finite numbers up to"):
            encode(np.full((1, 32), value, np.float32), TYPE_NAMED[name])


@pytest.mark.parametrize(
    ("name", "steps"),
    [("F16", 2**-11), ("Q8_0", 1 / 254 + 127 * 2**-18), ("Q5_1", 1 / 31), ("Q4_0", 1 / 8)],
)
def test_weights_are_missed_by_half_a_step(name: str, steps: float) -> None:
    weights, form = _weights(64, 512), TYPE_NAMED[name]
    back = decode(encode(weights, form), form)
    most = np.abs(weights.reshape(64, -1, 32)).max(-1, keepdims=True)
    missed = np.abs(back - weights).reshape(64, -1, 32) / most
    assert missed.max() <= 1.01 * steps  # the scale is rounded too
    zeros = np.zeros((2, 64), np.float32)
    np.testing.assert_array_equal(decode(encode(zeros, form), form), zeros)


@pytest.mark.parametrize("name", TYPE_NAMED)
def test_decoding_is_that_of_the_gguf_package(name: str) -> None:
    gguf = pytest.importorskip("gguf")
    form = TYPE_NAMED[name]
    blocks = _blocks(form, 5, 6 if form.group > 1 else 6 * 32)
    theirs = gguf.dequantize(blocks.reshape(5, -1), gguf.GGMLQuantizationType(form.number))
    ours = decode(blocks, form)
    assert ours.dtype == np.float32
    assert ours.tobytes() == np.ascontiguousarray(theirs, np.float32).tobytes()
    assert gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(form.number)] == (
        form.group,
        form.block_bytes,
    )


@pytest.mark.parametrize("name", ["F32", "F16", "Q8_0", "Q5_1", "Q4_0"])
def test_encoding_is_that_of_the_gguf_package(name: str) -> None:
    gguf = pytest.importorskip("gguf")
    form = TYPE_NAMED[name]
    weights = _weights(100, 320)
    weights[0] = np.arange(320) - 160  # ties
    weights[1] = 0
    weights[2] *= 1e-30
    with np.errstate(all="ignore"):  # its own overflow of 1 / scale
        theirs = gguf.quantize(weights, gguf.GGMLQuantizationType(form.number))
    assert encode(weights, form).tobytes() == theirs.tobytes()


def test_files_of_the_gguf_package(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint8("u8", 200)
    writer.add_int8("i8", -100)
    writer.add_uint16("u16", 60000)
    writer.add_int16("i16", -30000)
    writer.add_uint32("u32", 2**32 - 1)
    writer.add_int32("i32", -(2**31))
    writer.add_float32("f32", 0.25)
    writer.add_uint64("u64", 2**64 - 1)
    writer.add_int64("i64", -(2**63))
    writer.add_float64("f64", 0.1)
    writer.add_bool("bool", True)
    writer.add_string("string", "naïve 🙂")
    writer.add_array("strings", ["a", "Ġb", ""])
    writer.add_array("floats", [0.5, 1.5])
    writer.add_array("ints", [1, -2])
    writer.add_custom_alignment(128)
    tensors = {"a.weight": _weights(3, 64), "b": _weights(7), "c": _weights(2, 3, 5).astype("f2")}
    for name, array in tensors.items():
        writer.add_tensor(name, array)
    kind = gguf.GGMLQuantizationType.Q5_1
    writer.add_tensor("d", gguf.quantize(tensors["a.weight"], kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file, theirs = GgufFile(path), gguf.GGUFReader(path)
    fields = {k: f.contents() for k, f in theirs.fields.items() if not k.startswith("GGUF.")}
    assert list(file.metadata) == list(fields)
    for key, value in fields.items():
        ours = file.metadata[key]
        assert (ours.tolist() if isinstance(ours, np.ndarray) else ours) == value, key
    for name, array in tensors.items():
        np.testing.assert_array_equal(file.read(name), array)
        assert file.tensors[name].start % 128 == 0
    np.testing.assert_array_equal(file.read("d"), gguf.dequantize(theirs.tensors[3].data, kind))


def test_the_gguf_package_reads_ours(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    path = tmp_path / "m.gguf"
    weights = _weights(6, 96)
    tensors = {
        name: GgufTensor((6, 96), TYPE_NAMED[name], lambda n=name: encode(weights, TYPE_NAMED[n]))
        for name in ("F32", "F16", "Q8_0", "Q5_1", "Q4_0")
    }
    write_gguf(path, {"general.architecture": "llama", **METADATA}, tensors)
    theirs = gguf.GGUFReader(path)
    for key, value in METADATA.items():
        contents = theirs.fields[key].contents()
        assert contents == (value.tolist() if isinstance(value, np.ndarray) else value), key
    assert len(theirs.tensors) == 5
    for tensor in theirs.tensors:
        back = gguf.dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(
            back, decode(tensors[tensor.name].blocks(), TYPE_NAMED[tensor.name])
        )
