"""Streaming by whole characters."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from litegpt.text import ByteTokenizer, CharTokenizer, StreamDecoder


@given(st.binary())
@example(b"\xf0\x9f\x99")  # cut off
@example(b"\xf0\x9f\x41")  # broken off in the middle
@example(b"\xed\xa0\x80\xff")
def test_joined_stream_is_decode_of_all_ids(data: bytes) -> None:
    tokenizer = ByteTokenizer()
    stream = StreamDecoder(tokenizer)
    pieces = [stream.feed(byte) for byte in data] + [stream.flush()]
    assert "".join(pieces) == tokenizer.decode(data) == data.decode(errors="replace")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_pieces_are_whole_characters_and_come_at_once(text: str) -> None:
    stream = StreamDecoder(ByteTokenizer())
    for character in text:
        *held_back, piece = [stream.feed(byte) for byte in character.encode()]
        assert not any(held_back)
        assert piece == character
    assert stream.flush() == ""


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_char_tokens_pass_straight_through(text: str) -> None:
    tokenizer = CharTokenizer(text)
    stream = StreamDecoder(tokenizer)
    assert [stream.feed(i) for i in tokenizer.encode(text)] == list(text)


def test_unknown_id() -> None:
    with pytest.raises(IndexError, match="id 256"):
        StreamDecoder(ByteTokenizer()).feed(256)


def test_a_character_that_has_begun_is_pending() -> None:
    stream = StreamDecoder(ByteTokenizer())
    assert [(stream.feed(byte), stream.pending) for byte in "aé".encode()] == [
        ("a", False), ("", True), ("é", False),
    ]  # fmt: skip
