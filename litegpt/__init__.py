"""LiteGPT: a GPT built, trained, loaded and run on a CPU."""

__version__ = "0.1.0"

from litegpt.kernels import (
    available_backends,
    backend,
    num_threads,
    set_num_threads,
    use_backend,
)
from litegpt.models import GPTConfig, GPTModel
from litegpt.nn import (
    Embedding,
    FeedForward,
    KVCache,
    LayerNorm,
    LearnedPositionalEncoding,
    MultiHeadAttention,
    Parameter,
    PositionalEncoding,
    RMSNorm,
    ScaledDotProductAttention,
    TransformerBlock,
    create_causal_mask,
    create_padding_mask,
)

__all__ = [
    "Embedding",
    "FeedForward",
    "GPTConfig",
    "GPTModel",
    "KVCache",
    "LayerNorm",
    "LearnedPositionalEncoding",
    "MultiHeadAttention",
    "Parameter",
    "PositionalEncoding",
    "RMSNorm",
    "ScaledDotProductAttention",
    "TransformerBlock",
    "available_backends",
    "backend",
    "create_causal_mask",
    "create_padding_mask",
    "num_threads",
    "set_num_threads",
    "use_backend",
]
