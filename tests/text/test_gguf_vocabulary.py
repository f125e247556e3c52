"""Vocabularies of GGUF files against llama.cpp and SentencePiece; SentencePiece's by hand too."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litegpt.formats import GgufFile
from litegpt.formats.gguf_write import write_gguf
from litegpt.text import (
    BytePairTokenizer,
    ByteTokenizer,
    CharTokenizer,
    SubwordTokenizer,
    load_tokenizer,
    tokenizer_from_gguf,
)
from litegpt.text.gguf_entries import gguf_entries

tokenizers = pytest.importorskip("tokenizers")

EVERYTHING = (
    "First Citizen:\n\n  We can't, they'LL say — 1234567 ½ ¹²³ ४५ naïve Ünïcödé\n"
    "def f(x: int) -> str:\r\n\treturn f\"{x!r}\"   # trailing   \n\n\n"
    "我想在apple工作1314151天～ ありがとう 한국어 🙂🏽👩‍👩‍👧 ✅ "
    "\u200b\u00a0\u3000|\x01\x1b[0m\x7f\x85\u2028"
    "<|endoftext|> 'S 'rE don’t    x\u0085y \U0010ffff"
)  # fmt: skip

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
PIECES = ["▁", "a", "b", "c", "▁a", "bc", "ab", "▁abc", "abc", "€"]
SCORES = {"▁a": -1.0, "bc": -2.0, "ab": -3.0, "abc": -4.0, "▁abc": -5.0}


def _vocabulary(**changes: Any) -> dict[str, Any]:
    """<unk>, <s>, </s>, all bytes, PIECES."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *PIECES]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [SCORES.get(token, -9.0) for token in tokens],
        "tokenizer.ggml.token_type": [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * 10],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    } | {f"tokenizer.ggml.{name}": value for name, value in changes.items()}


def _words(tokenizer: SubwordTokenizer, text: str) -> list[str]:
    return [tokenizer.backend.id_to_token(int(i)) for i in tokenizer.encode(text)]


@pytest.mark.parametrize("text, words", [
    ("abc", ["▁abc"]),  # ▁a first, then bc, then both
    ("aabc", ["▁a", "abc"]),
    ("ab", ["▁a", "b"]),
    ("x€", ["▁", "<0x78>", "€"]),
    ("é", ["▁", "<0xC3>", "<0xA9>"]),
    (" a", ["▁", "▁a"]),
    ("a</s>a", ["▁a", "</s>", "▁a"]),
    ("", []),
])  # fmt: skip
def test_neighbours_of_the_highest_score_merge_first(text: str, words: list[str]) -> None:
    tokenizer = tokenizer_from_gguf(_vocabulary())
    assert _words(tokenizer, text) == words
    if "</s>" not in text:  # after which SentencePiece begins anew, with a space
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_what_a_sentencepiece_file_says_besides() -> None:
    tokenizer = tokenizer_from_gguf(_vocabulary())
    assert (tokenizer.prefix, tokenizer.eos_ids, tokenizer.space_first) == ((1,), (2,), True)
    assert tokenizer.token_bytes(3 + 0xC3) == b"\xc3"
    tokenizer = tokenizer_from_gguf(_vocabulary(add_space_prefix=False, add_bos_token=False))
    assert (tokenizer.prefix, tokenizer.space_first) == ((), False)
    assert _words(tokenizer, "abc") == ["abc"]
    for scores in ([0.0], ["a"] * 269):
        with pytest.raises(ValueError, match=r"tokenizer\.ggml\.scores must be 269 numbers"):
            tokenizer_from_gguf(_vocabulary(scores=scores))


@pytest.mark.parametrize("value", [-1, 269, True, 1.0, "1", ["1"] * 5000, np.arange(5000)])
def test_ids_that_are_none(value: Any) -> None:
    with pytest.raises(
        ValueError, match=r"eos_token_id must be an id from 0 to 268, not"
    ) as raised:
        tokenizer_from_gguf(_vocabulary(eos_token_id=value))
    assert len(str(raised.value)) < 150


@pytest.mark.parametrize(("tokens", "says"), [
    (["a" * 257], "257 characters in a token; at most 256 are read"),
    ([f"{i:0250}" for i in range(17000)], "4250000 characters in all tokens; at most 4194304"),
    ([c * i for c in "abcdefghijklmnopqrstuvwxyzABCDEFGHI" for i in range(1, 257)],
     "more than 1048576 ways to make a token of two"),
])  # fmt: skip
def test_pieces_that_would_take_long(tokens: list[str], says: str) -> None:
    metadata = {"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": tokens}
    with pytest.raises(ValueError, match=rf"tokenizer\.ggml\.tokens: {says}"):
        tokenizer_from_gguf(metadata)


