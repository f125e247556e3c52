"""Tensors in files: which there are, and each of them when asked for."""

import mmap
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError, safe_open

from litegpt.formats.errors import ModelFormatError
from litegpt.formats.json_fields import parse_json, read_json

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

_TYPES: dict[str, np.dtype[Any]] = {  # those that are read; NumPy has no bfloat16
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
# bytes of a header, which take up to 30 times as many in memory; the largest models' are 100,000
_LONGEST_HEADER = 1 << 21
_SHARD = re.compile(r"[^/\\\0]+\.safetensors")  # a name, and no path
_LONGEST_NAME = 255  # bytes; of a file, where systems draw the line
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_LISTED = 1000  # problems that a message spells out: all of them, but in files made to hurt

Shapes = Mapping[str, tuple[int, ...]]


class Weights(Protocol):
    """What holds a model's tensors."""

    @property
    def path(self) -> Path:
        """Which messages name."""

    @property
    def shapes(self) -> Shapes: ...

    @property
    def unread(self) -> Mapping[str, str]:
        """Tensors of types that aren't read -> what is wrong with them."""

    def read(self, name: str) -> np.ndarray:
        """One tensor: float16 or float32."""


def check_tensors(
    weights: Weights, expected: Shapes, optional: Shapes, ignored: Collection[str] = ()
) -> None:
    """ModelFormatError listing all tensors missing, unexpected, misshapen, or of other types.

    Those ignored may be anything. Nothing but headers has been read then.
    """
    known = {**expected, **optional}
    problems = [f"missing {name}" for name in expected if name not in weights.shapes]
    for name, shape in weights.shapes.items():
        if name in ignored:
            continue
        if name not in known:
            problems.append(f"unexpected {name or repr(name)}")
        elif shape != known[name]:
            problems.append(f"{name} has shape {shape}, not {known[name]}")
        elif name in weights.unread:
            problems.append(f"{name} {weights.unread[name]}")
    if problems:
        more = f"; and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
        raise ModelFormatError(f"{weights.path}: " + "; ".join(problems[:_LISTED]) + more)


class SafetensorsFile:
    """Names and shapes of the tensors in a file, which the safetensors library has checked.

    The file is mapped: as long as this, or what it has read, is in use, it must not shrink. What
    is read may be changed; that doesn't change the file. types are those that are read.
    """

    def __init__(self, path: Path, types: Mapping[str, np.dtype[Any]] = _TYPES) -> None:
        if not path.is_file():
            raise ModelFormatError(f"{path}: no such file{_pickled(path.parent)}")
        self.path = path
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if _LONGEST_HEADER < length <= path.stat().st_size:
                raise ModelFormatError(f"{path}: a header of {length} bytes; this can't be one")
            try:
                safe_open(path, framework="numpy")  # and what it holds is gone before ours is made
            except (SafetensorError, OSError) as error:
                raise ModelFormatError(f"{path}: not a whole safetensors file ({error})") from error
            header = dict(parse_json(path, file.read(length)).fields)
            self._bytes: mmap.mmap = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self.metadata: Mapping[str, str] = header.pop("__metadata__", None) or {}
        self._types = types
        self._start = 8 + length
        self._tensors: dict[str, dict[str, Any]] = header
        self.shapes: Shapes = {name: tuple(t["shape"]) for name, t in header.items()}
        allowed = ", ".join(types)
        self.unread: Mapping[str, str] = {
            name: f"has type {tensor['dtype']}; types read are {allowed}"
            for name, tensor in header.items()
            if tensor["dtype"] not in types
        }

    def read(self, name: str) -> np.ndarray:
        """One tensor where it lies in the file, or, from bfloat16, a copy in float32."""
        tensor = self._tensors[name]
        dtype, shape = self._types[tensor["dtype"]], self.shapes[name]
        start = self._start + tensor["data_offsets"][0]
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(self._bytes, dtype, count, start).reshape(shape)
        if tensor["dtype"] == "BF16":
            return (array.astype(np.uint32) << 16).view(np.float32)  # its upper half
        return array

    def let_go(self) -> None:
        """Gives back the memory of what was read so far: it is read again when it is needed.

        Not for tensors that somebody has changed.
        """
        if hasattr(mmap, "MADV_DONTNEED"):
            self._bytes.madvise(mmap.MADV_DONTNEED)


class ShardedWeights:
    """The tensors of several safetensors files beside an index of them."""

    def __init__(self, index: Path) -> None:
        self.path = index
        fields = read_json(index).section("weight_map")
        files: dict[str, SafetensorsFile] = {}
        self._file_of: dict[str, SafetensorsFile] = {}
        for name, shard in fields.fields.items():
            if (
                not isinstance(shard, str)
                or not _SHARD.fullmatch(shard)
                or len(shard.encode(errors="surrogatepass")) > _LONGEST_NAME
            ):
                raise fields.refuse(name, "the name of a .safetensors file in the same folder")
            if shard not in files:  # and at once, lest many files of many tensors are opened
                files[shard] = SafetensorsFile(index.parent / shard)
                for other in files[shard].shapes:
                    if fields.fields.get(other) != shard:
                        raise ModelFormatError(f"{index}: {other} in {shard} isn't listed")
            if name not in files[shard].shapes:
                raise ModelFormatError(f"{index}: {name} isn't in {shard}")
            self._file_of[name] = files[shard]
        self.shapes: Shapes = {name: file.shapes[name] for name, file in self._file_of.items()}
        self.unread: Mapping[str, str] = {
            name: problem for file in files.values() for name, problem in file.unread.items()
        }

    def read(self, name: str) -> np.ndarray:
        return self._file_of[name].read(name)


def open_weights(directory: Path) -> Weights:
    """The tensors of a model's directory: one file, or several and their index."""
    if not (directory / WEIGHTS).exists() and (directory / INDEX).exists():
        return ShardedWeights(directory / INDEX)
    return SafetensorsFile(directory / WEIGHTS)


def refuse_pickle(path: Path) -> None:
    """ModelFormatError for files of a kind that can run any code when they are opened."""
    if path.suffix in _PICKLES:
        raise ModelFormatError(f"{path}: {_HOW}")


_HOW = (
    "looks like a pickle, which isn't opened: load it with the library that wrote it and save it "
    "as safetensors (docs/models.md: From a pickle)"
)


def _pickled(directory: Path) -> str:
    """What to do where there are only pickled weights."""
    if not directory.is_dir():
        return ""
    names = sorted(p.name for p in directory.iterdir() if p.suffix in _PICKLES)
    return f"; {names[0]} {_HOW}" if names else ""
