"""Byte pairs of our own: by hand, and the ids that the package `tokenizers` gives."""

import json
import pickle
import sys
import unicodedata
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litegpt.text import (
    BytePairTokenizer,
    MissingExtraError,
    StreamDecoder,
    SubwordTokenizer,
    load_tokenizer,
    tokenizer_from_gguf,
)
from litegpt.text.byte import byte_alphabet
from litegpt.text.pre_tokenizers import PRE_TOKENIZERS

EVERYTHING = (
    "First Citizen:\n\n  We can't, they'LL say — 1234567 ½ ¹²³ ४५ ٣٤ Ⅻ naïve Ünïcödé e\u0301\n"
    "def f(x: int) -> str:\r\n\treturn f\"{x!r}\"   # trailing   \n\n\n"
    "我想在apple工作1314151天～ ありがとう 한국어 🙂🏽👩‍👩‍👧 ✅ "
    "\u200b\u00a0\u3000|\x00\x01\x1b[0m\x7f\x85\u2028\x1c \x1f"
    "<|endoftext|> 'S 'rE 'ſ 'll've don’t    x\u0085y \U0010ffff"
)  # fmt: skip
known_text = st.text(st.characters(exclude_categories=["Cs", "Cn"]))  # newer ones: Python's differ
NAMES = ["gpt-2", "smollm", "llama-bpe", "qwen2"]


def _tokens(tokenizer: BytePairTokenizer, text: str) -> list[str | None]:
    return [tokenizer.token_name(int(i)) for i in tokenizer.encode(text)]


# The example of Sennrich et al.
PAPER = BytePairTokenizer.from_merges(["e s", "es t", "l o", "lo w"], ["<end>"])


@pytest.fixture(scope="module")
def gpt2(data_dir: Path) -> BytePairTokenizer:
    tokenizer = load_tokenizer(data_dir / "gpt2-vocab.json")
    assert isinstance(tokenizer, BytePairTokenizer)
    return tokenizer


@pytest.fixture(scope="module")
def twins(gpt2: BytePairTokenizer) -> dict[str, tuple[BytePairTokenizer, SubwordTokenizer]]:
    """GPT-2's first merges with each way to cut: ours, and what the package makes of our file."""
    pytest.importorskip("tokenizers", reason="tokenizers is the oracle")
    content = gpt2.to_json()
    merges = content["model"]["merges"][:9000]
    content["model"]["merges"] = merges
    tokens = [*byte_alphabet(), *map("".join, merges), "<|endoftext|>"]
    content["model"]["vocab"] = {token: i for i, token in enumerate(tokens)}
    content["added_tokens"][0]["id"] = len(tokens) - 1
    pairs = {}
    for name in NAMES:
        ways = PRE_TOKENIZERS[name]
        model = content["model"] | {"ignore_merges": ways.whole_words_first}
        ours = BytePairTokenizer.from_json(content | ways.to_json() | {"model": model})
        assert ours is not None
        pairs[name] = ours, SubwordTokenizer.from_json(ours.to_json())
    return pairs


@pytest.mark.parametrize("text, tokens", [
    ("lowest", ["low", "est"]),
    ("newest", ["n", "e", "w", "est"]),
    ("low lo", ["low", "Ġ", "lo"]),
    ("ow", ["o", "w"]),
    ("é\n", ["Ã", "©", "Ċ"]),
    ("low<end>est", ["low", "<end>", "est"]),
    ("<end<end>", ["<", "e", "n", "d", "<end>"]),
    ("", []),
])  # fmt: skip
def test_pairs_of_the_lowest_rank_merge_first(text: str, tokens: list[str]) -> None:
    assert _tokens(PAPER, text) == tokens
    assert PAPER.decode(PAPER.encode(text)) == text


def test_rank_and_not_place_decides_and_among_equals_the_first() -> None:
    assert _tokens(BytePairTokenizer.from_merges(["b c", "a b"]), "abc") == ["a", "bc"]
    assert _tokens(BytePairTokenizer.from_merges(["a b", "b c"]), "abc") == ["ab", "c"]
    assert _tokens(BytePairTokenizer.from_merges(["a a", "aa a"]), "aaaaa") == ["aa", "aaa"]
    assert _tokens(BytePairTokenizer.from_merges(["a a", "aa aa"]), "aaaaaaa") == [
        "aaaa",
        "aa",
        "a",
    ]


def test_of_added_tokens_the_longest_is_found_and_the_first() -> None:
    added = dict.fromkeys(("<", "<end", "<end>", "d>x"), False)
    tokens = [*byte_alphabet(), *("<end", "<end>", "d>x")]
    tokenizer = BytePairTokenizer({t: i for i, t in enumerate(tokens)}, [], added=added)
    assert _tokens(tokenizer, "<end>x<en") == ["<end>", "x", "<", "e", "n"]
    assert _tokens(tokenizer, "<endd>x") == ["<end", "d>x"]


