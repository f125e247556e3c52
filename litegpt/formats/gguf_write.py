"""Writing GGUF files: whole or not at all, one tensor in memory at a time."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from litegpt.formats.files import write_together
from litegpt.formats.gguf import ARRAY, BOOL, DEFAULT_ALIGNMENT, MAGIC, NUMBERS, STRING
from litegpt.formats.gguf_types import TensorType

_VERSION = 3
_KINDS = {dtype: kind for kind, dtype in NUMBERS.items() if kind != BOOL}


@dataclass(frozen=True)
class GgufTensor:
    """A tensor to be written: its shape, rows first, and what gives its blocks when asked."""

    shape: tuple[int, ...]
    form: TensorType
    blocks: Callable[[], np.ndarray]  # uint8, as gguf_types.encode makes them

    @property
    def nbytes(self) -> int:
        return prod(self.shape) // self.form.group * self.form.block_bytes


def write_gguf(path: Path, metadata: Mapping[str, Any], tensors: Mapping[str, GgufTensor]) -> None:
    """Writes a GGUF file, or, if anything fails, leaves what was there.

    Metadata may be str, bool, int (uint32, int32 below zero, 64 bits where these are too few),
    float (float32), a list of str, or an array of numbers. Anything else: TypeError.
    """

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            file.write(MAGIC + struct.pack("<IQQ", _VERSION, len(tensors), len(metadata)))
            for key, value in metadata.items():
                file.write(_text(key) + _value(key, value))
            offset = 0
            for name, tensor in tensors.items():
                axes = tensor.shape[::-1]
                file.write(_text(name) + struct.pack(f"<I{len(axes)}Q", len(axes), *axes))
                file.write(struct.pack("<IQ", tensor.form.number, offset))
                offset += tensor.nbytes + -tensor.nbytes % DEFAULT_ALIGNMENT
            for tensor in tensors.values():
                _align(file)
                file.write(np.ascontiguousarray(tensor.blocks()).data)
            _align(file)

    write_together({path: write})


def _align(file: BinaryIO) -> None:
    file.write(bytes(-file.tell() % DEFAULT_ALIGNMENT))


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(key: str, value: Any) -> bytes:
    """The type and the value."""
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _text(value)
    if isinstance(value, bool):
        return struct.pack("<I?", BOOL, value)
    if isinstance(value, int | float):
        number = _number(value)
        return struct.pack("<I", _KINDS[number.dtype]) + number.tobytes()
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype in _KINDS:
        head = struct.pack("<IIQ", ARRAY, _KINDS[value.dtype], len(value))
        return head + value.tobytes()
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype == np.bool_:
        return struct.pack("<IIQ", ARRAY, BOOL, len(value)) + value.tobytes()
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(_text, value))
    raise TypeError(f"metadata {key} can't be of type {type(value).__name__}")


def _number(value: int | float) -> np.ndarray:
    if isinstance(value, float):
        return np.array(value, "<f4")
    for dtype in ("<u4", "<i4", "<u8", "<i8"):
        limits = np.iinfo(dtype)
        if limits.min <= value <= limits.max:
            return np.array(value, dtype)
    raise TypeError(f"{value} doesn't fit in 64 bits")
