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
    "WeightFormat",
    "dequantize",
    "from_gguf",
    "stored_alike",
    "unpack_quantized",
    "weight_format",
]

# GGUF's type -> the formats that hold the same weights, bit for bit, the smallest first.
GGUF_FORMATS = {
    "F32": ("float32",),
    "BF16": ("bfloat16",),
    "F16": ("float16",),
    "Q8_0": ("q8",),
    "Q5_1": ("q5",),
    "Q5_0": ("q5",),
    "Q4_1": ("q4",),
    "Q4_0": ("q4_0", "q4"),
}
_ZEROS = {"Q5_0": 16, "Q4_0": 8}  # types without a minimum -> the code that stands for 0


def stored_alike(kind: str, format: str) -> bool:
    """Whether the blocks of a GGUF type are those of a format as they are."""
    return format == GGUF_FORMATS[kind][0] and format != "q5"


def from_gguf(data: np.ndarray, kind: str, format: str) -> np.ndarray:
    """Blocks (N, groups, bytes) from the bytes (N, ...) of a GGUF tensor with rows of K inputs.

    q5 and q4 have a minimum, where Q5_0 and Q4_0 have none: w = scale * (code - 16), or - 8, so
    that it is -16 or -8 times the scale. A scale for which that is beyond float16, and a type that
    the format can't hold: ValueError.
    """
    if format not in GGUF_FORMATS.get(kind, ()):
        allowed = ", ".join(name for name, formats in GGUF_FORMATS.items() if format in formats)
        raise ValueError(f"GGUF type {kind!r} can't be held in {format!r}; allowed: {allowed}")
    form = weight_format(format)
    zero = 0 if stored_alike(kind, format) else _ZEROS.get(kind, 0)
    blocks = data.reshape(len(data), -1, form.block_bytes - (2 if zero else 0))
    if zero:
        blocks = _with_minimum(blocks, zero)
    return _with_quads_of_bits(blocks) if format == "q5" else blocks


def _with_quads_of_bits(blocks: np.ndarray) -> np.ndarray:
    """Blocks whose fifth bits are in the order of q5: in the file bit i belongs to code i."""
    bits = np.unpackbits(blocks[..., 4:8], axis=-1, bitorder="little")  # (..., 32)
    return np.concatenate([blocks[..., :4], fifth_bits(bits), blocks[..., 8:]], axis=-1)


def _with_minimum(blocks: np.ndarray, zero: int) -> np.ndarray:
    """Blocks whose scale is followed by a minimum: -zero * scale."""
    scale = np.ascontiguousarray(blocks[..., :2]).view("<f2")
    minimum = scale.astype(np.float32) * -zero
    wrong = np.argwhere(np.abs(minimum[..., 0]) > weight_format("float16").largest)
    if wrong.size:
        row, group = wrong[0]
        raise ValueError(
            f"scale {scale[row, group, 0]} of group {group} in row {row}: {-zero} times it is "
            f"beyond float16"
        )
    halves = np.concatenate([scale, minimum.astype("<f2")], axis=-1).view(np.uint8)
    return np.concatenate([halves, blocks[..., 2:]], axis=-1)