@pytest.mark.parametrize("name, words", [
    ("gpt-2", ["Don", "'t", " count", " 12345", "  ", " x", "\n\n"]),
    ("smollm", ["Don", "'t", " count", " ", "1", "2", "3", "4", "5", "  ", " x", "\n\n"]),
    ("llama-bpe", ["Don", "'t", " count", " ", "123", "45", "  ", " x", "\n\n"]),
    ("qwen2", ["Don", "'t", " count", " ", "1", "2", "3", "4", "5", "  ", " x", "\n\n"]),
    ("llama3", ["I", "'LL", " (", "say", ")\n\n", "\tso"]),
])  # fmt: skip
def test_words_that_nothing_merges_across(name: str, words: list[str]) -> None:
    assert list(PRE_TOKENIZERS[name].words("".join(words))) == words


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_character_is_cut_as_by_the_package(name: str, twins: Any) -> None:
    """The first and the last of each run of one category, at all the places that matter."""
    cut = twins[name][1].backend.pre_tokenizer.pre_tokenize_str
    characters = (chr(code) for code in range(0x110000))
    runs = [list(run) for kind, run in groupby(characters, unicodedata.category) if kind[0] != "C"]
    runs += [[chr(code)] for code in (*range(33), *range(127, 160), 0x180E, 0x200B, 0xFEFF)]
    for characters_of_run in runs:
        for c in {characters_of_run[0], characters_of_run[-1]}:
            text = f"a{c}12345{c}1{c}!{c} {c}\n{c}'{c}a'{c}e'v{c}'{c}l'l{c} \r\n {c}  "
            expected = [text[slice(*place)] for _, place in cut(text)]
            assert list(replace(PRE_TOKENIZERS[name], nfc=False).words(text)) == expected


@pytest.mark.parametrize("name", NAMES)
def test_ids_of_the_package(name: str, twins: Any) -> None:
    ours, theirs = twins[name]
    assert ours.encode(EVERYTHING).tolist() == theirs.encode(EVERYTHING).tolist()

    @settings(max_examples=100)
    @given(known_text)
    def of_any_text(text: str) -> None:
        assert ours.encode(text).tolist() == theirs.encode(text).tolist()
        if name != "qwen2":  # which normalises
            assert ours.decode(ours.encode(text)) == text

    of_any_text()


def test_ids_of_a_play_and_of_code(data_dir: Path, twins: Any) -> None:
    ours, theirs = twins["gpt-2"]
    for path in (data_dir / "tinyshakespeare.txt", Path(__file__)):
        text = path.read_text()[:200_000]
        assert ours.encode(text).tolist() == theirs.encode(text).tolist()
        assert ours.decode(ours.encode(text)) == text


@settings(max_examples=100)
@given(st.lists(st.sampled_from("abc"), max_size=40), st.data())
def test_ids_of_the_package_whatever_merges(text: list[str], data: st.DataObject) -> None:
    """Merges in any order: some make what no other can reach, or what another has made."""
    pytest.importorskip("tokenizers", reason="tokenizers is the oracle")
    tokens, merges = list(byte_alphabet()), []
    for _ in range(data.draw(st.integers(0, 12))):
        small = st.sampled_from(["a", "b", "c", *tokens[256:]])
        left, right = data.draw(small), data.draw(small)
        merges.append(f"{left} {right}")
        if left + right not in tokens:
            tokens.append(left + right)
    merges = data.draw(st.permutations(merges))
    ours = BytePairTokenizer({token: i for i, token in enumerate(tokens)}, merges)
    theirs = SubwordTokenizer.from_json(ours.to_json())
    assert ours.encode("".join(text)).tolist() == theirs.encode("".join(text)).tolist()


@settings(max_examples=100)
@given(st.lists(st.sampled_from(["<a>", "<", "a", "<a", ">b", "b", " "])).map("".join))
def test_added_tokens_as_the_package_finds_them(text: str) -> None:
    pytest.importorskip("tokenizers", reason="tokenizers is the oracle")
    tokens = [*byte_alphabet(), "<a>", "<a", "a>b<", ">b"]
    added = {"<a>": True, "<a": False, "a>b<": False, ">b": True}
    ours = BytePairTokenizer({t: i for i, t in enumerate(tokens)}, [], added=added)
    theirs = SubwordTokenizer.from_json(ours.to_json())
    assert ours.encode(text).tolist() == theirs.encode(text).tolist()


