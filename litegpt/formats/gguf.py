"""GGUF files: metadata, and tensors in blocks.

The format: github.com/ggml-org/ggml, docs/gguf.md, versions 2 and 3, little-endian. A header, then
metadata (key, type, value), then for each tensor its name, sizes, type and offset; then, aligned,
the tensors. Nothing in a file is believed: every length is checked against the file's size before
it is used, and counts have a bound, so that opening takes little time and no memory to speak of.
"""

import mmap
import struct
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from litegpt import kernels
from litegpt.formats.errors import ModelFormatError
from litegpt.formats.gguf_strings import string_ends, strings
from litegpt.formats.gguf_types import TENSOR_TYPES, TensorType, decode

MAGIC = b"GGUF"
ALIGNMENT = "general.alignment"
DEFAULT_ALIGNMENT = 32
STRING, ARRAY, BOOL = 8, 9, 7
NUMBERS: dict[int, np.dtype[Any]] = {  # types of metadata
    0: np.dtype("<u1"),
    1: np.dtype("<i1"),
    2: np.dtype("<u2"),
    3: np.dtype("<i2"),
    4: np.dtype("<u4"),
    5: np.dtype("<i4"),
    6: np.dtype("<f4"),
    BOOL: np.dtype("<u1"),
    10: np.dtype("<u8"),
    11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}

_MOST_ENTRIES = 1 << 12  # of metadata; files have fewer than a hundred
_MOST_TENSORS = 1 << 16
_MOST_STRINGS = 1 << 20  # in all arrays; the largest vocabularies and merges have 800,000
_MOST_TEXT = 1 << 24  # bytes of one value made of text
_LONGEST_NAME = (1 << 16) - 1
_MOST_AXES = 4

_TensorInfo = tuple[tuple[int, ...], TensorType, int]  # shape, type, offset within the data


@dataclass(frozen=True)
class TensorPlace:
    """A tensor's shape, rows first (the file has sizes in the opposite order), and its bytes."""

    shape: tuple[int, ...]
    form: TensorType
    start: int  # in the file
    nbytes: int


class Metadata(Mapping[str, Any]):
    """Key -> str, int, float, bool, list of str, or an array of numbers; read when asked for.

    `counts` says of lists and arrays how long they are, before they are read.
    """

    def __init__(self) -> None:
        self._read: dict[str, Callable[[], Any]] = {}
        self.counts: dict[str, int] = {}

    def add(self, key: str, read: Callable[[], Any]) -> None:
        self._read[key] = read

    def __getitem__(self, key: str) -> Any:
        return self._read[key]()

    def __contains__(self, key: object) -> bool:
        return key in self._read

    def __iter__(self) -> Iterator[str]:
        return iter(self._read)

    def __len__(self) -> int:
        return len(self._read)


