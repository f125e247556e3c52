"""Subword tokenizers: the ids of other programs, the way back, files, training."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litegpt.text import (
    BytePairTokenizer,
    StreamDecoder,
    SubwordTokenizer,
    Tokenizer,
    load_tokenizer,
    tokenizer_from_gguf,
)

tokenizers = pytest.importorskip("tokenizers")

EVERYTHING = (
    "First Citizen:\n\n  We can't, they'LL say — 1234567 ½ ¹²³ ४५ naïve Ünïcödé e\u0301\n"
    "def f(x: int) -> str:\r\n\treturn f\"{x!r}\"   # trailing   \n\n\n"
    "我想在apple工作1314151天～ ありがとう 한국어 🙂🏽👩‍👩‍👧 ✅ "
    "\u200b\u00a0\u3000|\x00\x01\x1b[0m\x7f\x85\u2028"
    "<|endoftext|> 'S 'rE don’t    x\u0085y \U0010ffff"
)  # fmt: skip
whole_text = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture(scope="module")
def gpt2(data_dir: Path) -> Tokenizer:
    return load_tokenizer(data_dir / "gpt2-vocab.json")


@pytest.fixture(scope="module")
def vocabulary(data_dir: Path) -> dict[str, Any]:
    """GPT-2's vocabulary as a GGUF file has it."""
    ids = json.loads((data_dir / "gpt2-vocab.json").read_text())
    lines = (data_dir / "gpt2-merges.txt").read_text().splitlines()
    tokens = sorted(ids, key=ids.__getitem__)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * (len(tokens) - 1) + [3],
        "tokenizer.ggml.merges": [line for line in lines if not line.startswith("#version")],
        "tokenizer.ggml.bos_token_id": 50256,
        "tokenizer.ggml.eos_token_id": 50256,
    }


@pytest.fixture(scope="module")
def small() -> SubwordTokenizer:
    return SubwordTokenizer.from_text("to be or not to be, that is the question — 🙂 " * 9, 280)


def test_gpt2_ids_are_those_of_transformers(gpt2, data_dir) -> None:
    transformers = pytest.importorskip("transformers")
    pair = [str(data_dir / name) for name in ("gpt2-vocab.json", "gpt2-merges.txt")]
    theirs = transformers.GPT2Tokenizer(*pair)
    assert gpt2.encode(EVERYTHING).tolist() == theirs(EVERYTHING)["input_ids"]
    assert gpt2.vocab_size == 50257
    assert gpt2.eos_ids == (50256,)
    assert gpt2.prefix == ()


def test_gguf_with_the_pre_tokenizer_of_gpt2(gpt2, vocabulary) -> None:
    ours = tokenizer_from_gguf(vocabulary | {"tokenizer.ggml.pre": "gpt-2"})
    assert ours.encode(EVERYTHING).tolist() == gpt2.encode(EVERYTHING).tolist()
    assert ours.decode(ours.encode(EVERYTHING)) == EVERYTHING
    assert ours.eos_ids == (50256,)


def test_gguf_with_the_pre_tokenizer_of_qwen2(vocabulary) -> None:
    transformers = pytest.importorskip("transformers")
    ours = tokenizer_from_gguf(vocabulary | {"tokenizer.ggml.pre": "qwen2"})
    ids = {token: i for i, token in enumerate(vocabulary["tokenizer.ggml.tokens"])}
    merges = [tuple(line.split(" ")) for line in vocabulary["tokenizer.ggml.merges"]]
    theirs = transformers.Qwen2Tokenizer(ids, merges)
    assert ours.encode(EVERYTHING).tolist() == theirs(EVERYTHING)["input_ids"]


def test_bos_comes_first_where_the_file_says_so(vocabulary) -> None:
    pre = {"tokenizer.ggml.pre": "llama-bpe"}
    said = {"tokenizer.ggml.add_bos_token": False}
    for metadata, prefix in ((vocabulary | pre, (50256,)), (vocabulary | pre | said, ())):
        ours = tokenizer_from_gguf(metadata)
        assert ours.prefix == prefix
        assert ours.encode_prompt("a b").tolist() == [*prefix, *ours.encode("a b")]
        assert ours.encode("a b").tolist() == [64, 275]


