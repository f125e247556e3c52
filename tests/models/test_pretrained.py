"""Models on disk: round trips, names that others use, contradictions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from litegpt import GPTModel
from litegpt.formats import ModelFormatError


def _edit(directory: Path, **changes: Any) -> None:
    """Changes fields of config.json; None removes one."""
    path = directory / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: v for name, v in config.items() if v is not None}))


@pytest.fixture
def saved(make_model: Any, tmp_path: Path) -> Any:
    def save(family: str, **changes: Any) -> Path:
        make_model(family, **changes).save_pretrained(tmp_path / "model")
        return tmp_path / "model"

    return save


def test_round_trip(make_model: Any, family: str, ids: np.ndarray, tmp_path: Path) -> None:
    model = make_model(family, dropout=0.25)
    model.save_pretrained(tmp_path / "a" / "b")
    assert sorted(p.name for p in (tmp_path / "a" / "b").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    loaded = GPTModel.from_pretrained(str(tmp_path / "a" / "b"))
    assert not loaded.training
    assert loaded.config == model.config and loaded.dropout == 0.25
    state = loaded.state_dict()
    assert list(state) == list(model.state_dict())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(state[name], array)
    np.testing.assert_array_equal(loaded(ids), model.eval()(ids))


def test_every_field_comes_back(make_model: Any, tmp_path: Path) -> None:
    for family, changes in {
        "default": {"norm_eps": 1e-3, "init_std": 0.1, "rope_theta": 7.0, "activation": "relu"},
        "gpt2": {"norm_bias": False, "output_bias": False},
        "llama": {"rope_theta": 77.0, "qkv_bias": True, "ffn_bias": True, "tie_embeddings": True},
    }.items():
        changes = changes if family != "gpt2" else {**changes, "bias": None, "qkv_bias": True}
        model = make_model(family, **changes)
        model.save_pretrained(tmp_path / family)
        assert GPTModel.from_pretrained(tmp_path / family).config == model.config


def test_names_and_shapes_on_disk(saved: Any) -> None:
    directory = saved("default")
    tensors = load_file(directory / "model.safetensors")
    assert tensors["transformer.h.1.attn.c_attn.weight"].shape == (32, 96)
    assert not tensors["transformer.h.1.attn.c_attn.bias"].any()  # absent ones are zeros
    assert tensors["transformer.h.0.mlp.c_fc.bias"].any()
    assert tensors["lm_head.weight"].shape == (23, 32)
    config = json.loads((directory / "config.json").read_text())
    assert config["model_type"] == "gpt2" and config["n_embd"] == 32
    assert config["litegpt"] == {"qkv_bias": False, "output_bias": False}


def test_llama_names_and_shapes(saved: Any) -> None:
    tensors = load_file(saved("llama") / "model.safetensors")
    assert tensors["model.layers.0.self_attn.k_proj.weight"].shape == (16, 32)
    assert tensors["model.layers.1.mlp.gate_proj.weight"].shape == (48, 32)
    assert tensors["model.layers.1.mlp.down_proj.weight"].shape == (32, 48)
    assert not any(name.endswith("bias") for name in tensors)


def test_saving_again_replaces_and_keeps_what_is_beside(saved: Any, make_model: Any) -> None:
    directory = saved("gpt2")
    (directory / "tokenizer.json").write_text("{}")
    (directory / "notes.txt").write_text("mine")
    make_model("llama").save_pretrained(directory)
    assert GPTModel.from_pretrained(directory).config.norm == "rmsnorm"
    assert (directory / "notes.txt").read_text() == "mine"


def test_parts_that_no_family_has(make_model: Any, tmp_path: Path) -> None:
    model = make_model("default", norm="rmsnorm")
    with pytest.raises(ValueError, match=r"no weight family .* has norm 'rmsnorm' with position"):
        model.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_gpt2_names_of_other_files(saved: Any, ids: np.ndarray, prefix: str) -> None:
    """OpenAI's file has no prefix, and causal masks as buffers; float16 is read too."""
    directory = saved("gpt2")
    wanted = GPTModel.from_pretrained(directory)(ids)
    tensors = {
        name.replace("transformer.", prefix): array
        for name, array in load_file(directory / "model.safetensors").items()
    }
    tensors[f"{prefix}h.0.attn.bias"] = np.ones((1, 1, 40, 40), np.float32)
    tensors["lm_head.weight"] = tensors[f"{prefix}wte.weight"]  # what is tied, once more
    save_file(tensors, directory / "model.safetensors")
    assert np.array_equal(GPTModel.from_pretrained(directory)(ids), wanted)
    halves = {name: array.astype(np.float16) for name, array in tensors.items()}
    save_file(halves, directory / "model.safetensors")
    np.testing.assert_allclose(GPTModel.from_pretrained(directory)(ids), wanted, atol=0.1)