def test_more_control_tokens_than_any_vocabulary_has() -> None:
    tokens = [f"t{i}" for i in range(2**15 + 1)]
    metadata = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3] * len(tokens),
    }
    with pytest.raises(ValueError, match=r"token_type: 32769 tokens beside .* at most 32768"):
        tokenizer_from_gguf(metadata)


def _llama_cpp(metadata: dict[str, Any], folder: Path) -> Any:
    """llama.cpp's tokenizer: text -> ids."""
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python isn't installed")
    path, numbers = folder / "vocabulary.gguf", {"token_type": np.int32, "scores": np.float32}
    for name, dtype in numbers.items():
        if (key := f"tokenizer.ggml.{name}") in metadata:
            metadata = metadata | {key: np.array(metadata[key], dtype)}
    write_gguf(path, {"general.architecture": "gpt2", **metadata}, {})
    model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    return lambda text: model.tokenize(text.encode(), add_bos=False, special=True)


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_ids_of_llama_cpp(data_dir: Path, tmp_path: Path, pre: str) -> None:
    ids = json.loads((data_dir / "gpt2-vocab.json").read_text())
    lines = (data_dir / "gpt2-merges.txt").read_text().splitlines()
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": sorted(ids, key=ids.__getitem__),
        "tokenizer.ggml.token_type": [NORMAL] * 50256 + [CONTROL],
        "tokenizer.ggml.merges": lines[1:],
        "tokenizer.ggml.eos_token_id": 50256,
    }
    theirs = _llama_cpp(metadata, tmp_path)
    assert tokenizer_from_gguf(metadata).encode(EVERYTHING).tolist() == theirs(EVERYTHING)


def test_ids_of_smollm2(smollm2: Path) -> None:
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python isn't installed")
    theirs = llama_cpp.Llama(str(smollm2), vocab_only=True, verbose=False)
    text = EVERYTHING + "\x00 e\u0301<|im_start|>user\n"
    ids = tokenizer_from_gguf(GgufFile(smollm2).metadata).encode(text)
    assert ids.tolist() == theirs.tokenize(text.encode(), add_bos=False, special=True)


def test_ids_of_sentencepiece(data_dir: Path, tmp_path: Path) -> None:
    """And of llama.cpp, with the same vocabulary."""
    package = pytest.importorskip("sentencepiece", reason="sentencepiece isn't installed")
    package.SentencePieceTrainer.train(
        input=str(data_dir / "tinyshakespeare.txt"),
        model_prefix=str(tmp_path / "m"),
        model_type="bpe",
        vocab_size=600,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    made = package.SentencePieceProcessor(model_file=str(tmp_path / "m.model"))
    ids = range(made.vocab_size())
    kinds = ((made.is_unknown, UNKNOWN), (made.is_control, CONTROL), (made.is_byte, BYTE))
    types = [next((kind for is_it, kind in kinds if is_it(i)), NORMAL) for i in ids]
    metadata = _vocabulary(
        tokens=[made.id_to_piece(i) for i in ids],
        scores=[made.get_score(i) for i in ids],
        token_type=types,
    )
    ours = tokenizer_from_gguf(metadata)
    text = EVERYTHING + (data_dir / "tinyshakespeare.txt").read_text()[:5000]
    assert ours.encode(text).tolist() == made.encode(text)
    assert ours.decode(made.encode(text)) == text
    assert ours.encode(text).tolist() == _llama_cpp(metadata, tmp_path)(text)
    assert ours.encode(text).tolist() == _llama_cpp(gguf_entries(ours, 600), tmp_path)(text)


TEXT = "to be, or not to be? 1234 \n\n It's 5 o'clock — née 🙂 " * 9


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_a_tokenizer_is_written_as_it_is_read(tmp_path: Path, pre: str) -> None:
    """Through a directory too, with what stands around the tokens; the model has rows to spare."""
    trained = SubwordTokenizer.from_text(TEXT, 300).to_json()["model"]
    count = len(trained["vocab"])
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": sorted(trained["vocab"], key=trained["vocab"].__getitem__),
        "tokenizer.ggml.token_type": [CONTROL] + [NORMAL] * (count - 1),
        "tokenizer.ggml.merges": [" ".join(pair) for pair in trained["merges"]],
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.eot_token_id": 3,
        "tokenizer.chat_template": "{{ messages }}",
    }
    tokenizer_from_gguf(metadata).save(tmp_path)
    entries = gguf_entries(load_tokenizer(tmp_path), count + 4)
    types = entries.pop("tokenizer.ggml.token_type")
    assert types.dtype == np.int32
    assert types.tolist() == [*metadata.pop("tokenizer.ggml.token_type"), *[5] * 4]
    tokens = entries.pop("tokenizer.ggml.tokens")
    assert tokens[:count] == metadata.pop("tokenizer.ggml.tokens") and len(set(tokens)) == count + 4
    assert entries == metadata


