"""What transformers saves loads here, and computes the same; what is saved here loads there."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litegpt import ByteTokenizer, CharTokenizer, GPTModel
from litegpt.text import Tokenizer

torch = pytest.importorskip("torch", reason="PyTorch isn't installed")
transformers = pytest.importorskip("transformers", reason="transformers isn't installed")

SIZES = {
    "vocab_size": 37,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "linear": ("Llama", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
    "dynamic": ("Llama", {"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}),
    "llama3": ("Llama", {"rope_scaling": LLAMA3, "rope_theta": 5000.0}),
    "mistral": ("Mistral", {"sliding_window": 16, "head_dim": 8}),
    "bigcode": ("GPTBigCode", {"attention_softmax_in_fp32": False}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
}


@pytest.fixture(autouse=True)
def one_torch_thread() -> None:
    torch.set_num_threads(1)


def _theirs(name: str) -> Any:
    kind, changes = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SIZES, **changes)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)  # biases aren't zeros then
    return model


def _logits(model: Any, ids: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor(ids)).logits.float().numpy()


@pytest.mark.parametrize("name", MODELS)
def test_directories(tmp_path: Path, name: str) -> None:
    """Read, in one file and in shards, and written again for transformers."""
    theirs = _theirs(name)
    theirs.save_pretrained(tmp_path / "whole")
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="8KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    model = GPTModel.from_pretrained(tmp_path / "whole")
    ids = np.random.default_rng(0).integers(0, 37, (2, model.max_seq_len))
    # a window; four times as long as before the scaling
    assert model.max_seq_len == {"mistral": 16, "dynamic": 256}.get(name, 64)
    wanted = _logits(theirs, ids)
    np.testing.assert_allclose(model(ids), wanted, atol=1e-4)
    np.testing.assert_array_equal(GPTModel.from_pretrained(tmp_path / "shards")(ids), model(ids))
    model.save_pretrained(tmp_path / "ours")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    np.testing.assert_allclose(_logits(again.eval(), ids), wanted, atol=1e-4)
    assert GPTModel.from_pretrained(tmp_path / "ours").config == model.config
    if name == "dynamic":  # the angles of 64 positions stay, those of 65 are others
        for length in (64, 65):
            _logits(theirs, ids[:, :9])  # theirs goes back to the first angles for a short text
            part = ids[:, :length]
            np.testing.assert_allclose(model(part), _logits(theirs, part), atol=1e-4)
            prompt = torch.tensor(part[:1, :60])
            whole = {"max_new_tokens": 20, "do_sample": False, "use_cache": False}
            _logits(theirs, ids[:, :9])
            mask = torch.ones_like(prompt)
            wanted = theirs.generate(prompt, attention_mask=mask, eos_token_id=None, **whole)
            assert model.generate(prompt.numpy(), 20, temperature=0).tolist() == wanted.tolist()
    if name == "llama3":  # transformers warns of 16.0
        scaling = json.loads((tmp_path / "ours/config.json").read_text())["rope_scaling"]
        assert repr(scaling["original_max_position_embeddings"]) == "16"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves(tmp_path: Path, dtype: str) -> None:
    _theirs("llama").to(getattr(torch, dtype)).save_pretrained(tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ids = np.random.default_rng(0).integers(0, 37, (2, 50))
    wanted = _logits(theirs.eval(), ids)  # the rounded weights, computed in float32
    np.testing.assert_allclose(GPTModel.from_pretrained(tmp_path)(ids), wanted, atol=1e-4)


@pytest.mark.slow
def test_gpt2_124m(tmp_path: Path) -> None:
    """Of the real shape, with random weights: logits over 512 positions, 64 greedy tokens."""
    torch.manual_seed(0)
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config()).eval()
    theirs.save_pretrained(tmp_path)
    model = GPTModel.from_pretrained(tmp_path)
    assert model.get_num_parameters() == 124_439_808
    ids = np.random.default_rng(0).integers(0, 50257, (1, 512))
    np.testing.assert_allclose(model(ids), _logits(theirs, ids), rtol=0, atol=2e-4)
    prompt = torch.tensor(ids[:, :16])
    whole = {"min_new_tokens": 64, "max_new_tokens": 64, "do_sample": False}
    wanted = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), **whole)
    assert model.generate(ids[:, :16], 64, temperature=0).tolist() == wanted.tolist()


@pytest.mark.parametrize("kind", [CharTokenizer, ByteTokenizer])
def test_tokenizers_of_our_own(tmp_path: Path, kind: type[Tokenizer]) -> None:
    """Beside a model of GPT-2's parts, whose own tokenizer transformers would take otherwise."""
    text = "To be,  or\n\n not; née 🙂👩‍👩‍👧 we'll 12"
    tokenizer = kind.from_text(text)
    GPTModel(tokenizer.vocab_size, 8, 1, 1, 4, seed=0).save_pretrained(tmp_path)
    tokenizer.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer.encode(text).tolist()
    assert len(theirs) == tokenizer.vocab_size and theirs(text)["input_ids"] == ids
    assert theirs.decode(ids) == text
