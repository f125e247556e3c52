"""Tokenizers: ids, round trips, their file, and what they say about text they can't take."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litegpt.text import ByteTokenizer, CharTokenizer, Tokenizer, load_tokenizer

TEXT = "First Citizen:\n\tBefore we proceed — ÄΩ漢字 🙂\U0010ffff\x00 any further…\r\n"
TOKENIZERS = [CharTokenizer(TEXT), ByteTokenizer()]
whole_text = st.text(st.characters(exclude_categories=["Cs"]))


def test_char_ids_are_places_in_the_sorted_alphabet() -> None:
    tokenizer = CharTokenizer.from_text("hello")
    assert tokenizer.characters == "ehlo"
    assert tokenizer.vocab_size == 4
    ids = tokenizer.encode("hole")
    assert ids.tolist() == [1, 3, 2, 0]
    assert ids.dtype == np.int64


def test_byte_ids_are_the_bytes() -> None:
    assert ByteTokenizer().encode("aé\n").tolist() == [0x61, 0xC3, 0xA9, 0x0A]
    assert ByteTokenizer().encode(bytes(range(256))).tolist() == list(range(256))


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: t.kind)
def test_empty_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("").shape == (0,)
    assert tokenizer.decode([]) == ""


@given(whole_text)
def test_char_round_trip(text: str) -> None:
    tokenizer = CharTokenizer(text + "x")
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode(text.encode()).tolist() == tokenizer.encode(text).tolist()


@given(whole_text)
def test_byte_round_trip(text: str) -> None:
    assert ByteTokenizer().decode(ByteTokenizer().encode(text)) == text


@given(st.binary())
def test_byte_decodes_like_python(data: bytes) -> None:
    tokenizer = ByteTokenizer()
    assert tokenizer.decode(tokenizer.encode(data)) == data.decode(errors="replace")


def test_bytes_of_the_command_line_that_are_not_utf8_stay_themselves() -> None:
    argument = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert bytes(ByteTokenizer().encode(argument).tolist()) == b"caf\xe9"


@pytest.mark.parametrize("text, place", [("hello?", 5), ("~h", 0), ("he\U0001f642", 2), ("a", 0)])
def test_char_names_the_unknown_character_and_its_place(text: str, place: int) -> None:
    with pytest.raises(ValueError, match=f"position {place};") as raised:
        CharTokenizer("hello").encode(text)
    assert repr(text[place]) in str(raised.value)
    assert f"U+{ord(text[place]):04X}" in str(raised.value)


@pytest.mark.parametrize("data, byte, offset", [
    (b"ab\xffc", "0xff", 2),
    ("漢".encode()[:2], "0xe6", 0),
    (b"ok\xed\xa0\x80", "0xed", 2),
])  # fmt: skip
def test_char_names_the_byte_that_is_not_utf8(data: bytes, byte: str, offset: int) -> None:
    with pytest.raises(ValueError, match=f"byte {byte} at offset {offset} "):
        CharTokenizer.from_text(data)


def test_surrogates_are_refused() -> None:
    with pytest.raises(ValueError, match=r"U\+D800 is a surrogate"):
        CharTokenizer("a\ud800")
    with pytest.raises(ValueError, match=r"U\+D800 at position 1 is a surrogate"):
        ByteTokenizer().encode("a\ud800")
    with pytest.raises(ValueError, match=r"U\+D800\) at position 1"):
        CharTokenizer("a").encode("a\ud800")


def test_an_alphabet_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one character"):
        CharTokenizer.from_text(b"")


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: t.kind)
@pytest.mark.parametrize("wrong", [-1, 256, 10**9])
def test_decode_refuses_ids_that_it_does_not_have(tokenizer: Tokenizer, wrong: int) -> None:
    allowed = f"allowed: 0 to {tokenizer.vocab_size - 1}"
    with pytest.raises(IndexError, match=f"id {wrong} is outside .*{allowed}"):
        tokenizer.decode([0, wrong])


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: t.kind)
def test_save_and_load(tokenizer: Tokenizer, tmp_path) -> None:
    tokenizer.save(tmp_path)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["tokenizer.json", "tokenizer_config.json"]
    for loaded in (load_tokenizer(tmp_path), type(tokenizer).load(tmp_path)):
        assert type(loaded) is type(tokenizer)
        assert loaded.vocab_size == tokenizer.vocab_size
        assert loaded.encode(TEXT).tolist() == tokenizer.encode(TEXT).tolist()


def test_load_of_the_other_kind(tmp_path) -> None:
    ByteTokenizer().save(tmp_path)
    with pytest.raises(ValueError, match="not a char tokenizer"):
        CharTokenizer.load(tmp_path)


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: t.kind)
def test_hugging_face_reads_the_file_and_gives_the_same_ids(tokenizer, tmp_path) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="the tokenizers package is the oracle")
    tokenizer.save(tmp_path)
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    ids = tokenizer.encode(TEXT).tolist()
    assert theirs.get_vocab_size() == tokenizer.vocab_size
    assert theirs.encode(TEXT).ids == ids
    assert theirs.decode(ids) == TEXT


@pytest.mark.parametrize("content, message", [
    ("{", "not JSON"),
    ("[" * 100_000, "not JSON"),
    ("[1]", "not a JSON object"),
    ("{}", "no tokenizer.json"),
    ('{"model": {"vocab": {"a": 1}}}', "isn't supported"),
    ('{"model": {"vocab": {"a": [0]}}}', "isn't supported"),
])  # fmt: skip
def test_a_file_that_is_no_tokenizer(content: str, message: str, tmp_path) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ValueError, match=message) as raised:
        load_tokenizer(tmp_path)
    assert "tokenizer.json" in str(raised.value)


@pytest.mark.parametrize("part, count, message", [
    ("[]", 2**20, "more than 1048576 lists and objects"),
    ("1", 2**21 + 1, "more than 2097152 values"),
])  # fmt: skip
def test_a_file_that_would_take_memory(part: str, count: int, message: str, tmp_path) -> None:
    (tmp_path / "tokenizer.json").write_text(f"[{f'{part},' * count}1]")
    with pytest.raises(ValueError, match=rf"tokenizer\.json: {message}, which no tokenizer has"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_that_does_more_than_ours_is_not_taken_for_ours(tmp_path) -> None:
    content = CharTokenizer("ab").to_json()
    for change in (
        {"normalizer": {"type": "Lowercase"}},
        {"added_tokens": [{"id": 2, "content": "<s>"}]},
        {"model": content["model"] | {"merges": [["a", "b"]]}},
        {"model": content["model"] | {"vocab": {"b": 0, "a": 1}}},
        {"model": content["model"] | {"vocab": {"ab": 0}}},
    ):
        assert CharTokenizer.from_json(content | change) is None
        assert ByteTokenizer.from_json(content | change) is None
