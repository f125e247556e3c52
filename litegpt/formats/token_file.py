"""Token files: a corpus as numbers, in a safetensors container, larger than memory if need be.

Three tensors and a few words of metadata:

    tokens   U16 or U32 (N,)   the documents, one after another; zeros fill up the last 8 bytes
    borders  I64 (D + 1,)      document d is tokens[borders[d]:borders[d + 1]]
    given    I64 (2, G)        tokens[given[0, i]:given[1, i]] are not to be learned (prompts)
"""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from litegpt.formats.errors import ModelFormatError
from litegpt.formats.weights import SafetensorsFile

FORMAT = "litegpt tokens 1"
_TYPES: dict[str, np.dtype[Any]] = {
    "U16": np.dtype("<u2"),
    "U32": np.dtype("<u4"),
    "I64": np.dtype("<i8"),
}
_HASHED_AT_ONCE = 1 << 22  # numbers
_HEADER = 4096  # bytes kept free for it; it takes some 600


class TokenFile:
    """A corpus that lies on disk: `ids`, `borders` and `given`, mapped (see above).

    `vocab_size` is that of the tokenizer; `metadata` what the file says of itself. A file that is
    none, or isn't whole: ModelFormatError, before anything of it is used.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path = Path(path)
        self._file = SafetensorsFile(path, _TYPES)
        self.metadata: Mapping[str, str] = self._file.metadata
        if self.metadata.get("format") != FORMAT:
            raise ModelFormatError(f"{path}: not a token file (no {FORMAT!r} in its header)")
        self.vocab_size = self._vocab_size()
        tokens, self.borders = self._tensor("tokens", 1, self.type_name), self._tensor("borders", 1)
        self.given = self._tensor("given", 2)
        self._check(len(tokens))
        self.ids = tokens[: self.borders[-1]]
        self.let_go()

    @property
    def type_name(self) -> str:
        """How wide a token is: safetensors' word for it."""
        return token_type(self.vocab_size)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what the tokens were made of, where that is known, else of the tokens."""
        import hashlib  # not for every import of litegpt: it loads OpenSSL

        made_of = [self.metadata.get(name, "") for name in ("sources", "tokenizer")]
        digest = hashlib.sha256(json.dumps(made_of).encode())
        if not all(made_of):
            for array in (self.ids, self.borders, self.given):
                for begin in range(0, max(1, array.size), _HASHED_AT_ONCE):
                    digest.update(array.ravel()[begin : begin + _HASHED_AT_ONCE].data)
                    self.let_go()
        return digest.hexdigest()

    def let_go(self) -> None:
        """Gives back the memory of what was read; it comes from the disk again when needed."""
        self._file.let_go()

    def _vocab_size(self) -> int:
        said = self.metadata.get("vocab_size", "")
        if not (said.isascii() and said.isdigit() and len(said) <= 10 and 0 < int(said) <= 2**32):
            raise ModelFormatError(f"{self.path}: vocab_size must be 1 to 2^32, not {said[:20]!r}")
        return int(said)

    def _tensor(self, name: str, axes: int, kind: str = "I64") -> np.ndarray:
        shape = self._file.shapes.get(name)
        if shape is None:
            raise ModelFormatError(f"{self.path}: has no tensor {name}")
        array = None if name in self._file.unread else self._file.read(name)
        if array is None or array.dtype != _TYPES[kind] or array.ndim != axes:
            raise ModelFormatError(f"{self.path}: {name} must be {kind} with {axes} axes")
        return array

    def _check(self, tokens: int) -> None:
        borders, given = self.borders, self.given
        if not len(borders) or borders[0] != 0 or not 0 <= tokens - borders[-1] < 4:
            raise ModelFormatError(f"{self.path}: borders must go from 0 to its {tokens} tokens")
        if np.any(borders[1:] < borders[:-1]):
            raise ModelFormatError(f"{self.path}: borders must not fall")
        if len(given) != 2 or np.any(given[0] > given[1]) or np.any(given[1, :-1] > given[0, 1:]):
            raise ModelFormatError(f"{self.path}: given must be two rows, begins and ends in order")
        if given.size and not 0 <= given[0, 0] <= given[1, -1] <= borders[-1]:
            raise ModelFormatError(f"{self.path}: given must lie within the tokens")


class TokenFileWriter:
    """Writes a token file bit by bit; `finish` makes it one. The file must be a new or empty one.

    vocab_size decides how wide tokens are.
    """

    def __init__(self, path: Path, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self._type = token_type(vocab_size)
        self._written = 0  # tokens
        self._borders, self._given = [np.zeros(1, np.int64)], [np.zeros((2, 0), np.int64)]
        self._file = path.open("wb")
        self._file.write(bytes(_HEADER))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, ids: np.ndarray, ends: np.ndarray, given: np.ndarray) -> None:
        """Tokens (n,) that go on from those before; documents end at `ends` (k,) among them, and
        given (2, g) are not to be learned, all counted from the first of these.
        """
        self._file.write(np.ascontiguousarray(ids, _TYPES[self._type]).data)
        self._borders.append(ends + self._written)
        self._given.append(given + self._written)
        self._written += len(ids)

    @property
    def tokens(self) -> int:
        return self._written

    @property
    def documents(self) -> int:
        return sum(map(len, self._borders)) - 1

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Writes the index and the header."""
        width = _TYPES[self._type].itemsize
        filled = -self._written % (8 // width)  # so that the index stands at a multiple of 8
        self._file.write(bytes(filled * width))
        borders, given = np.concatenate(self._borders), np.concatenate(self._given, axis=1)
        self._file.write(np.ascontiguousarray(borders, _TYPES["I64"]).data)
        self._file.write(np.ascontiguousarray(given, _TYPES["I64"]).data)
        header: dict[str, Any] = {
            "__metadata__": {
                "format": FORMAT,
                "vocab_size": str(self.vocab_size),
                **metadata,
            }
        }
        start = 0
        for name, kind, shape in (
            ("tokens", self._type, (self._written + filled,)),
            ("borders", "I64", borders.shape),
            ("given", "I64", given.shape),
        ):
            end = start + int(np.prod(shape)) * _TYPES[kind].itemsize
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": (start, end)}
            start = end
        text = json.dumps(header).encode()
        length = _HEADER - 8
        if len(text) > length:
            raise ValueError(f"metadata of {len(text)} bytes; at most {length} fit")
        self._file.seek(0)
        self._file.write(length.to_bytes(8, "little") + text.ljust(length))
        self._file.flush()


def token_type(vocab_size: int) -> str:
    """The narrowest type that holds every id: safetensors' word for it."""
    return "U16" if vocab_size <= 2**16 else "U32"