class GgufFile:
    """`metadata` and `tensors` (name -> TensorPlace) of a file; the weights when asked for.

    ModelFormatError names the file, and the field or tensor, for all that isn't as it should be.
    Its metadata is mapped: as long as this is in use, that part of the file must stay.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata = Metadata()
        self.tensors: dict[str, TensorPlace] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._strings = 0  # in arrays so far
        self._file = path.open("rb")
        weakref.finalize(self, self._file.close)
        if self._file.read(4) != MAGIC:
            raise self._refuse("not a GGUF file")
        self._bytes = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        self._end = len(self._bytes)
        self._at, self._reading = 4, "header"
        self._header()

    @property
    def unread(self) -> Mapping[str, str]:
        return {}  # what has another type was refused

    def read(self, name: str) -> np.ndarray:
        """A tensor's numbers, whatever its type: float32, of its shape."""
        place = self.tensors[name]
        return decode(self.blocks(name), place.form).reshape(place.shape)

    def blocks(self, name: str) -> np.ndarray:
        """A tensor as it lies in the file: (rows, groups, block bytes) uint8.

        Read, not mapped: pages of a mapped file count as this process's memory once they are used.
        """
        place = self.tensors[name]
        rows = prod(place.shape[:-1])
        blocks = np.empty(
            (rows, place.shape[-1] // place.form.group, place.form.block_bytes), np.uint8
        )
        self._file.seek(place.start)
        if self._file.readinto(blocks.data) < place.nbytes:
            raise self._refuse(f"tensor {name}: the file ends within it")
        return blocks

    def read_packed(
        self, rows: np.ndarray, groups: np.ndarray, format: str, packed: np.ndarray
    ) -> None:
        """kernels.read_quantized of this file: no page of it counts as this process's memory."""
        try:
            kernels.read_quantized(self._file, rows, groups, format, packed)
        except OSError as error:
            raise self._refuse(str(error)) from None

    def _refuse(self, problem: str) -> ModelFormatError:
        return ModelFormatError(f"{self.path}: {problem}")

    def _beyond(self) -> ModelFormatError:
        return self._refuse(f"{self._reading}: ends beyond the file's {self._end} bytes")

    def _header(self) -> None:
        version = self._number("<I")
        if version not in (2, 3):
            swapped = int.from_bytes(version.to_bytes(4, "big"), "little")
            kind = "big-endian" if swapped in (2, 3) else f"version {version}"
            raise self._refuse(f"a GGUF file of {kind}; versions 2 and 3, little-endian, are read")
        tensors, entries = self._number("<Q"), self._number("<Q")
        for count, what, most in (
            (tensors, "tensors", _MOST_TENSORS),
            (entries, "metadata entries", _MOST_ENTRIES),
        ):
            if count > most:
                raise self._refuse(f"header: {count} {what}; at most {most} are read")
        for _ in range(entries):
            self._entry()
        alignment = self.metadata.get(ALIGNMENT, DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20 or alignment % 8:
            raise self._refuse(f"{ALIGNMENT} must be a multiple of 8 up to 2^20, not {alignment!r}")
        infos: dict[str, _TensorInfo] = {}
        for _ in range(tensors):
            self._tensor_info(infos)
        data = -(-self._at // alignment) * alignment
        for name, info in infos.items():
            self.tensors[name] = self._place(name, info, data, alignment)
        self._check_overlaps()
        self.shapes = {name: place.shape for name, place in self.tensors.items()}

    def _skip(self, count: int) -> int:
        """Where the next bytes begin; they must be in the file."""
        start, self._at = self._at, self._at + count
        if self._at > self._end:
            raise self._beyond()
        return start

    def _number(self, layout: str) -> int:
        return struct.unpack_from(layout, self._bytes, self._skip(struct.calcsize(layout)))[0]

    def _name(self, what: str) -> str:
        length = self._number("<Q")
        if length > _LONGEST_NAME:
            raise self._refuse(f"{what} {self._reading}: a name of {length} bytes")
        start = self._skip(length)
        return self._text(start, length, f"{what} {self._reading}")

    def _text(self, start: int, length: int, field: str) -> str:
        try:
            return self._bytes[start : start + length].decode()
        except UnicodeDecodeError as error:
            raise self._refuse(f"{field}: not UTF-8 ({error.reason})") from None

    def _entry(self) -> None:
        self._reading = f"metadata entry {len(self.metadata)}"
        key = self._name("key of")
        if key in self.metadata:
            raise self._refuse(f"{key} is there twice")
        self._reading = key
        kind = self._number("<I")
        if kind == ARRAY:
            self._array(key)
        elif kind == STRING:
            length = self._number("<Q")
            start = self._skip(length)
            if length > _MOST_TEXT:
                raise self._refuse(f"{key}: a text of {length} bytes; at most {_MOST_TEXT}")
            self.metadata.add(key, lambda: self._text(start, length, key))
        else:
            value = self._numbers(key, kind, 1)[0].item()
            self.metadata.add(key, lambda: value)

    def _array(self, key: str) -> None:
        kind, count = self._number("<I"), self._number("<Q")
        self.metadata.counts[key] = count
        if kind == STRING:
            begin, ends = self._at, self._string_ends(key, count)
            self.metadata.add(key, lambda: self._texts(begin, ends, key))
        else:
            numbers = self._numbers(key, kind, count)
            self.metadata.add(key, lambda: numbers)

    def _numbers(self, key: str, kind: int, count: int) -> np.ndarray:
        if kind not in NUMBERS:
            inside = "arrays in arrays aren't read" if kind == ARRAY else f"type {kind} is unknown"
            raise self._refuse(f"{key}: {inside}")
        start = self._skip(count * NUMBERS[kind].itemsize)
        numbers = np.frombuffer(self._bytes, NUMBERS[kind], count, start)
        if kind != BOOL:
            return numbers
        if count and numbers.max() > 1:
            raise self._refuse(f"{key}: a truth value must be 0 or 1, not {numbers.max()}")
        return numbers.view(np.bool_)

    def _string_ends(self, key: str, count: int) -> np.ndarray:
        """Where each string of an array ends (n,), once all are known to be in the file."""
        self._strings += count
        if self._strings > _MOST_STRINGS:
            raise self._refuse(f"{key}: {count} texts; arrays hold at most {_MOST_STRINGS} in all")
        begin = self._at
        try:
            ends = string_ends(self._bytes, begin, count)
        except IndexError:
            raise self._beyond() from None
        self._at = int(ends[-1]) if count else begin
        if self._at - begin > _MOST_TEXT:
            raise self._refuse(f"{key}: {self._at - begin} bytes of text; at most {_MOST_TEXT}")
        return ends

    def _texts(self, begin: int, ends: np.ndarray, key: str) -> list[str]:
        try:
            return strings(self._bytes, begin, ends)
        except UnicodeDecodeError as error:
            raise self._refuse(f"{key}: not UTF-8 ({error.reason})") from None

    def _tensor_info(self, infos: dict[str, _TensorInfo]) -> None:
        self._reading = f"tensor {len(infos)}"
        name = self._name("name of")
        if name in infos:
            raise self._refuse(f"tensor {name} is there twice")
        self._reading = f"tensor {name}"
        axes = self._number("<I")
        if not 0 < axes <= _MOST_AXES:
            raise self._refuse(f"tensor {name}: {axes} axes; allowed are 1 to {_MOST_AXES}")
        shape = tuple(self._number("<Q") for _ in range(axes))[::-1]
        kind, offset = self._number("<I"), self._number("<Q")
        if kind not in TENSOR_TYPES:
            known = ", ".join(form.name for form in TENSOR_TYPES.values())
            raise self._refuse(f"tensor {name}: type {kind} isn't read; types read are {known}")
        form = TENSOR_TYPES[kind]
        if min(shape) < 1 or shape[-1] % form.group:
            raise self._refuse(
                f"tensor {name} has shape {shape}; sizes must be positive, and the last a "
                f"multiple of {form.group} in {form.name}"
            )
        infos[name] = shape, form, offset

    def _place(self, name: str, info: _TensorInfo, data: int, alignment: int) -> TensorPlace:
        shape, form, offset = info
        nbytes = prod(shape) // form.group * form.block_bytes
        if offset % alignment:
            raise self._refuse(f"tensor {name}: offset {offset} is no multiple of {alignment}")
        if data + offset + nbytes > self._end:
            raise self._refuse(
                f"tensor {name}: {nbytes} bytes at offset {offset} end beyond the file's "
                f"{self._end} bytes"
            )
        return TensorPlace(shape, form, data + offset, nbytes)

    def _check_overlaps(self) -> None:
        places = sorted((p.start, p.start + p.nbytes, name) for name, p in self.tensors.items())
        for (_, end, first), (start, _, second) in zip(places, places[1:], strict=False):
            if start < end:
                raise self._refuse(f"tensors {first} and {second} overlap")
