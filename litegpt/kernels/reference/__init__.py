"""The contract: every kernel as a NumPy function.

A kernel is what its function here says: name, argument order, shapes, what is returned for the
backward pass, and what accumulates in place. The compiled twin (``litegpt.kernels._native``) has
the same names and signatures. The functions work in any float type, so that gradients can be
checked in float64; the compiled kernels take float32 only.

Axis letters, everywhere in the project:

    B batch   T new positions   S cached or attended positions   C model width   F hidden width
    H query heads   G key/value heads   D head width   V vocabulary
    M rows, K inputs, N outputs of a matrix product

``__all__`` is the only list of kernels in Python; the tests compare the compiled roster with it.
"""

from litegpt.kernels.reference.activation import (
    gelu,
    gelu_backward,
    gelu_erf,
    gelu_erf_backward,
    relu,
    relu_backward,
    swiglu,
    swiglu_backward,
)
from litegpt.kernels.reference.attention import (
    cache_append,
    cached_attention,
    causal_attention,
    causal_attention_backward,
)
from litegpt.kernels.reference.dropout import dropout
from litegpt.kernels.reference.embedding import add_positions, embedding, embedding_backward
from litegpt.kernels.reference.linear import (
    linear,
    linear_backward,
    linear_packed,
    matmul,
    pack_linear,
)
from litegpt.kernels.reference.loss import cross_entropy, cross_entropy_backward
from litegpt.kernels.reference.norm import (
    layernorm,
    layernorm_backward,
    rmsnorm,
    rmsnorm_backward,
)
from litegpt.kernels.reference.optimizer import adamw, grad_norm, lion
from litegpt.kernels.reference.quantized import (
    embedding_quantized,
    linear_quantized,
    pack_quantized,
    quantize,
    read_quantized,
)
from litegpt.kernels.reference.rotary import rotary, rotary_backward
from litegpt.kernels.reference.sampling import sample
from litegpt.kernels.reference.softmax import softmax, softmax_backward

__all__ = [
    "adamw",
    "add_positions",
    "cache_append",
    "cached_attention",
    "causal_attention",
    "causal_attention_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "dropout",
    "embedding",
    "embedding_backward",
    "embedding_quantized",
    "gelu",
    "gelu_backward",
    "gelu_erf",
    "gelu_erf_backward",
    "grad_norm",
    "layernorm",
    "layernorm_backward",
    "linear",
    "linear_backward",
    "linear_packed",
    "linear_quantized",
    "lion",
    "matmul",
    "pack_linear",
    "pack_quantized",
    "quantize",
    "read_quantized",
    "relu",
    "relu_backward",
    "rmsnorm",
    "rmsnorm_backward",
    "rotary",
    "rotary_backward",
    "sample",
    "softmax",
    "softmax_backward",
    "swiglu",
    "swiglu_backward",
]
