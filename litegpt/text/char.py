"""One token per character of a given text."""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np

from litegpt.text.tokenizer import Tokenizer, as_text
from litegpt.text.tokenizer_json import tokens_without_merges, without_merges


class CharTokenizer(Tokenizer):
    """Ids are the places of the characters in the sorted alphabet (by code point).

    alphabet: the characters, in any order; each is taken once. ValueError if there is none, or
    if one is a surrogate, which UTF-8 can't write.
    """

    kind = "char"

    def __init__(self, alphabet: Iterable[str]) -> None:
        self.characters = "".join(sorted(set(alphabet)))
        if not self.characters:
            raise ValueError("a char tokenizer needs at least one character")
        try:
            self.characters.encode()
        except UnicodeEncodeError as error:
            code = ord(self.characters[error.start])
            raise ValueError(f"U+{code:04X} is a surrogate, not a character") from None
        self._token_bytes = [character.encode() for character in self.characters]
        self._code_points = _code_points(self.characters)
        self.vocab_size = len(self.characters)

    @classmethod
    def from_text(cls, text: str | bytes) -> Self:
        return cls(as_text(text))

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self | None:
        tokens = tokens_without_merges(content, pre_tokenizer=None)
        if not tokens or any(len(token) != 1 for token in tokens) or tokens != sorted(tokens):
            return None
        return cls(tokens)

    def to_json(self) -> dict[str, Any]:
        return without_merges(list(self.characters), pre_tokenizer=None, decoder={"type": "Fuse"})

    def encode(self, text: str | bytes) -> np.ndarray:
        text = as_text(text)
        codes = _code_points(text)  # (T,)
        ids = np.searchsorted(self._code_points, codes).astype(np.int64, copy=False)
        ids[ids == self.vocab_size] = 0  # beyond the last character: found unequal below
        unknown = np.flatnonzero(self._code_points[ids] != codes)
        if unknown.size:
            place = int(unknown[0])
            raise ValueError(
                f"the tokenizer doesn't know the character {text[place]!r} "
                f"(U+{ord(text[place]):04X}) at position {place}; "
                f"it knows the {self.vocab_size} characters of its training text"
            )
        return ids

    def token_bytes(self, token_id: int) -> bytes:
        self._check_id(token_id)
        return self._token_bytes[token_id]


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
