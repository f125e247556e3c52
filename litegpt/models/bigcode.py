"""The gpt_bigcode family (StarCoder): Li et al., 2023 (arXiv:2305.06161).

A gpt2 whose query heads share one key/value head (Shazeer, 2019, arXiv:1911.02150), with its dense
layers stored (out, in).
"""

from dataclasses import replace
from typing import Any

from litegpt.formats import JsonFields
from litegpt.models import gpt2
from litegpt.models.config import GPTConfig
from litegpt.models.family import Tensor

MODEL_TYPES: tuple[str, ...] = ("gpt_bigcode",)

own_name = gpt2.own_name


def expresses(config: GPTConfig) -> bool:
    as_gpt2 = replace(config, num_kv_heads=config.num_heads)
    return config.num_kv_heads == 1 and gpt2.expresses(as_gpt2)


def to_fields(config: GPTConfig) -> dict[str, Any]:
    return gpt2.to_fields(config) | {
        "model_type": MODEL_TYPES[0],
        "architectures": ["GPTBigCodeForCausalLM"],
        "multi_query": True,
    }


def from_fields(fields: JsonFields) -> dict[str, Any]:
    if not fields.flag("multi_query", True):
        raise fields.refuse("multi_query", "true")
    return gpt2.from_fields(fields) | {"num_kv_heads": 1}


def tensors(config: GPTConfig) -> list[Tensor]:
    return [
        replace(t, shape=t.shape[::-1], transposed=True)
        if t.parameter.startswith("blocks.") and len(t.shape) == 2
        else t
        for t in gpt2.tensors(config)
    ]