@pytest.mark.parametrize("change, message", [
    ({"tokenizer.ggml.model": "t5"}, r"model 't5' isn't supported \(supported: 'gpt2', 'llama'"),
    ({"tokenizer.ggml.model": 3}, "tokenizer.ggml.model must be a text"),
    ({"tokenizer.ggml.pre": [1]}, "tokenizer.ggml.pre must be a text"),
    ({"tokenizer.ggml.pre": "tekken"}, "pre 'tekken' isn't supported .*'smollm'"),
    ({"tokenizer.ggml.tokens": None}, "tokens must be a list of texts"),
    ({"tokenizer.ggml.tokens": ["a", 1]}, "tokens must be a list of texts"),
    ({"tokenizer.ggml.tokens": ["a", "a"]}, "tokens holds a token twice"),
    ({"tokenizer.ggml.token_type": [1]}, "token_type must be 50257 numbers, as many as there"),
    ({"tokenizer.ggml.merges": ["ab"]}, "merges: the merge 'ab' is no pair"),
    ({"tokenizer.ggml.merges": ["a xyz"]}, "merges: the merge 'a xyz' makes 'axyz', which"),
    ({"tokenizer.ggml.eos_token_id": 50257}, "eos_token_id must be an id from 0 to 50256"),
    ({"tokenizer.chat_template": 1}, "chat_template must be a text"),
])  # fmt: skip
def test_metadata_that_makes_no_tokenizer(vocabulary, change, message) -> None:
    with pytest.raises(ValueError, match=message):
        tokenizer_from_gguf(vocabulary | change)


@settings(max_examples=200)
@given(whole_text)
def test_a_text_comes_back_from_its_ids(small, text: str) -> None:
    assert small.decode(small.encode(text)) == text
    assert small.encode(text.encode()).tolist() == small.encode(text).tolist()


@settings(max_examples=300)
@given(st.lists(st.integers(0, 279)))
def test_joined_stream_is_decode_of_all_ids(small, ids: list[int]) -> None:
    stream = StreamDecoder(small)
    pieces = [stream.feed(i) for i in ids] + [stream.flush()]
    assert "".join(pieces) == small.decode(ids)
    assert small.decode(ids) == small.backend.decode(ids, skip_special_tokens=False)
    held_back = any(piece.endswith("\ufffd") for piece in pieces[:-1])
    assert not held_back or "\ufffd" in small.decode(ids)


def test_training_merges_what_stands_together_most_often() -> None:
    tokenizer = SubwordTokenizer.from_text("ababab cd", 258)
    assert tokenizer.vocab_size == 258
    assert tokenizer.token_bytes(257) == b"ab"
    assert tokenizer.eos_ids == (0,)
    assert tokenizer.token_bytes(0) == b"<|endoftext|>"
    assert tokenizer.encode("abc").tolist() == [257, *tokenizer.encode("c")]


def test_training_twice_gives_the_same(small) -> None:
    again = SubwordTokenizer.from_text("to be or not to be, that is the question — 🙂 " * 9, 280)
    assert again.to_json() == small.to_json()


def test_a_process_of_its_own_knows_what_surrounds_a_text(small) -> None:
    for tokenizer in (small.surrounded([7, 8], "x", 9), small.surrounded([7], None)):
        other = pickle.loads(pickle.dumps(tokenizer))
        for name in ("eos_ids", "chat_template", "bos_id", "vocab_size"):
            assert getattr(other, name) == getattr(tokenizer, name)


def test_training_stops_when_there_is_nothing_left_to_merge() -> None:
    tokenizer = SubwordTokenizer.from_text("abc", 5000)
    assert tokenizer.vocab_size == 259  # ab, abc
    for size in (-1, 256, 2**19 + 1, 10**9, 2**63, 10**26):  # the package ends the process at 10^9
        with pytest.raises(ValueError, match=rf"from 257 \(.*\) to 524288, not {size}$"):
            SubwordTokenizer.from_text("abc", size)
    assert SubwordTokenizer.from_text("abc", 2**19).vocab_size == 259


def test_save_and_load(small, tmp_path) -> None:
    before = SubwordTokenizer(small.backend, [0, 7], "{{ messages }}")
    before.save(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
    }
    said = json.loads((tmp_path / "generation_config.json").read_text())
    assert said == {"eos_token_id": [0, 7]}  # where transformers' generate ends, too
    after = load_tokenizer(tmp_path)
    assert isinstance(after, BytePairTokenizer)
    assert after.encode(EVERYTHING).tolist() == small.encode(EVERYTHING).tolist()
    assert (after.eos_ids, after.chat_template) == ((0, 7), "{{ messages }}")
    again = SubwordTokenizer.from_json(after.to_json())
    assert again.encode(EVERYTHING).tolist() == small.encode(EVERYTHING).tolist()


