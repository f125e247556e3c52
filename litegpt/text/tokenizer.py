"""What every tokenizer offers, and the file that it is kept in."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from litegpt.text.tokenizer_json import (
    CONFIG_NAME,
    FAST,
    FILE_NAME,
    read_tokenizer_json,
    write_objects,
)


class Tokenizer(ABC):
    """Text to ids and back. Ids go from 0 to vocab_size - 1."""

    kind: ClassVar[str]  # what the command line calls it
    vocab_size: int
    prefix: tuple[int, ...] = ()  # ids that the models of this tokenizer expect before a text
    eos_ids: tuple[int, ...] = ()  # ids with which a model says that it has ended
    space_first = False  # a text is encoded with a space before it, which decoding takes away

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

    def encode_prompt(self, text: str | bytes) -> np.ndarray:
        """The ids of a text that stands at the beginning: prefix, then encode(text)."""
        return np.concatenate([np.array(self.prefix, np.int64), self.encode(text)])

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; bytes that aren't UTF-8 become U+FFFD, as in bytes.decode("replace")."""
        text = b"".join(map(self.token_bytes, ids)).decode(errors="replace")
        return text.removeprefix(" ") if self.space_first else text

    def save(self, directory: str | Path) -> None:
        """Writes tokenizer.json and what makes transformers read it, whole or not at all."""
        write_objects(directory, {FILE_NAME: self.to_json(), CONFIG_NAME: FAST})

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Reads directory/tokenizer.json; ValueError if it isn't of this kind."""
        tokenizer = cls.from_json(read_tokenizer_json(directory))
        if tokenizer is None:
            raise ValueError(f"{Path(directory) / FILE_NAME}: not a {cls.kind} tokenizer")
        return tokenizer

    def _check_id(self, token_id: int) -> None:
        if not 0 <= token_id < self.vocab_size:
            raise IndexError(
                f"id {token_id} is outside the tokenizer's {self.vocab_size} tokens "
                f"(allowed: 0 to {self.vocab_size - 1})"
            )


def as_text(text: str | bytes, begin: int = 0) -> str:
    """Text as it is, bytes as UTF-8; ValueError naming the first byte that isn't.

    begin: where the bytes stand in their file.
    """
    if isinstance(text, str):
        return text
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"not UTF-8: byte 0x{text[error.start]:02x} at offset {begin + error.start} "
            "(the byte tokenizer takes any bytes)"
        ) from None


def refuse_surrogate(error: UnicodeEncodeError) -> ValueError:
    """The error for text that UTF-8 can't write."""
    code = ord(error.object[error.start])
    return ValueError(f"U+{code:04X} at position {error.start} is a surrogate, not a character")
