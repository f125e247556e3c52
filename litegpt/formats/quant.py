"""Blocks of weights as GGUF files hold them, in the formats that the kernels multiply.

What the formats are is said in litegpt.kernels.reference.weight_formats. Their rows are on that
floor, since the reference of the kernels reads blocks by them, and imports only go down.
"""

import numpy as np

from litegpt.kernels.reference.quantized import dequantize, unpack_quantized
from litegpt.kernels.reference.weight_formats import FORMATS, WeightFormat, weight_format

__all__ = [
    "FORMATS",
    "GGUF_FORMATS",
    "WeightFormat",
    "dequantize",
    "from_gguf",
    "unpack_quantized",
    "weight_format",
]

# GGUF's type -> the format that holds the same weights, bit for bit
GGUF_FORMATS = {
    "F32": "float32",
    "BF16": "bfloat16",
    "F16": "float16",
    "Q8_0": "q8",
    "Q4_1": "q4",
    "Q4_0": "q4",
}


def from_gguf(data: np.ndarray, kind: str) -> np.ndarray:
    """Blocks (N, groups, bytes) from the bytes (N, ...) of a GGUF tensor with rows of K inputs.

    Q4_0 has no minimum: w = scale * (code - 8), so the minimum is -8 * scale. A scale for which
    that is beyond float16, and an unknown type: ValueError.
    """
    if kind not in GGUF_FORMATS:
        allowed = ", ".join(GGUF_FORMATS)
        raise ValueError(f"GGUF type {kind!r} has no format here; allowed: {allowed}")
    form = weight_format(GGUF_FORMATS[kind])
    if kind != "Q4_0":
        return data.reshape(len(data), -1, form.block_bytes)
    blocks = data.reshape(len(data), -1, form.block_bytes - 2)
    scale = np.ascontiguousarray(blocks[..., :2]).view("<f2")
    minimum = scale.astype(np.float32) * -8
    wrong = np.argwhere(np.abs(minimum[..., 0]) > weight_format("float16").largest)
    if wrong.size:
        row, group = wrong[0]
        raise ValueError(
            f"scale {scale[row, group, 0]} of group {group} in row {row}: -8 times it is beyond "
            f"float16"
        )
    halves = np.concatenate([scale, minimum.astype("<f2")], axis=-1).view(np.uint8)
    return np.concatenate([halves, blocks[..., 2:]], axis=-1)
