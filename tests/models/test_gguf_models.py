"""Models as GGUF files: written and read again, and what contradicts itself in them."""

import json
import math
import threading
import warnings
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from litegpt import GPTModel
from litegpt.formats import GgufFile, JsonFields, ModelFormatError
from litegpt.formats.gguf_types import TYPE_NAMED, decode, encode
from litegpt.formats.gguf_write import GgufTensor, write_gguf
from litegpt.formats.quant import FORMATS
from litegpt.models.family import NamedWeights, number_as_written
from litegpt.models.gguf_export import save_gguf
from litegpt.models.llama_gguf import LLAMA
from litegpt.models.pretrained import load_gguf, open_gguf
from litegpt.nn.frozen import FrozenParameter

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192.0,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "default": ("default", {"dropout": 0.1}),
    "gpt2": ("gpt2", {}),
    "sinusoidal": ("mixed", {"activation": "gelu"}),
    "llama": ("llama", {}),
    "biases": ("llama", {"qkv_bias": True, "output_bias": True, "bias": None}),
    "linear": ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 3.7}}),
    "dynamic": ("llama", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}),
    "llama3": ("llama", {"rope_scaling": LLAMA3, "rope_theta": 500000.0}),
    "llama3 of a short context": (
        "llama",
        {"rope_scaling": LLAMA3 | {"original_max_position_embeddings": 64}},
    ),
    "llama3 of other numbers": (
        "llama",
        {"rope_scaling": LLAMA3 | {"low_freq_factor": 0.5, "high_freq_factor": 1000.0}},
    ),
    "llama3 of one angle": (  # which keeps some of itself, so that none is divided by the factor
        "llama",
        {"num_heads": 16, "rope_scaling": LLAMA3 | {"original_max_position_embeddings": 16}},
    ),
    "tied": ("llama", {"tie_embeddings": True, "norm_eps": 1e-6}),
}


@pytest.mark.parametrize("name", CASES)
def test_round_trip(make_model: Any, ids: np.ndarray, tmp_path: Path, name: str) -> None:
    family, changes = CASES[name]
    model = make_model(family, **changes).eval()
    save_gguf(model, tmp_path / "m.gguf", "float32")
    loaded = GPTModel.from_pretrained(tmp_path / "m.gguf")
    assert loaded.config == model.config and not loaded.training
    for parameter, array in model.state_dict().items():
        np.testing.assert_array_equal(loaded.state_dict()[parameter], array)
    np.testing.assert_array_equal(loaded(ids), model(ids))


@pytest.mark.parametrize(
    ("dtype", "form", "table", "file_type"),
    [
        ("float16", "F16", "F16", 1),
        ("q8", "Q8_0", "Q8_0", 7),
        ("q5", "Q5_1", "Q8_0", 9),
        ("q4", "Q4_0", "Q8_0", 2),
        ("q4_0", "Q4_0", "Q8_0", 2),
    ],
)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_fewer_bits(
    make_model: Any,
    tmp_path: Path,
    family: str,
    dtype: str,
    form: str,
    table: str,
    file_type: int,
) -> None:
    """Every matrix is what its rows are when rounded; 48 inputs aren't whole groups."""
    model = make_model(family)
    save_gguf(model, tmp_path / "m.gguf", dtype)
    file = GgufFile(tmp_path / "m.gguf")
    assert file.metadata["general.file_type"] == file_type
    down = file.tensors["blk.0.ffn_down.weight"]
    assert down.shape == (32, 48) and down.form.name == "F16"
    assert file.tensors["blk.0.attn_output.weight"].form.name == form
    assert file.tensors["token_embd.weight"].form.name == table
    assert file.tensors["output_norm.weight"].form.name == "F32"
    weight = model.blocks[0].attention.output.weight.data  # (K, N)
    rounded = decode(encode(weight.T, TYPE_NAMED[form]), TYPE_NAMED[form]).T
    assert 0 < np.abs(rounded - weight).max() < 0.2
    loaded = GPTModel.from_pretrained(tmp_path / "m.gguf", "float32")
    np.testing.assert_array_equal(loaded.blocks[0].attention.output.weight.data, rounded)


