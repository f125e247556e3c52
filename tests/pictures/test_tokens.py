"""Tokens as readers see them: nothing is lost, and nothing steers a terminal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litegpt import ByteTokenizer
from litegpt.pictures.tokens import one_line, pieces, printable, token_label


@given(st.binary())
def test_pieces_joined_are_the_text(data: bytes) -> None:
    tokenizer = ByteTokenizer()
    found = list(pieces(tokenizer, np.frombuffer(data, np.uint8)))
    assert "".join(piece.text for piece in found) == tokenizer.decode(data)
    assert [piece.first for piece in found] == [0, *(piece.end for piece in found)][:-1]
    assert (found[-1].end if found else 0) == len(data)


def test_tokens_of_one_character_are_one_piece() -> None:
    found = list(pieces(ByteTokenizer(), "aé€".encode()))
    assert [tuple(piece) for piece in found] == [("a", 0, 1), ("é", 1, 3), ("€", 3, 6)]


@given(st.text())
def test_nothing_printable_steers(text: str) -> None:
    for shown in (printable(text), one_line(text)):
        kept = shown.replace("\n", "").replace("\t", "")
        assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in kept)
        assert not any(c in shown for c in "\u202a\u202b\u202d\u202e\u2066\u2067\u2068")
        shown.encode()
    assert "\n" not in one_line(text)


@pytest.mark.parametrize(("text", "shown"), [
    ("\x1b[31mred", "␛[31mred"), ("a\x7f\x9b", "a␡⟨U+009B⟩"), ("\u202eabc", "⟨U+202E⟩abc"),
    ("a\u2028b", "a⟨U+2028⟩b"),
    ("a b\tc\n", "a b⇥c⏎"), ("né 日本 👩\u200d🔬", "né 日本 👩\u200d🔬"),
])  # fmt: skip
def test_signs(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_labels() -> None:
    tokenizer = ByteTokenizer()
    assert [token_label(tokenizer, byte) for byte in b"a \n\xc3\x00"] == [
        "a", "␣", "⏎", "\\xc3", "␀",
    ]  # fmt: skip