def test_what_the_model_expects_is_found_in_the_files_beside(small, tmp_path) -> None:
    small.save(tmp_path)
    templates = [{"name": "default", "template": "x"}]
    config = {"eos_token": {"content": "a"}, "chat_template": templates}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [5, 6]}')
    (tmp_path / "config.json").write_text('{"eos_token_id": 6}')
    loaded = load_tokenizer(tmp_path)
    assert loaded.eos_ids == (small.backend.token_to_id("a"), 5, 6)
    assert loaded.chat_template == "x"
    (tmp_path / "chat_template.jinja").write_text("y")
    assert load_tokenizer(tmp_path).chat_template == "y"
    for wrong, message in (("300", "id 300 is outside"), ('"<none>"', "'<none>' is no token")):
        (tmp_path / "config.json").write_text(f'{{"eos_token_id": {wrong}}}')
        with pytest.raises(ValueError, match=message):
            load_tokenizer(tmp_path)


def test_sentencepiece_in_tokenizer_json() -> None:
    """Llama 2's way: a space first, spaces as U+2581, bytes that no token has as <0xNN>."""
    letters = ["<s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a"]
    ids = {token: i for i, token in enumerate(letters)}
    backend = tokenizers.Tokenizer(
        tokenizers.models.BPE(ids, [("▁", "a")], byte_fallback=True, fuse_unk=True)
    )
    normal = tokenizers.normalizers
    backend.normalizer = normal.Sequence([normal.Prepend("▁"), normal.Replace(" ", "▁")])
    back = tokenizers.decoders
    backend.decoder = back.Sequence(
        [back.Replace("▁", " "), back.ByteFallback(), back.Fuse(), back.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(["<s>"])
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    tokenizer = SubwordTokenizer.from_json(json.loads(backend.to_str()))
    assert tokenizer.prefix == (0,)
    for text in ("a ba", " a", "", "🙂 é", "b"):
        ids_of_text = tokenizer.encode(text)
        assert ids_of_text.tolist() == backend.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids_of_text) == text == backend.decode(ids_of_text.tolist())
        stream = StreamDecoder(tokenizer)
        assert "".join(map(stream.feed, ids_of_text)) + stream.flush() == text


def test_spaces_that_sentencepiece_has_as_added_tokens() -> None:
    """Merges make them too, and the decoder makes spaces of them."""
    ids = {token: i for i, token in enumerate(["▁", "▁▁", "a"])}
    backend = tokenizers.Tokenizer(
        tokenizers.models.BPE(ids, [("▁", "▁")], byte_fallback=True, fuse_unk=True)
    )
    backend.normalizer = tokenizers.normalizers.Replace(" ", "▁")
    back = tokenizers.decoders
    backend.decoder = back.Sequence([back.Replace("▁", " "), back.ByteFallback(), back.Fuse()])
    backend.add_tokens([tokenizers.AddedToken("▁▁", normalized=False)])
    tokenizer = SubwordTokenizer.from_json(json.loads(backend.to_str()))
    assert tokenizer.encode("a  a").tolist() == [2, 1, 2]
    assert tokenizer.decode([2, 1, 2]) == "a  a" == backend.decode([2, 1, 2])


def test_ids_that_the_vocabulary_leaves_out_are_no_text(small) -> None:
    content = small.to_json()
    content["model"]["vocab"]["zz"] = 310
    tokenizer = SubwordTokenizer.from_json(content)
    assert tokenizer.vocab_size == 311
    assert tokenizer.decode([310, 305]) == "zz"
    with pytest.raises(IndexError, match="id 311 is outside"):
        tokenizer.decode([311])


def test_text_that_is_none(small) -> None:
    with pytest.raises(ValueError, match=r"U\+D800 at position 1 is a surrogate"):
        small.encode("a\ud800")
    with pytest.raises(ValueError, match="not UTF-8: byte 0xff at offset 1"):
        small.encode(b"a\xff")
    assert small.encode("").dtype == np.int64


def test_decoders_that_are_not_supported(small) -> None:
    for decoder, message in (({"type": "WordPiece", "prefix": "#", "cleanup": True}, "WordPiece"),
                             (None, "none")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            SubwordTokenizer.from_json(small.to_json() | {"decoder": decoder})


def test_without_the_package_one_line_says_what_to_install(monkeypatch, tmp_path, small) -> None:
    content = small.to_json() | {"normalizer": {"type": "Lowercase"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"needs the package tokenizers: pip .*litegpt-cpu\[hf\]"):
        load_tokenizer(tmp_path)


def test_pairs_need_both_files(small, tmp_path) -> None:
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    with pytest.raises(FileNotFoundError, match=r"merges\.txt"):
        load_tokenizer(tmp_path)
    (tmp_path / "merges.txt").write_text("x y\n")
    with pytest.raises(ValueError, match=r"vocab\.json and .*merges.txt: no vocabulary"):
        load_tokenizer(tmp_path)