@pytest.mark.parametrize("kind", ["float32", "float64", "uint8", "bool"])
def test_buffers_of_old_files_may_be_of_any_type(saved: Any, ids: np.ndarray, kind: str) -> None:
    """What isn't read: causal masks, and the frequencies of rotary positions."""
    for family, names in {
        "gpt2": ["transformer.h.0.attn.bias", "h.1.attn.masked_bias"],
        "llama": ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"],
    }.items():
        directory = saved(family)
        wanted = GPTModel.from_pretrained(directory)(ids)
        tensors = load_file(directory / "model.safetensors")
        tensors |= {name: np.ones(3, kind) for name in names}
        save_file(tensors, directory / "model.safetensors")
        assert np.array_equal(GPTModel.from_pretrained(directory)(ids), wanted)


def test_silu_has_two_names(saved: Any) -> None:
    directory = saved("llama")
    _edit(directory, hidden_act="swish")
    assert GPTModel.from_pretrained(directory).config.activation == "swiglu"


def test_contradictions_between_config_and_tensors(saved: Any, family: str) -> None:
    """A tensor that the configuration has no place for must hold what it is there."""
    directory = saved(family)
    path = directory / "model.safetensors"
    name, says = {
        "default": ("transformer.h.0.attn.c_attn.bias", "equals zero"),
        "gpt2": ("lm_head.weight", "equals token_embedding.weight"),
        "llama": ("lm_head.weight", "equals token_embedding.weight"),
        "mixed": ("transformer.wpe.weight", "equals position_encoding.weight"),
    }[family]
    tensors = load_file(path)
    if family == "llama":
        _edit(directory, tie_word_embeddings=True)
    else:
        tensors[name] = tensors.get(name, tensors["transformer.wte.weight"]) + 1
        save_file(tensors, path)
    with pytest.raises(
        ModelFormatError, match=f"{path}: {name} contradicts the configuration.*{says}"
    ):
        GPTModel.from_pretrained(directory)


def test_all_tensors_that_do_not_fit_are_named_at_once(saved: Any) -> None:
    directory = saved("gpt2")
    path = directory / "model.safetensors"
    tensors = load_file(path)
    del tensors["transformer.ln_f.weight"]
    tensors["transformer.h.2.ln_1.weight"] = np.zeros(32, np.float32)
    tensors["transformer.h.0.ln_1.bias"] = np.zeros(31, np.float32)
    tensors["transformer.h.0.ln_2.bias"] = np.zeros(32, np.int32)
    save_file(tensors, path)
    with pytest.raises(ModelFormatError) as raised:
        GPTModel.from_pretrained(directory)
    for part in (
        str(path),
        "missing transformer.ln_f.weight",
        "unexpected transformer.h.2.ln_1.weight",
        "transformer.h.0.ln_1.bias has shape (31,), not (32,)",
        "transformer.h.0.ln_2.bias has type I32; types read are F32, F16, BF16",
    ):
        assert part in str(raised.value)


