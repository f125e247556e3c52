"""SmolLM2-135M-Instruct, from the GGUF file that its users have."""

from pathlib import Path
from typing import Any

import numpy as np
import perplexity
import pytest

from litegpt import GPTModel, TextModel
from litegpt.formats import GgufFile
from litegpt.models.pretrained import read_metadata
from litegpt.text import tokenizer_from_gguf

# "The capital of France is": the ids of the vocabulary's own tokenizer
PROMPT = [504, 3575, 282, 4649, 314]


@pytest.fixture(scope="module")
def model(smollm2: Path) -> GPTModel:
    return GPTModel.from_pretrained(smollm2, "float32")


def test_metadata_and_tensors_are_those_of_the_gguf_package(smollm2: Path) -> None:
    gguf = pytest.importorskip("gguf", reason="the package gguf isn't installed")
    ours, theirs = GgufFile(smollm2), gguf.GGUFReader(smollm2)
    names = [name for name in theirs.fields if not name.startswith("GGUF.")]
    assert list(ours.metadata) == names
    for name in names:
        value = ours.metadata[name]
        value = value.tolist() if isinstance(value, np.ndarray) else value
        assert value == theirs.fields[name].contents(), name
    assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
    for tensor in theirs.tensors:
        wanted = np.ascontiguousarray(gguf.dequantize(tensor.data, tensor.tensor_type))
        assert ours.read(tensor.name).tobytes() == wanted.tobytes(), tensor.name


def test_configuration(smollm2: Path) -> None:
    _, config = read_metadata(GgufFile(smollm2))
    assert (config.vocab_size, config.max_seq_len, config.num_layers) == (49152, 8192, 30)
    assert (config.num_heads, config.num_kv_heads, config.head_dim) == (9, 3, 64)
    assert (config.hidden_dim, config.ffn_dim, config.tie_embeddings) == (576, 1536, True)
    assert (config.norm_eps, config.rope_theta) == (1e-5, 100000.0)


def _dequantised(smollm2: Path, transformers: Any) -> Any:
    """What transformers makes of the file by itself: config, names, order of rows and all."""
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = transformers.LlamaConfig(**load_gguf_checkpoint(str(smollm2))["config"])
    model = transformers.LlamaForCausalLM(config).eval()
    read = load_gguf_checkpoint(str(smollm2), return_tensors=True, model_to_load=model)
    missing, unexpected = model.load_state_dict(read["tensors"], strict=False)
    assert missing in ([], ["lm_head.weight"]) and not unexpected
    model.tie_weights()
    return model


@pytest.mark.slow
def test_against_transformers(smollm2: Path, model: GPTModel, data_dir: Path) -> None:
    """Its weights as float32 in LlamaForCausalLM: logits of a text, 64 greedy tokens."""
    torch = pytest.importorskip("torch", reason="PyTorch isn't installed")
    transformers = pytest.importorskip("transformers", reason="transformers isn't installed")
    pytest.importorskip("gguf", reason="the package gguf isn't installed")
    torch.set_num_threads(1)
    theirs = _dequantised(smollm2, transformers)
    text = (data_dir / "tinyshakespeare.txt").read_text()[:4000]
    ids = tokenizer_from_gguf(GgufFile(smollm2).metadata).encode(text)[None, :512]
    whole = {"min_new_tokens": 64, "max_new_tokens": 64, "do_sample": False}
    with torch.no_grad():
        wanted = theirs(torch.tensor(ids)).logits.numpy()
        tokens = theirs.generate(torch.tensor([PROMPT]), **whole)
    np.testing.assert_allclose(model(ids), wanted, rtol=0, atol=2e-4)
    ends = {"stop_ids": [theirs.config.eos_token_id], "min_new_tokens": 64}  # none before
    greedy = model.generate(PROMPT, max_new_tokens=64, temperature=0, **ends)
    assert greedy.tolist() == tokens.tolist()


@pytest.mark.slow
def test_perplexity_is_that_of_llama_cpp(
    smollm2: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the blocks as they are; 20 KB are measured by benchmarks/perplexity.py."""
    pytest.importorskip("llama_cpp", reason="llama-cpp-python isn't installed")
    monkeypatch.setenv("LITEGPT_SMOLLM2", str(smollm2))
    model = TextModel.from_pretrained(smollm2)
    ids = model.tokenizer.encode((data_dir / "tinyshakespeare.txt").read_text()[:2500])
    theirs = perplexity.theirs(perplexity.llama_cpp(threads=1), ids)
    assert perplexity.ours(model, ids) == pytest.approx(theirs, rel=0.005)


def test_its_own_blocks(smollm2: Path, model: GPTModel) -> None:
    """By default the 4-bit matrices and the 8-bit table stay so, and say the same."""
    packed = GPTModel.from_pretrained(smollm2)
    assert packed.nbytes < 1.01 * smollm2.stat().st_size
    weights = packed.state_dict()
    for name, exact in model.state_dict().items():
        assert np.array_equal(weights[name], exact), name
    tokens = packed.generate(PROMPT, max_new_tokens=1, temperature=0)[0].tolist()
    assert tokens == [*PROMPT, 7042]  # " Paris"