def test_a_long_word_is_cut_in_no_more_than_its_share_of_time(twins: Any) -> None:
    """Were the work quadratic, this would take many minutes."""
    ours, theirs = twins["gpt-2"]
    for text in ("a" * 100_000, "ab" * 20_000 + "\U0001f642" * 9000, " " * 100_000 + "!"):
        assert ours.encode(text).tolist() == theirs.encode(text).tolist()


@settings(max_examples=100)
@given(st.lists(st.integers(0, 260)))
def test_joined_stream_is_decode_of_all_ids(ids: list[int]) -> None:
    stream = StreamDecoder(PAPER)
    pieces = [stream.feed(i) for i in ids] + [stream.flush()]
    assert "".join(pieces) == PAPER.decode(ids)


def test_text_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"U\+D800 at position 1 is a surrogate"):
        PAPER.encode("a\ud800")
    with pytest.raises(ValueError, match="not UTF-8: byte 0xff at offset 1"):
        PAPER.encode(b"a\xff")


def test_a_byte_without_a_token() -> None:
    tokenizer = BytePairTokenizer({"a": 0, "Ã": 1}, [])
    assert tokenizer.encode("aa").tolist() == [0, 0]
    with pytest.raises(ValueError, match="no token for the byte 0xa9"):
        tokenizer.encode("aé")


def test_ids_that_the_vocabulary_leaves_out_are_no_text() -> None:
    tokenizer = BytePairTokenizer({"a": 3, "zz é": 7}, [])
    assert tokenizer.vocab_size == 8
    assert tokenizer.decode([3, 0, 7]) == "azz é"  # not written in bytes: it stands for itself
    with pytest.raises(IndexError, match="id 8 is outside"):
        tokenizer.decode([8])


@pytest.mark.parametrize("vocabulary, merges, message", [
    ({"a": 0, "b": 0}, [], "tokens 'a' and 'b' have the same id, 0"),
    ({"a": -1}, [], "id of 'a' must be a whole number from 0 to 4294967295, not -1"),
    ({"a": 2**32}, [], "not 4294967296"),
    ({"a": True}, [], "not True"),
    ({"a": 0, "b": "1"}, [], "id of 'b' .*, not '1'"),
    ({"a\ud800": 0}, [], r"the tokens hold '\\ud800', a surrogate"),
    ({"a": 0, "aa": 1}, ["aa"], "the merge 'aa' is no pair"),
    ({"a": 0, "aa": 1}, [""], "the merge '' is no pair"),
    ({"a": 0, "aa": 1}, ["a a a"], "the merge 'a a a' is no pair"),
    ({"a": 0, "aa": 1}, [" a"], "the merge ' a' is no pair"),
    ({"a": 0, "aa": 1}, ["a "], "the merge 'a ' is no pair"),
    ({"a": 0, "aa": 1}, ["a a", "a b"], "the merge 'a b' makes 'ab', which is no token"),
    ({"a": 0, "aa": 1}, ["aa a"], "the merge 'aa a' makes 'aaa', which is no token"),
])  # fmt: skip
def test_vocabularies_and_merges_that_do_not_fit(
    vocabulary: dict[str, Any], merges: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        BytePairTokenizer(vocabulary, merges)
    content = PAPER.to_json()
    content["model"] |= {"vocab": vocabulary, "merges": merges}
    content["added_tokens"] = []
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"tokenizer.json: a tokenizer .* {message}"):
        load_tokenizer(tmp_path)


def test_an_added_token_without_an_id() -> None:
    with pytest.raises(ValueError, match="the added token '<end>' isn't in the vocabulary"):
        BytePairTokenizer({"a": 0}, [], added={"a": False, "<end>": True})


def test_an_id_before_texts_that_no_token_has() -> None:
    with pytest.raises(ValueError, match="the id 300, to stand before a text, is no token's"):
        BytePairTokenizer.from_merges([], prefix=[300])
    with pytest.raises(IndexError, match="id 300 is outside"):
        BytePairTokenizer.from_merges([], eos_ids=[300])