@pytest.mark.parametrize(
    ("family", "changes", "says"),
    [
        (
            "gpt2",
            {"model_type": "bert"},
            "model_type must be one of 'gpt2', 'llama', .* not 'bert'",
        ),
        ("gpt2", {"model_type": None}, "model_type is missing"),
        ("gpt2", {"n_layer": -1}, "n_layer must be an integer from 1"),
        ("gpt2", {"n_layer": 10**9}, "28 tensors are too few for 1000000000 layers"),
        ("gpt2", {"n_layer": 3}, "missing transformer.h.2.ln_1.weight"),
        ("gpt2", {"n_embd": "32"}, "n_embd must be an integer"),
        ("gpt2", {"vocab_size": 2**31 - 1}, r"wte.weight has shape \(23, 32\), not \(2147483647"),
        ("gpt2", {"vocab_size": 10**30}, "vocab_size must be an integer from 1 to 2"),
        ("gpt2", {"n_head": 5}, "hidden_dim 32 must be divisible by num_heads 5"),
        ("gpt2", {"activation_function": "swish"}, "activation_function must be one of"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "must be false, not True"),
        ("gpt2", {"litegpt": {"colour": 1}}, "litegpt.colour is no field of GPTConfig"),
        ("gpt2", {"litegpt": {"qkv_bias": 3}}, "qkv_bias must be True or False"),
        ("gpt2", {"litegpt": {"norm": "rmsnorm"}}, "litegpt asks for what the family has not"),
        ("gpt2", {"litegpt": [1]}, "litegpt must be an object"),
        ("gpt2", {"litegpt": {"init_std": 10**400}}, "init_std must be a finite number, not 1000"),
        (
            "llama",
            {"litegpt": {"rope_scaling": {"rope_type": "linear", "factor": 10**400}}},
            "rope_scaling's factor must be a positive number, not 1000",
        ),
        ("llama", {"hidden_act": "gelu"}, "hidden_act must be one of 'silu'"),
        ("llama", {"head_dim": 9}, "head_dim must be hidden_size 32 / num_attention_heads 4"),
        (
            "llama",
            {"rope_scaling": {"rope_type": "llama3"}},
            "factor is missing; it must be a finite",
        ),
        ("llama", {"rope_scaling": {"type": "yarn"}}, "type must be one of 'default', 'linear'"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": -1}}, "factor must be a positive"),
        (
            "llama",
            {
                "rope_scaling": {
                    "rope_type": "llama3",
                    "factor": 8,
                    "low_freq_factor": 1,
                    "high_freq_factor": 4,
                    "original_max_position_embeddings": 16.5,
                }
            },
            "original_max_position_embeddings must be a whole number, not 16.5",
        ),
        ("llama", {"rope_theta": 1e400}, "rope_theta must be a finite number"),
        ("llama", {"attention_bias": True}, "missing model.layers.0.self_attn.q_proj.bias"),
    ],
)
def test_configs_that_do_not_fit(
    saved: Any, family: str, changes: dict[str, Any], says: str
) -> None:
    directory = saved(family)
    _edit(directory, **changes)
    with pytest.raises(ModelFormatError, match=says) as raised:
        GPTModel.from_pretrained(directory)
    assert str(directory) in str(raised.value)


def test_a_context_of_any_length_takes_no_memory_by_itself(saved: Any, ids: np.ndarray) -> None:
    """Rotary tables grow with what is used: the config alone can't make them large."""
    directory = saved("llama")
    wanted = GPTModel.from_pretrained(directory)
    _edit(directory, max_position_embeddings=2**31 - 1)
    model = GPTModel.from_pretrained(directory)
    np.testing.assert_array_equal(model(ids), wanted(ids))
    assert model.nbytes < wanted.nbytes + 100_000


def test_rope_parameters_of_newer_files(saved: Any) -> None:
    directory = saved("llama")
    _edit(directory, rope_theta=None, rope_parameters={"rope_type": "default", "rope_theta": 5.0})
    assert GPTModel.from_pretrained(directory).config.rope_theta == 5.0
    scaling = {"rope_type": "linear", "factor": 2.0, "rope_theta": 7.0}
    _edit(directory, rope_parameters=None, rope_scaling=scaling)
    assert GPTModel.from_pretrained(directory).config.rope_theta == 7.0
    other = {"rope_type": "dynamic", "factor": 3.0, "rope_theta": 9.0}
    _edit(directory, rope_parameters=other)  # of both, transformers takes the older one
    config = GPTModel.from_pretrained(directory).config
    assert config.rope_scaling == {"rope_type": "linear", "factor": 2.0}
    assert config.rope_theta == 7.0


@pytest.mark.parametrize(
    ("model_type", "changes", "context"),
    [
        ("llama", {"sliding_window": 16}, 5000),  # which its models don't have
        ("mistral", {"sliding_window": 16}, 16),
        ("mistral", {"sliding_window": 10**6}, 5000),
        ("mistral", {}, 4096),
        ("qwen2", {"sliding_window": 16}, 5000),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 16}, 16),
        ("qwen2", {"use_sliding_window": True}, 4096),
    ],
)
def test_windows(saved: Any, model_type: str, changes: dict[str, Any], context: int) -> None:
    """A context ends where a window would begin to hide."""
    directory = saved("llama", qkv_bias=True, bias=None, ffn_bias=False)
    _edit(directory, model_type=model_type, max_position_embeddings=5000, **changes)
    assert GPTModel.from_pretrained(directory).max_seq_len == context


def test_one_key_value_head_is_saved_as_gpt_bigcode(tmp_path: Path, make_model: Any) -> None:
    model = make_model("gpt2", num_kv_heads=1).eval()
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "gpt_bigcode"
    stored = load_file(tmp_path / "model.safetensors")["transformer.h.0.attn.c_attn.weight"]
    assert stored.shape == (32 + 2 * 8, 32)  # queries and one key and value head, (out, in)
    np.testing.assert_array_equal(stored, model.blocks[0].attention.qkv.weight.data.T)
    again = GPTModel.from_pretrained(tmp_path)
    assert again.config == model.config
    np.testing.assert_array_equal(again([[1, 2, 3]]), model([[1, 2, 3]]))
