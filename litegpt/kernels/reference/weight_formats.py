"""How weights are stored in fewer bits, a row of data for each format.

A format cuts the K weights of an output into groups, and stores a group as a block of bytes. A
block is a row of little-endian units of 2 or 4 bytes:

    float32    1 weight     the number
    bfloat16   1 weight     the upper half of the float32, rounded to nearest even
    float16    1 weight     the IEEE half, rounded to nearest even
    q8         32 weights   scale (float16), then 32 codes (int8): w = scale * code
    q5         32 weights   scale, minimum (float16), then 4 bytes, bit q of byte j the fifth bit
                            of code 4 q + j, then the codes' other four bits as in q4
    q4         32 weights   scale, minimum (float16), then 16 bytes, byte i with code i in its low
                            four bits and code i + 16 in its high ones: w = scale * code + minimum
    q4_0       32 weights   scale (float16, of either sign), then 16 bytes as in q4:
                            w = scale * (code - 8)

These are the blocks F32, BF16, F16, Q8_0, Q5_1 (where bit i of the 4 bytes is code i's), Q4_1 and
Q4_0 of GGUF files. Scales are rounded up, and minima down, to float16: so every weight lies in the
range of the codes, and is missed by half a scale at the most. q4_0 is rounded as ggml does: the
weight farthest from 0 is -8 scales, of the nearest float16, and what would be 8 is 7, missed by a
whole one. K that isn't a multiple of the group is filled up with zeros.

In q8, q5, q4 and q4_0 the activations are rounded as well, per row and group, to codes -127..127
with scale = max|x| / 127, and codes are multiplied as integers, which is exact.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_HALF_MOST = 65504.0  # the largest float16


class Codes(NamedTuple):
    """What blocks hold, in float32: w = scale * whole + minimum."""

    whole: np.ndarray  # (..., group)
    scale: np.ndarray  # (..., 1)
    minimum: np.ndarray | None  # (..., 1); without one, whole numbers have a sign


@dataclass(frozen=True)
class WeightFormat:
    """How weights are stored; encode and decode map (..., group) <-> (..., block bytes).

    `error` is the root mean square of what normally distributed weights are missed by, at most,
    relative to theirs.
    """

    name: str
    group: int  # weights in a block
    units: tuple[int, ...]  # their sizes in bytes
    largest: float  # magnitude that can be stored
    error: float
    encode: Callable[[np.ndarray], np.ndarray]
    decode: Callable[[np.ndarray], np.ndarray]
    codes: Callable[[np.ndarray], "Codes"] | None = None  # without: numbers, x isn't rounded

    @property
    def block_bytes(self) -> int:
        return sum(self.units)

    @property
    def bits(self) -> float:
        """Bits per weight, scales included."""
        return 8 * self.block_bytes / self.group

    def groups(self, inputs: int) -> int:
        return -(-inputs // self.group)


def _as_bytes(array: np.ndarray) -> np.ndarray:
    """The bytes of the last axis."""
    return np.ascontiguousarray(array).view(np.uint8)


def _halves(blocks: np.ndarray, count: int) -> np.ndarray:
    """The first float16s of blocks: (..., bytes) -> (..., count) float32."""
    return np.ascontiguousarray(blocks[..., : 2 * count]).view("<f2").astype(np.float32)


def _half_not_below(x: np.ndarray) -> np.ndarray:
    """The smallest float16 that is not below x."""
    half = x.astype(np.float16)
    return np.where(half < x, np.nextafter(half, np.float16(np.inf)), half)


def _inverse(scale: np.ndarray) -> np.ndarray:
    """1 / scale, and 0 for 0: in float32."""
    return np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale > 0)


def _encode_bfloat16(w: np.ndarray) -> np.ndarray:
    bits = w.view(np.uint32)
    return _as_bytes(((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2"))


def _decode_bfloat16(blocks: np.ndarray) -> np.ndarray:
    return (blocks.view("<u2").astype(np.uint32) << 16).view(np.float32)


def _encode_q8(w: np.ndarray) -> np.ndarray:
    scale = _half_not_below(np.abs(w).max(axis=-1, keepdims=True) / np.float32(127))
    codes = np.rint(w * _inverse(scale.astype(np.float32))).astype(np.int8)
    return np.concatenate([_as_bytes(scale.astype("<f2")), _as_bytes(codes)], axis=-1)


def _codes_q8(blocks: np.ndarray) -> Codes:
    return Codes(blocks[..., 2:].view(np.int8).astype(np.float32), _halves(blocks, 1), None)


def _codes_above_minimum(w: np.ndarray, last: int) -> tuple[np.ndarray, np.ndarray]:
    """The bytes (..., 4) of scale and minimum, and codes 0..last (..., 32) uint8."""
    minimum = np.float16(0) - _half_not_below(-w.min(axis=-1, keepdims=True))  # rounded down
    above = w - minimum.astype(np.float32)
    scale = _half_not_below(above.max(axis=-1, keepdims=True) / np.float32(last))
    codes = np.rint(above * _inverse(scale.astype(np.float32))).astype(np.uint8)
    return _as_bytes(np.concatenate([scale, minimum], axis=-1).astype("<f2")), codes


def _pairs(codes: np.ndarray) -> np.ndarray:
    """The low four bits of 32 codes: (..., 32) -> (..., 16) bytes."""
    return codes[..., :16] & 15 | codes[..., 16:] << 4


def _halved(pairs: np.ndarray) -> np.ndarray:
    """What _pairs was given: (..., 16) -> (..., 32)."""
    return np.concatenate([pairs & 15, pairs >> 4], axis=-1)


def fifth_bits(bits: np.ndarray) -> np.ndarray:
    """32 bits in the order that q5 has: (..., 32) of 0 and 1 -> (..., 4) bytes."""
    quads = bits.reshape(*bits.shape[:-1], 8, 4)
    return np.packbits(quads, axis=-2, bitorder="little")[..., 0, :]


def _encode_q5(w: np.ndarray) -> np.ndarray:
    halves, codes = _codes_above_minimum(w, last=31)
    return np.concatenate([halves, fifth_bits(codes >> 4), _pairs(codes)], axis=-1)


def _codes_q5(blocks: np.ndarray) -> Codes:
    halves, low = _halves(blocks, 2), _halved(blocks[..., 8:])
    quads = np.unpackbits(blocks[..., None, 4:8], axis=-2, bitorder="little")  # (..., 8, 4)
    whole = (low | quads.reshape(low.shape) << 4).astype(np.float32)
    return Codes(whole, halves[..., :1], halves[..., 1:])


def _encode_q4(w: np.ndarray) -> np.ndarray:
    halves, codes = _codes_above_minimum(w, last=15)
    return np.concatenate([halves, _pairs(codes)], axis=-1)


def _codes_q4(blocks: np.ndarray) -> Codes:
    halves = _halves(blocks, 2)
    return Codes(_halved(blocks[..., 4:]).astype(np.float32), halves[..., :1], halves[..., 1:])


def _encode_q4_0(w: np.ndarray) -> np.ndarray:
    """Bit for bit as ggml: halves go up, and codes are those of the scale before it is rounded."""
    farthest = np.take_along_axis(w, np.abs(w).argmax(axis=-1, keepdims=True), axis=-1)
    scale = farthest / np.float32(-8)
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.float32(1) / scale
    inverse = np.where(np.isfinite(inverse), inverse, np.float32(0))
    codes = np.minimum(w * inverse + np.float32(8.5), np.float32(15)).astype(np.uint8)
    return np.concatenate([_as_bytes(scale.astype("<f2")), _pairs(codes)], axis=-1)


def _codes_q4_0(blocks: np.ndarray) -> Codes:
    whole = _halved(blocks[..., 2:]).astype(np.float32) - np.float32(8)
    return Codes(whole, _halves(blocks, 1), None)


def activation_codes(x: np.ndarray, group: int) -> tuple[np.ndarray, np.ndarray]:
    """(M, K) -> scales (M, G, 1) and codes (M, G, group), as float32 arithmetic gives them.

    scale = max|x| / 127, code = x * (127 / max|x|), rounded to nearest even. A group that is too
    small for 127 / max|x| counts as zeros; one that isn't finite has a scale of NaN.
    """
    rows, inputs = x.shape
    groups = -(-inputs // group)
    padded = np.zeros((rows, groups * group), np.float32)
    padded[:, :inputs] = x
    grouped = padded.reshape(rows, groups, group)
    most = np.abs(grouped).max(axis=-1, keepdims=True, initial=0)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        inverse = np.float32(127) / most
    inverse = np.where(np.isfinite(most) & np.isfinite(inverse), inverse, np.float32(0))
    with np.errstate(invalid="ignore"):
        codes = np.where(inverse > 0, np.rint(grouped * inverse), np.float32(0))
    scale = np.where(inverse > 0, most / np.float32(127), np.float32(0))
    return np.where(np.isfinite(most), scale, np.float32(np.nan)), codes


def add_products(y: np.ndarray, x: np.ndarray, weights: Codes) -> None:
    """y += x @ weight^T, x (M, K) rounded: group by group, each an exact sum of 32, scaled.

    weights: of blocks (N, G, bytes). A minimum meets the sum of its group's activations.
    """
    scale_x, x_codes = activation_codes(x, weights.whole.shape[-1])  # (M, G, 1), (M, G, 32)
    sum_x = scale_x * x_codes.sum(axis=-1, keepdims=True)  # (M, G, 1)
    for g in range(weights.whole.shape[1]):
        dot = x_codes[:, g] @ weights.whole[:, g].T  # (M, 32) (32, N) -> (M, N); below 2^24
        y += dot * (scale_x[:, g] * weights.scale[:, g].T)
        if weights.minimum is not None:
            y += sum_x[:, g] * weights.minimum[:, g].T


def _of_codes(
    name: str,
    units: tuple[int, ...],
    largest: float,
    error: float,
    encode: Callable[[np.ndarray], np.ndarray],
    codes: Callable[[np.ndarray], Codes],
) -> WeightFormat:
    """A format of codes: groups of 32, decoded as they are multiplied."""

    def decode(blocks: np.ndarray) -> np.ndarray:
        whole, scale, minimum = codes(blocks)
        return scale * whole if minimum is None else scale * whole + minimum

    return WeightFormat(name, 32, units, largest, error, encode, decode, codes)


FORMATS: dict[str, WeightFormat] = {
    row.name: row
    for row in (
        WeightFormat(
            "float32",
            group=1,
            units=(4,),
            largest=float(np.finfo(np.float32).max),
            error=0.0,
            encode=_as_bytes,
            decode=lambda blocks: blocks.view("<f4"),
        ),
        WeightFormat(
            "bfloat16",
            group=1,
            units=(2,),
            largest=float(np.uint32(0x7F7F0000).view(np.float32)),
            error=0.002,
            encode=_encode_bfloat16,
            decode=_decode_bfloat16,
        ),
        WeightFormat(
            "float16",
            group=1,
            units=(2,),
            largest=_HALF_MOST,
            error=0.00025,
            encode=lambda w: _as_bytes(w.astype("<f2")),
            decode=lambda blocks: blocks.view("<f2").astype(np.float32),
        ),
        _of_codes(
            "q8",
            units=(2, *8 * (4,)),
            largest=127 * _HALF_MOST,
            error=0.006,
            encode=_encode_q8,
            codes=_codes_q8,
        ),
        _of_codes(
            "q5",
            units=(2, 2, *5 * (4,)),
            largest=_HALF_MOST,
            error=0.045,
            encode=_encode_q5,
            codes=_codes_q5,
        ),
        _of_codes(
            "q4",
            units=(2, 2, *4 * (4,)),
            largest=_HALF_MOST,
            error=0.09,
            encode=_encode_q4,
            codes=_codes_q4,
        ),
        _of_codes(
            "q4_0",
            units=(2, *4 * (4,)),
            largest=8 * _HALF_MOST,
            error=0.09,
            encode=_encode_q4_0,
            codes=_codes_q4_0,
        ),
    )
}


def weight_format(name: str) -> WeightFormat:
    """The format of that name; ValueError listing those that there are."""
    if name not in FORMATS:
        raise ValueError(f"format {name!r} is unknown; allowed: {', '.join(FORMATS)}")
    return FORMATS[name]