def test_pieces_are_written_as_they_are_read(tmp_path: Path) -> None:
    """By SentencePiece's keys, from a tokenizer.json; the scores have the same order."""
    metadata = _vocabulary(add_space_prefix=False)
    metadata["tokenizer.chat_template"] = "{{ messages }}"
    tokenizer_from_gguf(metadata).save(tmp_path)
    entries = gguf_entries(load_tokenizer(tmp_path), 272)
    scores, types = (entries.pop(f"tokenizer.ggml.{name}") for name in ("scores", "token_type"))
    made = [259 + PIECES.index(token) for token in SCORES]
    assert sorted(made, key=lambda i: -scores[i]) == made
    assert types.tolist() == [*metadata["tokenizer.ggml.token_type"], *[5] * 3]
    assert entries.pop("tokenizer.ggml.tokens")[:269] == metadata["tokenizer.ggml.tokens"]
    rest = metadata.keys() - {f"tokenizer.ggml.{n}" for n in ("tokens", "scores", "token_type")}
    added = {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.unknown_token_id": 0}
    assert entries == {name: metadata[name] for name in rest} | added


def test_other_tokenizers_are_written_whole() -> None:
    content = tokenizer_from_gguf(_vocabulary()).to_json()
    content["model"]["merges"].pop()  # no scores make it so
    tokenizer = SubwordTokenizer.from_json(content).surrounded([2, 5, 7], "{{ messages }}")
    entries = gguf_entries(tokenizer, 300)
    assert "tokenizer.ggml.tokens" not in entries
    made = tokenizer_from_gguf(entries)
    assert made.encode(TEXT).tolist() == tokenizer.encode(TEXT).tolist()
    assert isinstance(made, SubwordTokenizer) and made.prefix == tokenizer.prefix != ()
    assert (made.eos_ids, made.chat_template) == ((2, 5, 7), "{{ messages }}")


@pytest.mark.parametrize("kind", ["bytes", "pieces"])
def test_tokens_found_in_ways_of_their_own_are_written_whole_too(kind: str) -> None:
    """llama.cpp finds them as they are written; here the ids stay as they were."""
    if kind == "bytes":
        content = BytePairTokenizer.from_merges(["a b"], ["<mask>"]).to_json()
    else:
        content = tokenizer_from_gguf(_vocabulary()).to_json()
    for token in content["added_tokens"]:
        token["lstrip"] = token["rstrip"] = True
    last = content["added_tokens"][-1]["content"]
    tokenizer = SubwordTokenizer.from_json(content).surrounded([3], None)
    text = f"ab  {last} \n ab"
    plain = tokenizer.encode("ab").tolist()
    assert tokenizer.encode(text)[len(plain)] == tokenizer.token_id(last)  # no spaces before it
    entries = gguf_entries(tokenizer, 300)
    assert len(entries["tokenizer.ggml.tokens"]) == 300
    made = tokenizer_from_gguf(entries)
    assert made.encode(text).tolist() == tokenizer.encode(text).tolist()
    assert made.eos_ids == (3,)


@pytest.mark.parametrize(("prefix", "bos_id"), [((257, 258), None), ((257,), 258), ((), 257)])
def test_tokens_before_a_text_that_are_not_just_bos(
    prefix: tuple[int, ...], bos_id: int | None
) -> None:
    made = BytePairTokenizer.from_merges(["a b"], ["<a>", "<b>"], prefix=prefix)
    tokenizer = made.surrounded([], None, bos_id)
    read = tokenizer_from_gguf(gguf_entries(tokenizer, 259))
    assert isinstance(read, BytePairTokenizer)
    assert (read.prefix, read.bos_id) == (prefix, tokenizer.bos_id)


@pytest.mark.parametrize("spare", [0, 3])
def test_characters_are_written_for_llama_cpp_too(tmp_path: Path, spare: int) -> None:
    text = EVERYTHING + "\\x41 \\n \0"
    tokenizer = CharTokenizer.from_text(text)
    ids = tokenizer.encode(text).tolist()
    entries = gguf_entries(tokenizer, tokenizer.vocab_size + spare)
    assert len(entries["tokenizer.ggml.tokens"]) == tokenizer.vocab_size + spare
    made = tokenizer_from_gguf(entries)
    assert isinstance(made, CharTokenizer) and made.encode(text).tolist() == ids
    assert _llama_cpp(entries, tmp_path)(text) == ids


def test_a_tokenizer_with_more_tokens_than_the_model() -> None:
    with pytest.raises(ValueError, match="the model has 255 tokens, its tokenizer 256"):
        gguf_entries(ByteTokenizer(), 255)


def test_bytes_are_written_for_llama_cpp_too(tmp_path: Path) -> None:
    entries = gguf_entries(ByteTokenizer(), 256)
    assert isinstance(tokenizer_from_gguf(entries), ByteTokenizer)
    theirs = _llama_cpp(entries, tmp_path)
    assert theirs(EVERYTHING) == list(EVERYTHING.encode())