def test_a_tokenizer_that_does_more_than_ours_is_not_taken_for_ours() -> None:
    content = PAPER.to_json()
    assert BytePairTokenizer.from_json(content) is not None
    cut, token = content["pre_tokenizer"], content["added_tokens"][0]
    template = BytePairTokenizer.from_merges([], ["<s>"], prefix=[256]).to_json()["post_processor"]
    split = {"type": "Split", "pattern": {"Regex": r"\w+"}, "behavior": "Isolated", "invert": False}
    for change in (
        {"normalizer": {"type": "Lowercase"}},
        {"pre_tokenizer": None},
        {"pre_tokenizer": cut | {"add_prefix_space": True}},
        {"pre_tokenizer": cut | {"use_regex": False}},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits"}, cut]}},
        {"pre_tokenizer": {
            "type": "Sequence", "pretokenizers": [split, cut | {"use_regex": False}]
        }},
        {"decoder": {"type": "WordPiece"}},
        {"decoder": None},
        {"post_processor": {"type": "RobertaProcessing"}},
        {"post_processor": template | {"single": template["single"][:1]}},
        {"post_processor": template | {"special_tokens": {}}},
        {"post_processor": {"type": "Sequence", "processors": [template, template]}},
        {"post_processor": json.loads('{"type": "Sequence", "processors": [' * 400 + "]}" * 400)},
        {"added_tokens": [token | {"lstrip": True}]},
        {"added_tokens": [token | {"id": 7}]},
        {"added_tokens": [token, token]},
        {"added_tokens": [{"content": "<end>"}]},
        {"added_tokens": [token, token | {"id": 0, "content": "!", "normalized": True}]},
        {"normalizer": {"type": "NFC"}, "added_tokens": [token | {"normalized": True}]},
        {"model": content["model"] | {"type": "WordLevel"}},
        {"model": content["model"] | {"dropout": 0.1}},
        {"model": content["model"] | {"unk_token": "<end>"}},
        {"model": content["model"] | {"end_of_word_suffix": "</w>"}},
        {"model": content["model"] | {"byte_fallback": True}},
        {"model": content["model"] | {"merges": [["e", " s"]]}},
        {"model": content["model"] | {"merges": [1]}},
    ):  # fmt: skip
        assert BytePairTokenizer.from_json(content | change) is None, change


@pytest.mark.parametrize("processor", [
    None,
    {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
])  # fmt: skip
def test_its_file_says_all_that_it_is(tmp_path: Path, processor: Any) -> None:
    before = BytePairTokenizer.from_merges(
        ["b c"], ["<end>"], pre_tokenizer=PRE_TOKENIZERS["llama3"], prefix=[257], eos_ids=[257, 3],
        chat_template="{{ messages }}",
    )  # fmt: skip
    before.save(tmp_path)
    after = load_tokenizer(tmp_path)
    assert isinstance(after, BytePairTokenizer)
    assert (after.prefix, after.eos_ids, after.chat_template) == (
        (257,), (257, 3), "{{ messages }}"
    )  # fmt: skip
    assert after.to_json() == before.to_json()
    content = before.to_json()
    if processor:
        both = [processor, content["post_processor"]]
        content["post_processor"] = {"type": "Sequence", "processors": both}
    again = BytePairTokenizer.from_json(content)
    assert again is not None
    assert again.prefix == (257,)
    copied = pickle.loads(pickle.dumps(before))
    assert copied.encode("abc<end>1234").tolist() == before.encode("abc<end>1234").tolist()
    package = pytest.importorskip("tokenizers", reason="tokenizers is the oracle")
    theirs = package.Tokenizer.from_str(json.dumps(content))
    assert theirs.encode("abc<end>1234").ids == before.encode_prompt("abc<end>1234").tolist()


def test_what_the_package_has_learned_is_ours() -> None:
    pytest.importorskip("tokenizers", reason="it learns")
    text = "to be or not to be, that is the question — 🙂 " * 9
    ours, theirs = (t.from_text(text, 280) for t in (BytePairTokenizer, SubwordTokenizer))
    assert (ours.vocab_size, ours.eos_ids) == (theirs.vocab_size, theirs.eos_ids) == (280, (0,))
    for i, j in pairwise(range(280)):
        assert ours.decode([i, j]) == theirs.decode([i, j])
    assert ours.encode(text + EVERYTHING).tolist() == theirs.encode(text + EVERYTHING).tolist()


def test_no_package_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    expected = PAPER.encode("the lowest").tolist()
    PAPER.save(tmp_path)
    assert load_tokenizer(tmp_path).encode("the lowest").tolist() == expected
    content = PAPER.to_json()["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(content["vocab"]))
    lines = ["#version: 0.2", *map(" ".join, content["merges"]), ""]
    for end in ("\n", "\r\n"):
        (tmp_path / "merges.txt").write_text(end.join(lines), newline="")
        assert load_tokenizer(tmp_path / "vocab.json").encode("the lowest").tolist() == expected
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": list(content["vocab"]),
        "tokenizer.ggml.merges": lines[1:-1],
    }
    assert tokenizer_from_gguf(metadata).encode("the lowest").tolist() == expected
    with pytest.raises(MissingExtraError, match=r"needs the package tokenizers: pip .*cpu\[hf\]"):
        BytePairTokenizer.from_text("to be", 300)
