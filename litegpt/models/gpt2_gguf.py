"""GGUF files of the gpt2 architecture, in llama.cpp's names.

Dense layers are stored (out, in), unlike in the family's own files.
"""

from typing import Any

import numpy as np

from litegpt.formats import JsonFields
from litegpt.models import gpt2
from litegpt.models.config import GPTConfig
from litegpt.models.family import GgufContents, Tensor, number_as_written


class _Gpt2:
    architecture = "gpt2"

    def expresses(self, config: GPTConfig) -> bool:
        return gpt2.expresses(config) and config.activation == "gelu"

    def to_metadata(self, config: GPTConfig) -> dict[str, Any]:
        return {
            "gpt2.context_length": config.max_seq_len,
            "gpt2.embedding_length": config.hidden_dim,
            "gpt2.feed_forward_length": config.ffn_dim,
            "gpt2.block_count": config.num_layers,
            "gpt2.attention.head_count": config.num_heads,
            "gpt2.attention.layer_norm_epsilon": config.norm_eps,
            "gpt2.vocab_size": config.vocab_size,
        }

    def extra_tensors(self, config: GPTConfig) -> dict[str, np.ndarray]:
        return {}

    def from_file(self, file: GgufContents) -> dict[str, Any]:
        fields = JsonFields(file.path, file.metadata)
        width = fields.integer("gpt2.embedding_length")
        return {
            "max_seq_len": fields.integer("gpt2.context_length"),
            "num_layers": fields.integer("gpt2.block_count"),
            "num_heads": fields.integer("gpt2.attention.head_count"),
            "hidden_dim": width,
            "ffn_dim": fields.integer("gpt2.feed_forward_length", 4 * width),
            "dropout": 0.0,
            "norm_eps": number_as_written(fields, "gpt2.attention.layer_norm_epsilon"),
            "tie_embeddings": "output.weight" not in file.shapes,
            "bias": True,
        }

    def tensors(self, config: GPTConfig) -> list[Tensor]:
        c, f = config.hidden_dim, config.ffn_dim
        table = (config.vocab_size, c)
        found = [
            Tensor("token_embd.weight", "token_embedding.weight", table),
            Tensor("position_embd.weight", "position_encoding.weight", (config.max_seq_len, c)),
            Tensor("output_norm.weight", "final_norm.weight", (c,)),
            Tensor("output_norm.bias", "final_norm.bias", (c,)),
        ]
        for i in range(config.num_layers):
            name, parameter = f"blk.{i}", f"blocks.{i}"
            for theirs, ours in (("attn_norm", "ln1"), ("ffn_norm", "ln2")):
                for kind in ("weight", "bias"):
                    place = f"{parameter}.{ours}.{kind}"
                    found.append(Tensor(f"{name}.{theirs}.{kind}", place, (c,)))
            for theirs, ours, inputs, outputs in (
                ("attn_qkv", "attention.qkv", c, 3 * c),
                ("attn_output", "attention.output", c, c),
                ("ffn_up", "ffn.up", c, f),
                ("ffn_down", "ffn.down", f, c),
            ):
                source, place = f"{name}.{theirs}", f"{parameter}.{ours}"
                shape = (outputs, inputs)
                found.append(Tensor(f"{source}.weight", f"{place}.weight", shape, transposed=True))
                found.append(Tensor(f"{source}.bias", f"{place}.bias", (outputs,)))
        if not config.tie_embeddings:
            found.append(Tensor("output.weight", "head.weight", table, transposed=True))
        return found

    def own_name(self, name: str) -> str | None:
        return name


GPT2 = _Gpt2()
