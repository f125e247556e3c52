"""GGUF files of the architectures llama (which Mistral's and SmolLM's models use too) and qwen2.

In llama.cpp's names. Rotary positions of the architecture llama turn neighbours, where the family's
own files, and ours, turn the two halves of a head: so the rows of q and k stand in another order.
Frequencies scaled as in Llama 3 are a tensor of divisors, of which the last is the factor.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from litegpt.formats import JsonFields, ModelFormatError
from litegpt.models import llama
from litegpt.models.config import GPTConfig
from litegpt.models.family import GgufContents, Tensor, number_as_written
from litegpt.nn.position import scaled_rates

_FREQUENCIES = "rope_freqs.weight"
_LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_LLAMA3_CONTEXT = 8192  # before it was scaled, of all models that others have published
_BUFFER = re.compile(r"blk\.\d+\.attn_rot_embd\.weight")


@dataclass(frozen=True)
class _Llama:
    architecture: str
    neighbours: bool  # turned by rotary positions

    def expresses(self, config: GPTConfig) -> bool:
        return llama.expresses(config)

    def to_metadata(self, config: GPTConfig) -> dict[str, Any]:
        entries: dict[str, Any] = {
            "context_length": config.steady_positions,
            "embedding_length": config.hidden_dim,
            "feed_forward_length": config.ffn_dim,
            "block_count": config.num_layers,
            "attention.head_count": config.num_heads,
            "attention.head_count_kv": config.num_kv_heads,
            "attention.layer_norm_rms_epsilon": config.norm_eps,
            "rope.dimension_count": config.head_dim,
            "rope.freq_base": config.rope_theta,
            "vocab_size": config.vocab_size,
        }
        if config.rope_scaling is not None and config.rope_scaling["rope_type"] == "linear":
            entries["rope.scaling.type"] = "linear"
            entries["rope.scaling.factor"] = config.rope_scaling["factor"]
        if config.rope_scaling is not None and config.rope_scaling["rope_type"] == "llama3":
            context = config.rope_scaling["original_max_position_embeddings"]
            entries["rope.scaling.original_context_length"] = context
        return {f"{self.architecture}.{name}": value for name, value in entries.items()}

    def extra_tensors(self, config: GPTConfig) -> dict[str, np.ndarray]:
        scaling = config.rope_scaling
        if scaling is None or scaling["rope_type"] != "llama3":
            return {}
        divisors = _divisors(config.rope_theta, config.head_dim, scaling)
        return {_FREQUENCIES: divisors.astype(np.float32)}

    def from_file(self, file: GgufContents) -> dict[str, Any]:
        fields, at = JsonFields(file.path, file.metadata), self.architecture
        heads = fields.integer(f"{at}.attention.head_count")
        width = fields.integer(f"{at}.embedding_length")
        for name in ("attention.key_length", "attention.value_length", "rope.dimension_count"):
            key = f"{at}.{name}"
            if key in file.metadata and fields.integer(key) * heads != width:
                raise fields.refuse(key, f"{width} wide / {heads} heads")
        theta = 10000.0
        if f"{at}.rope.freq_base" in file.metadata:
            theta = number_as_written(fields, f"{at}.rope.freq_base")
        return {
            "max_seq_len": fields.integer(f"{at}.context_length"),
            "num_layers": fields.integer(f"{at}.block_count"),
            "num_heads": heads,
            "num_kv_heads": fields.integer(f"{at}.attention.head_count_kv", heads),
            "hidden_dim": width,
            "ffn_dim": fields.integer(f"{at}.feed_forward_length"),
            "dropout": 0.0,
            "norm": "rmsnorm",
            "norm_eps": number_as_written(fields, f"{at}.attention.layer_norm_rms_epsilon"),
            "position": "rotary",
            "rope_theta": theta,
            "rope_scaling": self._scaling(file, fields, width // heads),
            "activation": "swiglu",
            "qkv_bias": "blk.0.attn_q.bias" in file.shapes,
            "output_bias": "blk.0.attn_output.bias" in file.shapes,
            "ffn_bias": "blk.0.ffn_down.bias" in file.shapes,
            "tie_embeddings": "output.weight" not in file.shapes,
        }

    def _scaling(
        self, file: GgufContents, fields: JsonFields, head_dim: int
    ) -> dict[str, Any] | None:
        at = f"{self.architecture}.rope.scaling"
        usual = "linear" if f"{at}.factor" in file.metadata else "none"  # in llama.cpp
        linear = fields.choice(f"{at}.type", {"none": False, "linear": True}, usual)
        if linear:
            return {"rope_type": "linear", "factor": number_as_written(fields, f"{at}.factor")}
        if _FREQUENCIES not in file.shapes:
            return None
        if file.shapes[_FREQUENCIES] != (head_dim // 2,):
            raise ModelFormatError(
                f"{file.path}: {_FREQUENCIES} must have shape ({head_dim // 2},)"
            )
        context = fields.integer(f"{at}.original_context_length", _LLAMA3_CONTEXT)
        return {
            **_LLAMA3,
            "factor": float(file.read(_FREQUENCIES).max()),
            "original_max_position_embeddings": context,
        }

    def tensors(self, config: GPTConfig) -> list[Tensor]:
        c, f, d = config.hidden_dim, config.ffn_dim, config.head_dim
        queries, keys = config.num_heads * d, config.num_kv_heads * d
        table = (config.vocab_size, c)
        k, v = (queries, queries + keys), (queries + keys, queries + 2 * keys)
        turned = (config.num_heads, config.num_kv_heads) if self.neighbours else (0, 0)
        qkv_bias, output_bias, ffn_bias = config.qkv_bias, config.output_bias, config.ffn_bias
        found = [
            Tensor("token_embd.weight", "token_embedding.weight", table),
            Tensor("output_norm.weight", "final_norm.weight", (c,)),
        ]
        for i in range(config.num_layers):
            name, parameter = f"blk.{i}", f"blocks.{i}"
            for theirs, ours in (("attn_norm", "ln1"), ("ffn_norm", "ln2")):
                found.append(Tensor(f"{name}.{theirs}.weight", f"{parameter}.{ours}.weight", (c,)))
            for theirs, ours, columns, inputs, outputs, heads, bias in (
                ("attn_q", "attention.qkv", (0, queries), c, queries, turned[0], qkv_bias),
                ("attn_k", "attention.qkv", k, c, keys, turned[1], qkv_bias),
                ("attn_v", "attention.qkv", v, c, keys, 0, qkv_bias),
                ("attn_output", "attention.output", None, c, c, 0, output_bias),
                ("ffn_gate", "ffn.up", (0, f), c, f, 0, ffn_bias),
                ("ffn_up", "ffn.up", (f, 2 * f), c, f, 0, ffn_bias),
                ("ffn_down", "ffn.down", None, f, c, 0, ffn_bias),
            ):
                source, place, shape = f"{name}.{theirs}", f"{parameter}.{ours}", (outputs, inputs)
                found.append(
                    Tensor(
                        f"{source}.weight",
                        f"{place}.weight",
                        shape,
                        columns,
                        transposed=True,
                        interleaved=heads,
                    )
                )
                if bias:
                    found.append(
                        Tensor(
                            f"{source}.bias",
                            f"{place}.bias",
                            (outputs,),
                            columns,
                            interleaved=heads,
                        )
                    )
        if not config.tie_embeddings:
            found.append(Tensor("output.weight", "head.weight", table, transposed=True))
        return found

    def own_name(self, name: str) -> str | None:
        return None if name == _FREQUENCIES or _BUFFER.fullmatch(name) else name


def _divisors(theta: float, head_dim: int, scaling: dict[str, Any]) -> np.ndarray:
    """By what scaling divides the angles: (D/2,)."""
    rates = theta ** (-np.arange(0, head_dim, 2) / head_dim)
    return rates / scaled_rates(rates, scaling)


LLAMA = _Llama("llama", neighbours=True)
QWEN2 = _Llama("qwen2", neighbours=False)
