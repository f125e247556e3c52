"""Blocks of weights as GGUF files hold them, in the formats that the kernels multiply.

What the formats are is said in litegpt.kernels.reference.weight_formats. Their rows are on that
floor, since the reference of the kernels reads blocks by them, and imports only go down.
"""

import numpy as np

from litegpt.kernels.reference.quantized import dequantize, unpack_quantized
from litegpt.kernels.reference.weight_formats import (
    FORMATS,
    WeightFormat,
    fifth_bits,
    weight_format,
)

__all__ = [
    "FORMATS",
    "GGUF_FORMATS",
    "STORED_ALIKE",
    "WeightFormat",
    "dequantize",
    "from_gguf",
    "unpack_quantized",
    "weight_format",
]

# GGUF's type -> the format that holds the same weights, bit for bit.
GGUF_FORMATS = {
    "F32": "float32",
    "BF16": "bfloat16",
    "F16": "float16",
    "Q8_0": "q8",
    "Q5_1": "q5",
    "Q5_0": "q5",
    "Q4_1": "q4",
    "Q4_0": "q4_0",
}
STORED_ALIKE = GGUF_FORMATS.keys() - {"Q5_0", "Q5_1"}  # from_gguf leaves them as they are


def from_gguf(data: np.ndarray, kind: str) -> np.ndarray:
    """Blocks (N, groups, bytes) from the bytes (N, ...) of a GGUF tensor with rows of K inputs.

    Q5_0 has no minimum: w = scale * (code - 16), so the minimum is -16 * scale. A scale for which
    that is beyond float16, and an unknown type: ValueError.
    """
    if kind not in GGUF_FORMATS:
        allowed = ", ".join(GGUF_FORMATS)
        raise ValueError(f"GGUF type {kind!r} has no format here; allowed: {allowed}")
    form = weight_format(GGUF_FORMATS[kind])
    without = kind == "Q5_0"
    blocks = data.reshape(len(data), -1, form.block_bytes - (2 if without else 0))
    if without:
        blocks = _with_minimum(blocks)
    return _with_quads_of_bits(blocks) if form.name == "q5" else blocks


def _with_quads_of_bits(blocks: np.ndarray) -> np.ndarray:
    """Blocks whose fifth bits are in the order of q5: in the file bit i belongs to code i."""
    bits = np.unpackbits(blocks[..., 4:8], axis=-1, bitorder="little")  # (..., 32)
    return np.concatenate([blocks[..., :4], fifth_bits(bits), blocks[..., 8:]], axis=-1)


def _with_minimum(blocks: np.ndarray) -> np.ndarray:
    """Blocks of Q5_0, their scale followed by a minimum: -16 * scale."""
    scale = np.ascontiguousarray(blocks[..., :2]).view("<f2")
    minimum = scale.astype(np.float32) * -16
    wrong = np.argwhere(np.abs(minimum[..., 0]) > weight_format("float16").largest)
    if wrong.size:
        row, group = wrong[0]
        raise ValueError(
            f"scale {scale[row, group, 0]} of group {group} in row {row}: -16 times it is "
            f"beyond float16"
        )
    halves = np.concatenate([scale, minimum.astype("<f2")], axis=-1).view(np.uint8)
    return np.concatenate([halves, blocks[..., 2:]], axis=-1)
