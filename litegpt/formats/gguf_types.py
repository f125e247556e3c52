"""The types of tensors in GGUF files: how a row is cut into blocks, and what the blocks stand for.

A block is so many weights of a row in so many bytes. The layouts are those of ggml, the library
behind GGUF (github.com/ggml-org/ggml, docs/gguf.md and src/ggml-common.h); all is little-endian.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from litegpt.kernels.reference.weight_formats import FORMATS

_CHUNK = 1 << 18  # weights that pass at once, so that what lies between takes little memory


@dataclass(frozen=True)
class TensorType:
    """decode: (n, block bytes) uint8 -> (n, group) float32; encode, where we write it, back."""

    name: str
    number: int  # in the file
    group: int  # weights in a block
    block_bytes: int
    decode: Callable[[np.ndarray], np.ndarray]
    encode: Callable[[np.ndarray], np.ndarray] | None = None
    largest: float = 0.0  # magnitude that encode takes


def _half(blocks: np.ndarray, start: int) -> np.ndarray:
    """The float16 at this byte of each block: (n, 1) float32."""
    return np.ascontiguousarray(blocks[:, start : start + 2]).view("<f2").astype(np.float32)


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(np.uint8)


def _nibbles(pairs: np.ndarray) -> np.ndarray:
    """(..., m) -> (..., 2 m): all the low halves of the bytes, then all the high ones."""
    return np.concatenate([pairs & 15, pairs >> 4], axis=-1)


def _fifth_bits(blocks: np.ndarray, start: int) -> np.ndarray:
    """32 bits from this byte on, each 0 or 16: (n, 32) uint8."""
    bits = np.unpackbits(blocks[:, start : start + 4], axis=-1, bitorder="little")
    return bits << 4


def _decode_q4_1(blocks: np.ndarray) -> np.ndarray:
    return _half(blocks, 0) * _nibbles(blocks[:, 4:]).astype(np.float32) + _half(blocks, 2)


def _decode_q5_0(blocks: np.ndarray) -> np.ndarray:
    codes = (_nibbles(blocks[:, 6:]) | _fifth_bits(blocks, 2)).astype(np.int8) - np.int8(16)
    return _half(blocks, 0) * codes.astype(np.float32)


def _decode_q5_1(blocks: np.ndarray) -> np.ndarray:
    codes = _nibbles(blocks[:, 8:]) | _fifth_bits(blocks, 4)
    return _half(blocks, 0) * codes.astype(np.float32) + _half(blocks, 2)


def _decode_q8_0(blocks: np.ndarray) -> np.ndarray:
    return _half(blocks, 0) * blocks[:, 2:].view(np.int8).astype(np.float32)


def _eight_groups(blocks: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """8 groups of 32 codes; each has a scale and a minimum of six bits, packed into 12 bytes.

    The first four groups have theirs in bytes 0-3 and 4-7, the last four their low halves in
    bytes 8-11 and their two high bits above those of the first four.
    """
    scales, minima, low = (blocks[:, start : start + 4] for start in (4, 8, 12))
    scale = np.concatenate([scales & 63, (low & 15) | (scales >> 2 & 48)], axis=-1)  # (n, 8)
    minimum = np.concatenate([minima & 63, (low >> 4) | (minima >> 2 & 48)], axis=-1)
    scale = _half(blocks, 0) * scale.astype(np.float32)
    minimum = _half(blocks, 2) * minimum.astype(np.float32)
    weights = scale[..., None] * codes.reshape(-1, 8, 32).astype(np.float32) - minimum[..., None]
    return weights.reshape(-1, 256)


def _decode_q4_k(blocks: np.ndarray) -> np.ndarray:
    return _eight_groups(blocks, _nibbles(blocks[:, 16:].reshape(-1, 4, 32)))


def _decode_q5_k(blocks: np.ndarray) -> np.ndarray:
    """The fifth bits: bit j of byte i belongs to code i of group j."""
    fifth = blocks[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None] & 1  # (n, 8, 32)
    codes = _nibbles(blocks[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    return _eight_groups(blocks, codes | fifth << 4)


def _decode_q6_k(blocks: np.ndarray) -> np.ndarray:
    """16 groups of 16, each with a scale of eight bits.

    Each half of the block keeps the low four bits of 128 codes in 64 bytes, the high two in 32:
    bits 2 j and 2 j + 1 of byte i belong to code 32 j + i.
    """
    low = _nibbles(blocks[:, :128].reshape(-1, 2, 64)).reshape(-1, 2, 4, 32)
    shifts = np.arange(0, 8, 2, dtype=np.uint8)[:, None]
    high = blocks[:, 128:192].reshape(-1, 2, 1, 32) >> shifts & 3  # (n, 2, 4, 32)
    codes = (low | high << 4).astype(np.int8) - np.int8(32)
    scale = _half(blocks, 208) * blocks[:, 192:208].view(np.int8).astype(np.float32)  # (n, 16)
    return (scale[..., None] * codes.reshape(-1, 16, 16).astype(np.float32)).reshape(-1, 256)


def _inverse(scale: np.ndarray) -> np.ndarray:
    return np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)


def _encode_q8_0(w: np.ndarray) -> np.ndarray:
    """Halves round away from zero, as in ggml: what others convert has the same bytes."""
    scale = np.abs(w).max(axis=-1, keepdims=True) / np.float32(127)
    scaled = w * _inverse(scale)
    whole = np.floor(np.abs(scaled))
    codes = np.sign(scaled) * (whole + np.floor(2 * (np.abs(scaled) - whole)))
    return np.concatenate([_bytes(scale.astype("<f2")), _bytes(codes.astype(np.int8))], axis=-1)


def _encode_q5_1(w: np.ndarray) -> np.ndarray:
    """32 values evenly from the smallest weight to the largest."""
    minimum = w.min(axis=-1, keepdims=True)
    scale = (w.max(axis=-1, keepdims=True) - minimum) / np.float32(31)
    codes = np.trunc((w - minimum) * _inverse(scale) + np.float32(0.5)).astype(np.uint8).clip(0, 31)
    halves = _bytes(np.concatenate([scale, minimum], axis=-1).astype("<f2"))
    fifth = np.packbits(codes >> 4, axis=-1, bitorder="little")
    return np.concatenate([halves, fifth, codes[:, :16] & 15 | codes[:, 16:] << 4], axis=-1)


_HALF_MOST = 65504.0  # the largest float16
_FLOAT_MOST = float(np.finfo(np.float32).max)
_Q4_0 = FORMATS["q4_0"]

_ROWS = (
    TensorType(
        "F32", 0, 1, 4, lambda b: b.view("<f4"), lambda w: _bytes(w.astype("<f4")), _FLOAT_MOST
    ),
    TensorType(
        "F16", 1, 1, 2, lambda b: _half(b, 0), lambda w: _bytes(w.astype("<f2")), _HALF_MOST
    ),
    TensorType(
        "BF16", 30, 1, 2, lambda b: (b.view("<u2").astype(np.uint32) << 16).view(np.float32)
    ),
    TensorType("Q4_0", 2, 32, 18, _Q4_0.decode, _Q4_0.encode, _Q4_0.largest),
    TensorType("Q4_1", 3, 32, 20, _decode_q4_1),
    TensorType("Q5_0", 6, 32, 22, _decode_q5_0),
    TensorType("Q5_1", 7, 32, 24, _decode_q5_1, _encode_q5_1, _HALF_MOST),
    TensorType("Q8_0", 8, 32, 34, _decode_q8_0, _encode_q8_0, 127 * _HALF_MOST),
    TensorType("Q4_K", 12, 256, 144, _decode_q4_k),
    TensorType("Q5_K", 13, 256, 176, _decode_q5_k),
    TensorType("Q6_K", 14, 256, 210, _decode_q6_k),
)
TENSOR_TYPES: dict[int, TensorType] = {row.number: row for row in _ROWS}
TYPE_NAMED: dict[str, TensorType] = {row.name: row for row in _ROWS}


def decode(blocks: np.ndarray, form: TensorType) -> np.ndarray:
    """The weights of blocks: (..., groups, block bytes) -> (..., groups * group) float32."""
    flat = blocks.reshape(-1, form.block_bytes)
    weights = np.empty((len(flat), form.group), np.float32)
    chunk = max(1, _CHUNK // form.group)
    for start in range(0, len(flat), chunk):
        weights[start : start + chunk] = form.decode(flat[start : start + chunk])
    return weights.reshape(*blocks.shape[:-2], -1)


def encode(weights: np.ndarray, form: TensorType) -> np.ndarray:
    """Rows of weights as blocks: (..., K) float32 -> (..., K / group, block bytes).

    ValueError for a type that isn't written, for rows that aren't whole groups, and for weights
    that aren't finite or that the type can't hold.
    """
    if form.encode is None:
        raise ValueError(f"GGUF type {form.name} is read, but isn't written")
    if weights.shape[-1] % form.group:
        raise ValueError(f"rows of {weights.shape[-1]} aren't whole groups of {form.group}")
    most = np.abs(weights).max(initial=0)
    if not most <= form.largest:
        raise ValueError(f"{form.name} holds finite numbers up to {form.largest:.6g}, not {most}")
    groups = np.ascontiguousarray(weights, np.float32).reshape(-1, form.group)
    blocks = np.empty((len(groups), form.block_bytes), np.uint8)
    chunk = max(1, _CHUNK // form.group)
    for start in range(0, len(groups), chunk):
        blocks[start : start + chunk] = form.encode(groups[start : start + chunk])
    return blocks.reshape(*weights.shape[:-1], -1, form.block_bytes)
