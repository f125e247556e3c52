"""The llama family: Touvron et al., 2023 (arXiv:2302.13971).

RMSNorm, rotary positions, SwiGLU, grouped heads. Its dense layers are stored (out, in), the
transpose of ours, and q, k, v, gate and up are matrices of their own. Mistral's models are the same
(Jiang et al., 2023, arXiv:2310.06825), and qwen2's but for biases of q, k and v (Yang et al., 2024,
arXiv:2407.10671); what was read from them is written as a llama.
"""

import re
from typing import Any

from litegpt.formats import JsonFields
from litegpt.models.config import GPTConfig
from litegpt.models.family import Tensor, head_tensor
from litegpt.nn.position import ROPE_SCALINGS

MODEL_TYPES: tuple[str, ...] = ("llama", "mistral", "qwen2")

_ORIGINAL = "original_max_position_embeddings"
_MOST_POSITIONS = 2**31 - 1
_WINDOW = 4096  # of mistral and qwen2 where none is said; null is no window
_BUFFER = re.compile(r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq")  # in some files


def expresses(config: GPTConfig) -> bool:
    return (
        config.norm == "rmsnorm" and config.position == "rotary" and config.activation == "swiglu"
    )


def to_fields(config: GPTConfig) -> dict[str, Any]:
    return {
        "model_type": MODEL_TYPES[0],
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.steady_positions,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "hidden_size": config.hidden_dim,
        "intermediate_size": config.ffn_dim,
        "hidden_act": "silu",
        "attention_bias": config.qkv_bias or config.output_bias,
        "mlp_bias": config.ffn_bias,
        "attention_dropout": config.dropout,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": _said(config.rope_scaling),
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def from_fields(fields: JsonFields) -> dict[str, Any]:
    fields.choice("hidden_act", {"silu": "swiglu", "swish": "swiglu"}, "silu")
    heads, width = fields.integer("num_attention_heads", 32), fields.integer("hidden_size", 4096)
    if fields.integer("head_dim", width // heads or 1) * heads != width:
        raise fields.refuse("head_dim", f"hidden_size {width} / num_attention_heads {heads}")
    qwen2 = fields.choice("model_type", {t: t == "qwen2" for t in MODEL_TYPES})
    attention_bias = fields.flag("attention_bias", False)
    positions = fields.integer("max_position_embeddings", 2048)
    rope = _rope(fields)
    scaling = _rope_scaling(rope, positions)
    return {
        "vocab_size": fields.integer("vocab_size", 32000),
        "max_seq_len": _context(fields, positions, scaling),
        "num_layers": fields.integer("num_hidden_layers", 32),
        "num_heads": heads,
        "num_kv_heads": fields.integer("num_key_value_heads", heads),
        "hidden_dim": width,
        "ffn_dim": fields.integer("intermediate_size", 11008),
        "dropout": fields.number("attention_dropout", 0.0),
        "norm": "rmsnorm",
        "norm_eps": fields.number("rms_norm_eps", 1e-6),
        "position": "rotary",
        "rope_theta": rope.number("rope_theta", fields.number("rope_theta", 10000.0)),
        "rope_scaling": scaling,
        "activation": "swiglu",
        "qkv_bias": attention_bias or qwen2,
        "output_bias": attention_bias,
        "ffn_bias": fields.flag("mlp_bias", False),
        "init_std": fields.number("initializer_range", 0.02),
        "tie_embeddings": fields.flag("tie_word_embeddings", False),
    }


def _rope(fields: JsonFields) -> JsonFields:
    """What is said of rotary positions: newer files have it under another name."""
    older = fields.section("rope_scaling")
    return older if older.fields else fields.section("rope_parameters")


def _rope_scaling(section: JsonFields, positions: int) -> dict[str, Any] | None:
    """In older files rope_type is called type.

    "dynamic" begins where max_position_embeddings end, whatever else is said.
    """
    key = "rope_type" if "rope_type" in section.fields else "type"
    numbers = section.choice(key, {"default": None, **ROPE_SCALINGS}, "default")
    if numbers is None:
        return None
    dynamic = section.fields[key] == "dynamic"
    known = {_ORIGINAL: positions} if dynamic else {}
    scaling = {number: section.number(number) for number in numbers if number not in known}
    return {"rope_type": section.fields[key], **scaling, **known}


def _said(scaling: dict[str, Any] | None) -> dict[str, Any] | None:
    """What rope_scaling says beside max_position_embeddings."""
    if scaling is None or scaling["rope_type"] != "dynamic":
        return scaling
    return {name: value for name, value in scaling.items() if name != _ORIGINAL}


def _context(fields: JsonFields, positions: int, scaling: dict[str, Any] | None) -> int:
    """Positions up to which a window, where there is one, hides nothing.

    With dynamic scaling, as many times more as its factor says.
    """
    context = positions
    if scaling is not None and scaling["rope_type"] == "dynamic":
        context = max(positions, int(min(positions * scaling["factor"], _MOST_POSITIONS)))
    family = fields.fields["model_type"]
    if family == "mistral" or (family == "qwen2" and fields.flag("use_sliding_window", False)):
        usual = context if "sliding_window" in fields.fields else _WINDOW
        return min(context, fields.integer("sliding_window", usual))
    return context


def tensors(config: GPTConfig) -> list[Tensor]:
    c, f, d = config.hidden_dim, config.ffn_dim, config.head_dim
    queries, keys = config.num_heads * d, config.num_kv_heads * d
    table = (config.vocab_size, c)
    q, k = (0, queries), (queries, queries + keys)
    v = (queries + keys, queries + 2 * keys)
    attention_bias = config.qkv_bias or config.output_bias
    without = {name for name in ("qkv", "output") if not getattr(config, f"{name}_bias")}
    found = [
        Tensor("model.embed_tokens.weight", "token_embedding.weight", table),
        Tensor("model.norm.weight", "final_norm.weight", (c,)),
    ]
    for i in range(config.num_layers):
        name, parameter = f"model.layers.{i}", f"blocks.{i}"
        for theirs, ours in (("input_layernorm", "ln1"), ("post_attention_layernorm", "ln2")):
            found.append(Tensor(f"{name}.{theirs}.weight", f"{parameter}.{ours}.weight", (c,)))
        for theirs, ours, columns, inputs, outputs, bias in (
            ("self_attn.q_proj", "attention.qkv", q, c, queries, attention_bias),
            ("self_attn.k_proj", "attention.qkv", k, c, keys, attention_bias),
            ("self_attn.v_proj", "attention.qkv", v, c, keys, attention_bias),
            ("self_attn.o_proj", "attention.output", None, c, c, attention_bias),
            ("mlp.gate_proj", "ffn.up", (0, f), c, f, config.ffn_bias),
            ("mlp.up_proj", "ffn.up", (f, 2 * f), c, f, config.ffn_bias),
            ("mlp.down_proj", "ffn.down", None, f, c, config.ffn_bias),
        ):
            source, place, shape = f"{name}.{theirs}", f"{parameter}.{ours}", (outputs, inputs)
            found.append(Tensor(f"{source}.weight", f"{place}.weight", shape, columns, True))
            if bias:
                optional = ours.rpartition(".")[2] in without
                found.append(
                    Tensor(
                        f"{source}.bias", f"{place}.bias", (outputs,), columns, optional=optional
                    )
                )
    return [*found, head_tensor(config)]


def own_name(name: str) -> str | None:
    return None if _BUFFER.fullmatch(name) else name
