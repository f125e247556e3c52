"""What every tokenizer offers, and the file that it is kept in."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from litegpt.text.tokenizer_json import read_tokenizer_json, write_tokenizer_json


class Tokenizer(ABC):
    """Text to ids and back. Ids go from 0 to vocab_size - 1."""

    kind: ClassVar[str]  # what the command line calls it
    vocab_size: int

    @classmethod
    @abstractmethod
    def from_text(cls, text: str | bytes) -> Self:
        """The tokenizer of this kind that suits a text (bytes: as they stand in a file)."""

    @classmethod
    @abstractmethod
    def from_json(cls, content: dict[str, Any]) -> Self | None:
        """The tokenizer that a tokenizer.json describes; None if it is of another kind."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """What tokenizer.json holds: Hugging Face's `tokenizers` gives the same ids from it."""

    @abstractmethod
    def encode(self, text: str | bytes) -> np.ndarray:
        """The ids of a text, (T,) int64; bytes are a file's content, undecoded.

        ValueError, naming the first character or byte that this tokenizer has no id for.
        """

    @abstractmethod
    def token_bytes(self, token_id: int) -> bytes:
        """The UTF-8 bytes that one token stands for, perhaps a part of a character only.

        An id outside 0..vocab_size-1: IndexError.
        """

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; bytes that aren't UTF-8 become U+FFFD, as in bytes.decode("replace")."""
        return b"".join(map(self.token_bytes, ids)).decode(errors="replace")

    def save(self, directory: str | Path) -> None:
        """Writes directory/tokenizer.json, whole or not at all."""
        write_tokenizer_json(directory, self.to_json())

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Reads directory/tokenizer.json; ValueError if it isn't of this kind."""
        tokenizer = cls.from_json(read_tokenizer_json(directory))
        if tokenizer is None:
            raise ValueError(f"{Path(directory) / 'tokenizer.json'}: not a {cls.kind} tokenizer")
        return tokenizer

    def _check_id(self, token_id: int) -> None:
        if not 0 <= token_id < self.vocab_size:
            raise IndexError(
                f"id {token_id} is outside the tokenizer's {self.vocab_size} tokens "
                f"(allowed: 0 to {self.vocab_size - 1})"
            )