def test_the_gguf_package_reads_the_order_of_llama_cpp(make_model: Any, tmp_path: Path) -> None:
    """Row 2 i + j of a head there is row i of its half j here."""
    gguf = pytest.importorskip("gguf", reason="the package gguf isn't installed")
    model = make_model("llama")
    save_gguf(model, tmp_path / "m.gguf", "float32")
    tensors = {t.name: t.data for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    ours = model.blocks[1].attention.qkv.weight.data.T  # (N, K): 4 heads of q, 2 of k, 2 of v
    for name, start, heads in (("attn_q", 0, 4), ("attn_k", 32, 2)):
        theirs = tensors[f"blk.1.{name}.weight"]
        for head in range(heads):
            for i in range(4):
                for j in range(2):
                    expected = ours[start + 8 * head + 4 * j + i]
                    np.testing.assert_array_equal(theirs[8 * head + 2 * i + j], expected)
    np.testing.assert_array_equal(tensors["blk.1.attn_v.weight"], ours[48:])


def _rewritten(path: Path, **changes: Any) -> Path:
    """The file with other metadata (None takes an entry away), and its name."""
    file = GgufFile(path)
    metadata = {key: file.metadata[key] for key in file.metadata} | changes
    tensors = {
        name: GgufTensor(place.shape, place.form, lambda n=name: file.blocks(n))  # type: ignore[misc]
        for name, place in file.tensors.items()
    }
    write_gguf(path, {k: v for k, v in metadata.items() if v is not None}, tensors)
    return path


def test_qwen2_keeps_its_order(make_model: Any, ids: np.ndarray, tmp_path: Path) -> None:
    """The same tensors under that architecture: halves of a head, not neighbours."""
    model = make_model("llama", qkv_bias=True, bias=None, ffn_bias=False).eval()
    save_gguf(model, tmp_path / "m.gguf", "float32")
    file = GgufFile(tmp_path / "m.gguf")
    renamed = {k.replace("llama.", "qwen2."): file.metadata[k] for k in file.metadata}
    renamed["general.architecture"] = "qwen2"
    arrays = {name: file.read(name) for name in file.tensors}
    for i in range(2):
        for name, heads in (("attn_q", 4), ("attn_k", 2)):
            for kind in ("weight", "bias"):
                array = arrays[f"blk.{i}.{name}.{kind}"]
                halves = array.reshape(heads, 4, 2, -1).swapaxes(1, 2)
                arrays[f"blk.{i}.{name}.{kind}"] = np.ascontiguousarray(halves).reshape(array.shape)
    form = TYPE_NAMED["F32"]
    tensors = {n: GgufTensor(a.shape, form, lambda a=a: encode(a, form)) for n, a in arrays.items()}  # type: ignore[misc]
    write_gguf(tmp_path / "q.gguf", renamed, tensors)
    np.testing.assert_array_equal(GPTModel.from_pretrained(tmp_path / "q.gguf")(ids), model(ids))


def test_a_factor_alone_is_linear(make_model: Any, tmp_path: Path) -> None:
    """As llama.cpp reads it."""
    save_gguf(make_model("llama"), tmp_path / "m.gguf", "float32")
    path = _rewritten(tmp_path / "m.gguf", **{"llama.rope.scaling.factor": 2.0})
    scaling = {"rope_type": "linear", "factor": 2.0}
    assert GPTModel.from_pretrained(path).config.rope_scaling == scaling
    path = _rewritten(path, **{"llama.rope.scaling.type": "none"})
    assert GPTModel.from_pretrained(path).config.rope_scaling is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"general.architecture": "gemma3"}, "general.architecture must be one of 'gpt2', 'llama'"),
        ({"general.architecture": None}, "general.architecture is missing"),
        ({"llama.block_count": None}, "llama.block_count is missing"),
        ({"llama.block_count": 3}, "missing blk.2.attn_norm.weight"),
        ({"llama.block_count": 2**31 - 1}, "tensors are too few for 2147483647 layers"),
        ({"llama.embedding_length": "32"}, "llama.embedding_length must be an integer"),
        ({"llama.feed_forward_length": 64}, r"blk.0.ffn_down.weight has shape \(32, 48\), not"),
        ({"llama.attention.head_count": 5}, "rope.dimension_count must be 32 wide / 5 heads"),
        ({"llama.attention.head_count_kv": 3}, "num_heads 4 must be divisible by num_kv_heads 3"),
        ({"llama.rope.scaling.type": "yarn"}, "rope.scaling.type must be one of 'none', 'linear'"),
        ({"llama.rope.freq_base": float("nan")}, "rope.freq_base must be a finite number"),
        ({"litegpt.config": "{"}, "litegpt.config: not JSON"),
        ({"litegpt.config": "[]"}, "litegpt.config: must hold a JSON object"),
        ({"litegpt.config": "[" * 9999}, "nested too deeply|not JSON"),
        ({"litegpt.config": 1}, "litegpt.config must be a JSON object as text"),
        ({"litegpt.config": '{"colour": 1}'}, "litegpt.colour is no field of GPTConfig"),
    ],
)
def test_metadata_that_does_not_fit(
    make_model: Any, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    save_gguf(make_model("llama"), tmp_path / "m.gguf", "float32")
    path = _rewritten(tmp_path / "m.gguf", **changes)
    with pytest.raises(ModelFormatError, match=rf"m\.gguf: .*({says})"):
        GPTModel.from_pretrained(path)


def test_layers_that_are_not_there_are_not_named_one_by_one(make_model: Any) -> None:
    """A list of 9 names for each of 65,000 layers took 400 MB; of few that miss, all are named."""
    config = make_model("llama").config
    shapes = {f"t{i}": (1,) for i in range(6000)}
    source: Any = SimpleNamespace(path=Path("m.gguf"), shapes=shapes, unread={})
    with pytest.raises(ModelFormatError, match="6000 tensors are too few for 6000 layers"):
        NamedWeights(source, LLAMA, replace(config, num_layers=6000))
    with pytest.raises(ModelFormatError, match=r"missing blk\.100\.ffn_down\.weight; unexp"):
        NamedWeights(source, LLAMA, replace(config, num_layers=101, tie_embeddings=True))


def test_a_number_beyond_float32_warns_of_nothing() -> None:
    """It is infinite, and the configuration refuses that by its name."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert number_as_written(JsonFields(Path("m.gguf"), {"n": 1e300}), "n") == math.inf


def test_angles_that_contradict_the_configuration(make_model: Any, tmp_path: Path) -> None:
    """Divided otherwise than in Llama 3, or than our own configuration says."""
    save_gguf(make_model("llama", rope_scaling=LLAMA3), tmp_path / "m.gguf", "float32")
    for own in ({"rope_scaling": LLAMA3 | {"factor": 9.0}}, {"num_heads": 2, "num_kv_heads": 1}):
        path = _rewritten(tmp_path / "m.gguf", **{"litegpt.config": json.dumps(own)})
        with pytest.raises(ModelFormatError, match=r"rope_freqs\.weight contradicts the config"):
            GPTModel.from_pretrained(path)
    path = _rewritten(tmp_path / "m.gguf", **{"llama.rope.freq_base": 77.0})
    with pytest.raises(ModelFormatError, match=r"rope_freqs\.weight contradicts the config"):
        GPTModel.from_pretrained(path)


def test_what_can_not_be_written(make_model: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    with pytest.raises(ValueError, match="dtype 'q3' is unknown; allowed: float32, float16, q8"):
        save_gguf(make_model("llama"), path, "q3")
    with pytest.raises(ValueError, match=r"no GGUF architecture .* activation 'gelu_erf'"):
        save_gguf(make_model("mixed"), path)
    model = make_model("llama")
    model.blocks[0].ffn.down.weight.data[0, 0] = 1e9
    with pytest.raises(ValueError, match=r"blk.0.ffn_down.weight: F16 holds finite numbers up to"):
        save_gguf(model, path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ModelFormatError, match=r"model.bin: looks like a pickle"):
        (tmp_path / "model.bin").write_bytes(b"\x80\x04.")
        GPTModel.from_pretrained(tmp_path / "model.bin")


SIZES = {"num_kv_heads": 1, "ffn_dim": 64, "dropout": 0.0}


def _in_blocks(model: GPTModel, path: Path, forms: dict[str, str]) -> Path:
    """The model with its matrices in Q8_0, but for those whose names end as forms says; types that
    aren't written are zeros."""
    save_gguf(model, path, "float32")
    file = GgufFile(path)
    metadata = {key: file.metadata[key] for key in file.metadata}
    tensors = {}
    for name, place in file.tensors.items():
        kind = next((form for end, form in forms.items() if name.endswith(end)), "Q8_0")
        form = TYPE_NAMED["F32" if len(place.shape) == 1 else kind]
        if form.encode is None:
            blocks = np.zeros((place.shape[0], place.shape[1] // 32, form.block_bytes), np.uint8)
        else:
            blocks = encode(file.read(name), form)
        tensors[name] = GgufTensor(place.shape, form, lambda b=blocks: b)  # type: ignore[misc]
    write_gguf(path, metadata, tensors)
    return path


@pytest.mark.parametrize("tied", [True, False])
def test_blocks_stay_as_they_are(make_model: Any, tmp_path: Path, tied: bool) -> None:
    """8, 5 and 4 bits: the weights are those of the file, bit for bit, in no more memory."""
    model = make_model("llama", **SIZES, tie_embeddings=tied)
    forms = {"ffn_down.weight": "Q4_0", "attn_output.weight": "Q5_1"}
    path = _in_blocks(model, tmp_path / "m.gguf", forms)
    wanted, loaded = (GPTModel.from_pretrained(path, dtype) for dtype in ("float32", None))
    formats = {}
    for (name, parameter), (_, exact) in zip(
        loaded.named_parameters(), wanted.named_parameters(), strict=True
    ):
        np.testing.assert_array_equal(parameter.data, exact.data, err_msg=name)
        if isinstance(parameter, FrozenParameter):
            formats[name] = parameter.format
    for i in range(2):
        assert formats.pop(f"blocks.{i}.ffn.down.weight") == "q4_0"
        assert formats.pop(f"blocks.{i}.attention.output.weight") == "q5"
    assert set(formats.values()) == {"q8"} and len(formats) == 4 + 1 + (not tied)
    ids = [3, 1, 4, 1, 5]
    y, exact_y = loaded(ids), wanted(ids)
    assert 0 < np.abs(y - exact_y).max() < 0.05 * np.abs(exact_y).max()  # activations of 8 bits
    with pytest.raises(RuntimeError, match="inference"):
        loaded.train().loss_and_backward([ids], [ids])


@pytest.mark.parametrize("dtype", [None, "q4"])
def test_blocks_of_four_bits_with_others_that_have_a_minimum(
    make_model: Any, tmp_path: Path, dtype: str | None
) -> None:
    """Q4_0 is held in q4 where it is asked for, or stands in one array with Q4_1: bit for bit."""
    forms = {"attn_k.weight": "Q4_1", "": "Q4_0"}
    path = _in_blocks(make_model("llama", **SIZES), tmp_path / "m.gguf", forms)
    wanted, loaded = (GPTModel.from_pretrained(path, as_) for as_ in ("float32", dtype))
    for block, exact in zip(loaded.blocks, wanted.blocks, strict=True):
        assert block.attention.qkv.weight.format == "q4"
        assert block.ffn.up.weight.format == ("q4" if dtype else "q4_0")
        for layer in ("attention.qkv", "ffn.up", "ffn.down"):
            ours, theirs = (attrgetter(f"{layer}.weight.data")(b) for b in (block, exact))
            np.testing.assert_array_equal(ours, theirs, err_msg=layer)


def test_what_goes_wrong_beside_the_reading(make_model: Any, tmp_path: Path) -> None:
    """Blocks are read in a thread: errors in it, and beside it, reach the caller; it ends."""
    path = _in_blocks(make_model("llama", **SIZES), tmp_path / "m.gguf", {})
    wanted, threads = GPTModel.from_pretrained(path), threading.active_count()
    done = []
    loaded = load_gguf(GPTModel, open_gguf(path), None, lambda: done.append("beside"))
    assert done == ["beside"]
    for (name, parameter), other in zip(
        wanted.named_parameters(), loaded.parameters(), strict=True
    ):
        np.testing.assert_array_equal(parameter.data, other.data, err_msg=name)

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_gguf(GPTModel, open_gguf(path), None, interrupted)
    file = open_gguf(path)
    last = max(file.tensors.values(), key=lambda place: place.start)
    with path.open("r+b") as shorter:  # by somebody else, meanwhile
        shorter.truncate(last.start + last.nbytes - 1)
    with pytest.raises(ModelFormatError, match=r"m\.gguf: the file ends within a row of blocks"):
        load_gguf(GPTModel, file, None, lambda: None)
    assert threading.active_count() == threads


def test_blocks_of_two_kinds_in_one_matrix(make_model: Any, tmp_path: Path) -> None:
    """q, k and v are one matrix here; what can't be kept is decoded, and that is said."""
    model = make_model("llama", **SIZES)
    path = _in_blocks(model, tmp_path / "m.gguf", {"attn_v.weight": "Q4_0"})
    exact = GPTModel.from_pretrained(path, "float32")
    with pytest.warns(
        RuntimeWarning, match=r"m\.gguf: weights in Q4_0, Q8_0 become float32; dtype="
    ):
        loaded = GPTModel.from_pretrained(path)
    qkv = loaded.blocks[0].attention.qkv.weight
    assert not isinstance(qkv, FrozenParameter)
    np.testing.assert_array_equal(qkv.data, exact.blocks[0].attention.qkv.weight.data)
    assert isinstance(loaded.head.weight, FrozenParameter)


@pytest.mark.parametrize("dtype", [name for name in FORMATS if name != "float32"])
def test_another_dtype(make_model: Any, tmp_path: Path, dtype: str) -> None:
    """The float32 weights in that format, bit for bit; blocks that have it already stay."""
    model = make_model("llama", **SIZES)
    path = _in_blocks(model, tmp_path / "m.gguf", {})
    model.save_pretrained(tmp_path / "m")
    ids = [3, 1, 4, 1, 5]
    for source in (path, tmp_path / "m"):
        loaded = GPTModel.from_pretrained(source, dtype)
        formats = {getattr(p, "format", "float32") for p in loaded.parameters() if len(p.shape) > 1}
        assert formats == {dtype}
        if source == path and dtype == "q8":
            wanted = GPTModel.from_pretrained(path)
        else:
            wanted = GPTModel.from_pretrained(source, "float32").quantize(dtype)
        np.testing.assert_array_equal(loaded(ids), wanted(ids))
    with pytest.raises(ValueError, match="dtype 'int3' is unknown; allowed: float32"):
        GPTModel.from_pretrained(path, "int3")


def test_float32_weights_of_a_file_are_trained(make_model: Any, tmp_path: Path) -> None:
    """Whatever their blocks: a step along the gradient lowers the loss."""
    path = _in_blocks(make_model("llama", **SIZES), tmp_path / "m.gguf", {})
    model = GPTModel.from_pretrained(path, "float32").train()
    ids = [[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]]
    before = model.loss_and_backward(ids, ids)
    for parameter in model.parameters():
        parameter.data -= 0.01 * parameter.grad
    assert model.compute_loss(ids, ids) < before - 0.01
    with pytest.raises(RuntimeError, match=r'kept as q8 .* in float32 \(dtype="float32"\)'):
        GPTModel.from_pretrained(path).loss_and_backward(ids, ids)


@pytest.mark.parametrize("kind", ["Q4_0", "Q5_0"])
def test_scales_that_are_large(make_model: Any, tmp_path: Path, kind: str) -> None:
    """Q4_0 keeps any float16; Q5_0 gets a minimum, -16 times it, which may be beyond float16."""
    model = make_model("llama", **SIZES)
    path = _in_blocks(model, tmp_path / "m.gguf", {"ffn_down.weight": kind})
    place = GgufFile(path).tensors["blk.1.ffn_down.weight"]
    content = bytearray(path.read_bytes())
    content[place.start : place.start + 2] = np.float16(-60000).tobytes()
    path.write_bytes(content)
    if kind == "Q5_0":
        refused = r"m\.gguf: blk\.1\.ffn_down\.weight: scale -60000"
        with pytest.raises(ModelFormatError, match=refused):
            GPTModel.from_pretrained(path)
        return
    wanted, loaded = (GPTModel.from_pretrained(path, dtype) for dtype in ("float32", None))
    down, exact = (model.blocks[1].ffn.down.weight for model in (loaded, wanted))
    assert down.format == "q4_0" and np.abs(exact.data).max() > 65504
    np.testing.assert_array_equal(down.data, exact.data)
