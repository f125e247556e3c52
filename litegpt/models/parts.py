"""From part names to parts: the only place that knows which class a name of GPTConfig means."""

import math
from collections.abc import Callable

from litegpt.models.config import GPTConfig
from litegpt.nn.attention import MultiHeadAttention
from litegpt.nn.block import TransformerBlock
from litegpt.nn.mlp import FeedForward
from litegpt.nn.norm import LayerNorm, RMSNorm
from litegpt.nn.position import (
    LearnedPositionalEncoding,
    PositionalEncoding,
    RotaryPositionalEncoding,
)
from litegpt.nn.random import Seed


def _layernorm(config: GPTConfig) -> LayerNorm:
    return LayerNorm(config.hidden_dim, config.norm_eps, config.norm_bias)


def _rmsnorm(config: GPTConfig) -> RMSNorm:
    return RMSNorm(config.hidden_dim, config.norm_eps)


Norm = LayerNorm | RMSNorm

NORMS: dict[str, Callable[[GPTConfig], Norm]] = {"layernorm": _layernorm, "rmsnorm": _rmsnorm}

Added = LearnedPositionalEncoding | PositionalEncoding


def _learned(config: GPTConfig, rng: Seed) -> LearnedPositionalEncoding:
    return LearnedPositionalEncoding(config.max_seq_len, config.hidden_dim, config.init_std, rng)


def _sinusoidal(config: GPTConfig, rng: Seed) -> PositionalEncoding:
    return PositionalEncoding(config.max_seq_len, config.hidden_dim)


# added to the token's vector
ADDED_POSITIONS: dict[str, Callable[[GPTConfig, Seed], Added]] = {
    "learned": _learned,
    "sinusoidal": _sinusoidal,
}


def _rotary(config: GPTConfig) -> RotaryPositionalEncoding:
    return RotaryPositionalEncoding(
        config.max_seq_len, config.head_dim, config.rope_theta, config.rope_scaling
    )


ROTARY_POSITIONS = {"rotary": _rotary}  # in the attention


def make_norm(config: GPTConfig) -> Norm:
    return NORMS[config.norm](config)


def make_added_position(config: GPTConfig, rng: Seed) -> Added | None:
    make = ADDED_POSITIONS.get(config.position)
    return None if make is None else make(config, rng)


def make_blocks(config: GPTConfig, rng: Seed) -> list[TransformerBlock]:
    """The blocks, whose output projections start smaller, by sqrt(2 L), as in GPT-2."""
    output_std = config.init_std / math.sqrt(2 * config.num_layers)
    make_rotary = ROTARY_POSITIONS.get(config.position)
    rotary = None if make_rotary is None else make_rotary(config)
    return [
        TransformerBlock.of(
            make_norm(config),
            MultiHeadAttention(
                config.hidden_dim,
                config.num_heads,
                config.dropout,
                config.num_kv_heads,
                config.qkv_bias,
                config.output_bias,
                rotary,
                config.init_std,
                output_std,
                rng,
            ),
            make_norm(config),
            FeedForward(
                config.hidden_dim,
                config.ffn_dim,
                config.dropout,
                config.activation,
                config.ffn_bias,
                config.init_std,
                output_std,
                rng,
            ),
        )
        for _ in range(config.num_layers)
    ]
