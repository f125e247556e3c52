"""The gpt2 family: Radford et al., "Language models are unsupervised multitask learners", 2019.

Layernorm, learned positions, GELU. Its dense layers are stored (in, out), as ours are, and q, k
and v are one matrix. In its files every layer has biases: absent ones are zeros, and fixed
positions are written as if learned.
"""

import re
from typing import Any

from litegpt.formats import JsonFields
from litegpt.models.config import GPTConfig
from litegpt.models.family import Tensor, head_tensor
from litegpt.models.parts import ADDED_POSITIONS

MODEL_TYPES: tuple[str, ...] = ("gpt2",)

_ACTIVATIONS = {  # theirs -> ours
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "gelu": "gelu_erf",
    "relu": "relu",
}
_BUFFER = re.compile(r"(transformer\.)?h\.\d+\.attn\.(masked_)?bias")  # causal masks in old files


def expresses(config: GPTConfig) -> bool:
    return (
        config.norm == "layernorm"
        and config.position in ADDED_POSITIONS
        and config.activation in _ACTIVATIONS.values()
        and config.num_kv_heads == config.num_heads
    )


def to_fields(config: GPTConfig) -> dict[str, Any]:
    activations = {ours: theirs for theirs, ours in reversed(_ACTIVATIONS.items())}
    return {
        "model_type": MODEL_TYPES[0],
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": config.vocab_size,
        "n_positions": config.max_seq_len,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_embd": config.hidden_dim,
        "n_inner": config.ffn_dim,
        "activation_function": activations[config.activation],
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "layer_norm_epsilon": config.norm_eps,
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def from_fields(fields: JsonFields) -> dict[str, Any]:
    for name, usual in (
        ("scale_attn_weights", True),
        ("scale_attn_by_inverse_layer_idx", False),
        ("add_cross_attention", False),
    ):
        if fields.flag(name, usual) != usual:
            raise fields.refuse(name, str(usual).lower())
    width = fields.integer("n_embd", 768)
    return {
        "vocab_size": fields.integer("vocab_size", 50257),
        "max_seq_len": fields.integer("n_positions", 1024),
        "num_layers": fields.integer("n_layer", 12),
        "num_heads": fields.integer("n_head", 12),
        "hidden_dim": width,
        "ffn_dim": fields.integer("n_inner", 4 * width),
        "activation": fields.choice("activation_function", _ACTIVATIONS, "gelu_new"),
        "dropout": fields.number("resid_pdrop", 0.1),
        "norm_eps": fields.number("layer_norm_epsilon", 1e-5),
        "init_std": fields.number("initializer_range", 0.02),
        "tie_embeddings": fields.flag("tie_word_embeddings", True),
        "bias": True,
    }


def tensors(config: GPTConfig) -> list[Tensor]:
    c, f = config.hidden_dim, config.ffn_dim
    table = (config.vocab_size, c)
    qkv = c + 2 * config.num_kv_heads * config.head_dim
    found = [
        Tensor("transformer.wte.weight", "token_embedding.weight", table),
        Tensor("transformer.wpe.weight", "position_encoding.weight", (config.max_seq_len, c)),
        Tensor("transformer.ln_f.weight", "final_norm.weight", (c,)),
        Tensor("transformer.ln_f.bias", "final_norm.bias", (c,)),
    ]
    for i in range(config.num_layers):
        for theirs, ours, shape in (
            ("ln_1", "ln1", (c,)),
            ("attn.c_attn", "attention.qkv", (c, qkv)),
            ("attn.c_proj", "attention.output", (c, c)),
            ("ln_2", "ln2", (c,)),
            ("mlp.c_fc", "ffn.up", (c, f)),
            ("mlp.c_proj", "ffn.down", (f, c)),
        ):
            name, parameter = f"transformer.h.{i}.{theirs}", f"blocks.{i}.{ours}"
            found.append(Tensor(f"{name}.weight", f"{parameter}.weight", shape))
            found.append(Tensor(f"{name}.bias", f"{parameter}.bias", shape[-1:]))
    return [*found, head_tensor(config)]


def own_name(name: str) -> str | None:
    """Some files (OpenAI's own) leave out the prefix."""
    if _BUFFER.fullmatch(name):
        return None
    return name if name.startswith(("transformer.", "lm_head.")) else f"transformer.{name}"
