"""One token per byte: 256 tokens, any text, any file."""

from typing import Any, Self

import numpy as np

from litegpt.text.tokenizer import Tokenizer, refuse_surrogate
from litegpt.text.tokenizer_json import byte_level, tokens_without_merges, without_merges


def byte_alphabet() -> list[str]:
    """The printable character that stands for each byte in byte-level vocabularies.

    As GPT-2 has it (Radford et al., 2019): printable Latin-1 characters stand for themselves, the
    68 other bytes, in order, for U+0100 onwards.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


_ALPHABET = byte_alphabet()
_BYTES = {character: byte for byte, character in enumerate(_ALPHABET)}


def spelled_in_bytes(text: str) -> str:
    """The bytes of a text's UTF-8, in the alphabet."""
    return text.encode().decode("latin-1").translate(_ALPHABET)


def bytes_of_token(token: str) -> bytes:
    """The opposite; a token that isn't written in the alphabet stands for itself."""
    try:
        return bytes(_BYTES[character] for character in token)
    except KeyError:
        return token.encode()


_PRE_TOKENIZER = byte_level(use_regex=False)


class ByteTokenizer(Tokenizer):
    """The id of a byte is its value."""

    kind = "byte"
    vocab_size = 256

    @classmethod
    def from_text(cls, text: str | bytes) -> Self:
        return cls()

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self | None:
        tokens = tokens_without_merges(content, _PRE_TOKENIZER)
        return cls() if tokens == _ALPHABET else None

    def to_json(self) -> dict[str, Any]:
        return without_merges(byte_alphabet(), _PRE_TOKENIZER, _PRE_TOKENIZER)

    def encode(self, text: str | bytes) -> np.ndarray:
        if isinstance(text, str):
            try:  # "surrogateescape": what the command line hands over for bytes that aren't UTF-8
                text = text.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError as error:
                raise refuse_surrogate(error) from None
        return np.frombuffer(text, np.uint8).astype(np.int64)

    def token_bytes(self, token_id: int) -> bytes:
        self._check_id(token_id)
        return bytes((token_id,))
