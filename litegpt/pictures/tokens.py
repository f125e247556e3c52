"""Tokens as a reader sees them."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from litegpt.text import StreamDecoder, Tokenizer

_SEPARATORS = "\u2028\u2029"  # which some programs take for the end of a line
_DIRECTIONS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def token_label(tokenizer: Tokenizer, token_id: int) -> str:
    """One token by itself: blanks get a sign, bytes that are no whole character their number."""
    text = tokenizer.token_bytes(token_id).decode("utf-8", "backslashreplace")
    return label(text) or "∅"


def printable(text: str) -> str:
    """The text without what would steer a terminal or turn a line around; lines and tabs stay.

    Control characters become their pictures (ESC is ␛), marks of direction and
    separators of lines their number.
    """
    return "".join(map(_printable, text))


def _printable(character: str) -> str:
    code = ord(character)
    if character in "\n\t" or character.isprintable():
        return character
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if code < 0xA0 or character in _DIRECTIONS + _SEPARATORS or 0xD800 <= code < 0xE000:
        return f"⟨U+{code:04X}⟩"
    return character


def one_line(text: str) -> str:
    """The same with signs for line ends and tabs."""
    return printable(text).replace("\n", "⏎").replace("\t", "⇥")


def label(text: str) -> str:
    """The same with a sign for blanks too: a token that stands by itself."""
    return one_line(text).replace(" ", "␣")


class Piece(NamedTuple):
    """Whole characters, and the tokens that they came from: ids[first:end]."""

    text: str
    first: int
    end: int


def pieces(tokenizer: Tokenizer, ids: Iterable[int]) -> Iterator[Piece]:
    """The text of ids in pieces: one for each token, but tokens that share a character share one.

    Joined, they are tokenizer.decode(ids).
    """
    decoder, first, end = StreamDecoder(tokenizer), 0, 0
    text = ""
    for end, token_id in enumerate(ids, 1):
        text += decoder.feed(int(token_id))
        if text and not decoder.pending:
            yield Piece(text, first, end)
            text, first = "", end
    text += decoder.flush()
    if first < end:
        yield Piece(text, first, end)
