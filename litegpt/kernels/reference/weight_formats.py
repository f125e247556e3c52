"""How weights are stored in fewer bits, a row of data for each format.

A format cuts the K weights of an output into groups, and stores a group as a block of bytes. A
block is a row of little-endian units of 2 or 4 bytes:

    float32    1 weight     the number
    bfloat16   1 weight     the upper half of the float32, rounded to nearest even
    float16    1 weight     the IEEE half, rounded to nearest even
    q8         32 weights   scale (float16), then 32 codes (int8): w = scale * code
    q4         32 weights   scale, minimum (float16), then 16 bytes, byte i with code i in its low
                            four bits and code i + 16 in its high ones: w = scale * code + minimum

These are the blocks F32, BF16, F16, Q8_0 and Q4_1 of GGUF files. Scales are rounded up, and minima
down, to float16: so every weight lies in the range of the codes, and is missed by half a scale at
the most. K that isn't a multiple of the group is filled up with zeros.

In q8 and q4 the activations are rounded as well, per row and group, to codes -127..127 with
scale = max|x| / 127, and codes are multiplied as integers, which is exact.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_HALF_MOST = 65504.0  # the largest float16


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
    # add_products(y, x, blocks) rounds x too; without it weights are multiplied as they decode
    add_products: Callable[[np.ndarray, np.ndarray, np.ndarray], None] | None = None

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


def q8_codes(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(..., 34) -> scales (..., 1) and codes (..., 32), float32."""
    scale = np.ascontiguousarray(blocks[..., :2]).view("<f2").astype(np.float32)
    return scale, blocks[..., 2:].view(np.int8).astype(np.float32)


def _decode_q8(blocks: np.ndarray) -> np.ndarray:
    scale, codes = q8_codes(blocks)
    return scale * codes


def _encode_q4(w: np.ndarray) -> np.ndarray:
    minimum = np.float16(0) - _half_not_below(-w.min(axis=-1, keepdims=True))  # rounded down
    above = w - minimum.astype(np.float32)
    scale = _half_not_below(above.max(axis=-1, keepdims=True) / np.float32(15))
    codes = np.rint(above * _inverse(scale.astype(np.float32))).astype(np.uint8)
    return np.concatenate(
        [
            _as_bytes(scale.astype("<f2")),
            _as_bytes(minimum.astype("<f2")),
            codes[..., :16] | codes[..., 16:] << 4,
        ],
        axis=-1,
    )


def q4_codes(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(..., 20) -> scales (..., 1), minima (..., 1) and codes (..., 32), float32."""
    halves = np.ascontiguousarray(blocks[..., :4]).view("<f2").astype(np.float32)
    codes = np.concatenate([blocks[..., 4:] & 15, blocks[..., 4:] >> 4], axis=-1)
    return halves[..., :1], halves[..., 1:], codes.astype(np.float32)


def _decode_q4(blocks: np.ndarray) -> np.ndarray:
    scale, minimum, codes = q4_codes(blocks)
    return scale * codes + minimum


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


def _add_products_q8(y: np.ndarray, x: np.ndarray, blocks: np.ndarray) -> None:
    """y += x @ weight^T: group by group, each an exact sum of 32 products, scaled."""
    scale_x, x_codes = activation_codes(x, 32)  # (M, G, 1), (M, G, 32)
    scale_w, w_codes = q8_codes(blocks)  # (N, G, 1), (N, G, 32)
    for g in range(blocks.shape[1]):
        dot = x_codes[:, g] @ w_codes[:, g].T  # (M, 32) (32, N) -> (M, N); exact, below 2^24
        y += dot * (scale_x[:, g] * scale_w[:, g].T)


def _add_products_q4(y: np.ndarray, x: np.ndarray, blocks: np.ndarray) -> None:
    """The same; a minimum meets the sum of its group's activations."""
    scale_x, x_codes = activation_codes(x, 32)
    scale_w, minimum, w_codes = q4_codes(blocks)
    sum_x = scale_x * x_codes.sum(axis=-1, keepdims=True)  # (M, G, 1)
    for g in range(blocks.shape[1]):
        dot = x_codes[:, g] @ w_codes[:, g].T
        y += dot * (scale_x[:, g] * scale_w[:, g].T)
        y += sum_x[:, g] * minimum[:, g].T


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
        WeightFormat(
            "q8",
            group=32,
            units=(2, *8 * (4,)),
            largest=127 * _HALF_MOST,
            error=0.006,
            encode=_encode_q8,
            decode=_decode_q8,
            add_products=_add_products_q8,
        ),
        WeightFormat(
            "q4",
            group=32,
            units=(2, 2, *4 * (4,)),
            largest=_HALF_MOST,
            error=0.09,
            encode=_encode_q4,
            decode=_decode_q4,
            add_products=_add_products_q4,
        ),
    )
}


def weight_format(name: str) -> WeightFormat:
    """The format of that name; ValueError listing those that there are."""
    if name not in FORMATS:
        raise ValueError(f"format {name!r} is unknown; allowed: {', '.join(FORMATS)}")
    return FORMATS[name]
