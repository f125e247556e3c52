"""Models whose weights are kept in a format for inference: what they compute, hold and refuse."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from litegpt import AdamW, GPTModel, kernels
from litegpt.formats.quant import FORMATS, dequantize
from litegpt.models.decoding import DecodingStep
from litegpt.nn.frozen import FrozenParameter

equal = np.testing.assert_array_equal


@pytest.fixture(params=FORMATS)
def format(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_frozen_float32_is_the_model(compiled: str, model: GPTModel, ids: np.ndarray) -> None:
    want = model.eval()(ids)
    equal(model.quantize("float32")(ids), want)


@pytest.mark.parametrize("format", ["bfloat16", "float16"])
def test_numbers_of_16_bits_compute_as_the_rounded_model(
    compiled: str, model: GPTModel, ids: np.ndarray, family: str, format: str
) -> None:
    """Every weight rounded on its own, then the plain layers: the same logits, bit for bit."""
    frozen = make_rounded(model, format)
    want = model.eval()(ids)
    equal(frozen(ids), want)


def make_rounded(model: GPTModel, format: str) -> GPTModel:
    """A quantized copy; the model itself gets the weights that the copy has."""
    frozen = GPTModel.from_config(model.config)
    frozen.load_state_dict(model.state_dict())
    frozen.quantize(format)
    model.load_state_dict(frozen.state_dict())
    return frozen


@pytest.mark.parametrize("format", [name for name, form in FORMATS.items() if form.codes])
def test_codes_compute_nearly_as_the_rounded_model(
    backend: str, model: GPTModel, ids: np.ndarray, format: str
) -> None:
    """Only activations are rounded differently, by half a percent or so in every layer."""
    frozen = make_rounded(model, format)
    want, got = model.eval()(ids), frozen(ids)
    missed = np.sqrt(np.square(got - want).mean() / np.square(want).mean())
    assert 0 < missed < 0.03


def test_cached_decoding_is_full_recomputation(
    compiled: str, model: GPTModel, ids: np.ndarray, format: str
) -> None:
    """Bit for bit, by layers and by the recorded step; and a row alone is the row in a batch."""
    full = model.quantize(format)(ids)
    cache = model.new_cache(len(ids))
    with model.packed_weights():
        equal(model.next_logits(ids[:, :4], cache), full[:, 3])
        step = DecodingStep(model, cache)
        for i in range(4, 37):
            equal(step(ids[:, i]), full[:, i])
            assert step.program.complete
    equal(model(ids[1]), full[1:2])


def test_generation_on_the_numpy_rung(backend: str, model: GPTModel, format: str) -> None:
    """Cached or not, the same tokens."""
    model.quantize(format)
    prompt = np.array([[1, 2, 3], [4, 5, 6]])
    cached = model.generate(prompt, 12, temperature=0.0)
    equal(model.generate(prompt, 12, temperature=0.0, use_cache=False), cached)


def test_weights_are_the_rounded_ones(backend: str, model: GPTModel, format: str) -> None:
    before = {name: p.data.copy() for name, p in model.named_parameters()}
    model.quantize(format)
    frozen = 0
    for name, parameter in model.named_parameters():
        assert parameter.shape == before[name].shape
        if not isinstance(parameter, FrozenParameter):
            equal(parameter.data, before[name])
            assert parameter.shape[0] == 40 or len(parameter.shape) == 1, "positions, norms, biases"
            continue
        frozen += 1
        rows = before[name] if parameter.transposed else before[name].T
        blocks = kernels.quantize(np.ascontiguousarray(rows), format, transposed=True)
        rounded = dequantize(blocks, format, rows.shape[1])
        equal(parameter.data, rounded if parameter.transposed else rounded.T)
        error = np.sqrt(np.square(rounded - rows).sum() / np.square(rows).sum())
        np.testing.assert_allclose(parameter.error, error, rtol=1e-4)
        assert parameter.error <= 2 * FORMATS[format].error
        assert not parameter.data.flags.writeable
    assert frozen == (9 if model.config.tie_embeddings else 10)


def test_bytes_in_memory_are_those_of_the_format(model: GPTModel, format: str) -> None:
    wanted, form = model.nbytes, FORMATS[format]
    model.quantize(format)
    for parameter in model.parameters():
        if isinstance(parameter, FrozenParameter):
            outputs = -(-parameter.outputs // 32) * 32
            wanted += outputs * form.groups(parameter.inputs) * form.block_bytes
            wanted -= 4 * parameter.size
    assert model.nbytes == wanted


def test_what_trains_or_sets_is_refused(model: GPTModel, ids: np.ndarray, format: str) -> None:
    before = model.quantize(format)(ids)
    refused = pytest.raises(RuntimeError, match=f"kept as {format} for inference and can't be")
    state = {name: np.zeros(p.shape, np.float32) for name, p in model.named_parameters()}
    with refused:
        model.loss_and_backward(ids, ids)
    with refused:
        AdamW(model.named_parameters(), 1e-3).step()
    with refused:
        model.load_state_dict(state)
    with refused:
        model.token_embedding.weight.data = state["token_embedding.weight"]
    with refused:
        model.quantize("q8")
    equal(model(ids), before)


def test_a_weight_that_cannot_be_stored_is_named_and_nothing_changed(
    model: GPTModel, ids: np.ndarray, format: str
) -> None:
    before = model.eval()(ids)
    model.blocks[1].ffn.down.weight.data[3, 5] = np.nan
    with pytest.raises(ValueError, match=r"blocks.1.ffn.down.weight: weight at \(3, 5\) is nan"):
        model.quantize(format)
    assert not any(isinstance(p, FrozenParameter) for p in model.parameters())
    model.blocks[1].ffn.down.weight.data[3, 5] = 0
    assert model(ids).shape == before.shape


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_from_pretrained_in_a_format(
    make_model: Callable[..., GPTModel], ids: np.ndarray, family: str, format: str, tmp_path: Path
) -> None:
    """As quantizing what was loaded; and what a quantized model saves is the weights it has."""
    model = make_model(family)
    model.save_pretrained(tmp_path / "plain")
    loaded = GPTModel.from_pretrained(tmp_path / "plain", dtype=format)
    quantized = model.quantize(format)
    if kernels.backend() == "numpy":  # whose products depend on where arrays stand in memory
        np.testing.assert_allclose(loaded(ids), quantized(ids), rtol=1e-5, atol=1e-5)
    else:
        equal(loaded(ids), quantized(ids))
    quantized.save_pretrained(tmp_path / "rounded")
    again = GPTModel.from_pretrained(tmp_path / "rounded")
    for (name, want), got in zip(quantized.named_parameters(), again.parameters(), strict=True):
        equal(got.data, want.data, err_msg=name)


def test_an_unknown_dtype_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dtype 'int8' is unknown; allowed: float32, .*q5, q4"):
        GPTModel.from_pretrained(tmp_path / "absent", dtype="int8")


MEMORY = """
import re, sys
from litegpt import GPTModel

def resident():
    return 1024 * int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])

directory, format = sys.argv[1:]
bare = resident()
model = GPTModel.from_pretrained(directory)
model.quantize(format)
model.generate([[1, 2, 3]], 8, seed=0)
print((resident() - bare - model.nbytes) / (4 * model.get_num_parameters()))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 29 million parameters."""
    directory = tmp_path_factory.mktemp("saved")
    model = GPTModel(20000, 256, 6, 8, 512, tie_embeddings=True, seed=0)
    model.save_pretrained(directory)
    return directory


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc: not Linux")
@pytest.mark.skipif(kernels.native_error is not None, reason="it is about the compiled kernels")
@pytest.mark.parametrize("format", ["float32", "bfloat16", "q8"])
def test_generation_holds_one_copy_of_the_weights(saved: Path, format: str) -> None:
    """Resident after generating, beyond the bare process and the weights as they are kept: at most
    0.15 of what they are as float32. So the file that they came from isn't held either.
    """
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, saved, format],
        capture_output=True,
        text=True,
        check=True,
        env={name: value for name, value in os.environ.items() if name != "LITEGPT_BACKEND"},
    )
    assert -0.05 < float(run.stdout) < 0.15
