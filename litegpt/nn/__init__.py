"""Layers: each a class with its parameters, `forward` for use, `forward_train` for training.

All gradient mathematics is in litegpt.kernels; a layer only plumbs. Layers take what users hand
them (lists, float64, strided arrays) and give float32.
"""

from typing import TYPE_CHECKING

from litegpt.nn.attention import MultiHeadAttention, ScaledDotProductAttention
from litegpt.nn.block import TransformerBlock
from litegpt.nn.cache import KVCache, LayerCache
from litegpt.nn.dropout import Dropout
from litegpt.nn.embedding import Embedding
from litegpt.nn.linear import Linear
from litegpt.nn.mask import create_causal_mask, create_padding_mask
from litegpt.nn.mlp import FeedForward
from litegpt.nn.module import Module
from litegpt.nn.norm import LayerNorm, RMSNorm
from litegpt.nn.parameter import Parameter
from litegpt.nn.position import (
    LearnedPositionalEncoding,
    PositionalEncoding,
    RotaryPositionalEncoding,
)

if TYPE_CHECKING:
    from litegpt.models import GPTModel

__all__ = [
    "Dropout",
    "Embedding",
    "FeedForward",
    "GPTModel",
    "KVCache",
    "LayerCache",
    "LayerNorm",
    "LearnedPositionalEncoding",
    "Linear",
    "Module",
    "MultiHeadAttention",
    "Parameter",
    "PositionalEncoding",
    "RMSNorm",
    "RotaryPositionalEncoding",
    "ScaledDotProductAttention",
    "TransformerBlock",
    "create_causal_mask",
    "create_padding_mask",
]


def __getattr__(name: str) -> object:
    """litegpt.nn.GPTModel lives one floor up, in litegpt.models."""
    if name == "GPTModel":
        from litegpt.models import GPTModel

        return GPTModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
