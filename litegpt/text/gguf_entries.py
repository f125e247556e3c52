"""A tokenizer as the entries tokenizer.* of a GGUF file."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from litegpt.text.char import CharTokenizer
from litegpt.text.gguf_vocabulary import (
    BYTE,
    CONTROL,
    ENDS,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    WHOLE,
    tokenizer_from_gguf,
)
from litegpt.text.pre_tokenizers import PRE_TOKENIZERS, PreTokenizer
from litegpt.text.sentencepiece import SPACE
from litegpt.text.subword import BYTE_TOKEN
from litegpt.text.tokenizer import Tokenizer
from litegpt.text.vocabulary import VocabularyTokenizer


def gguf_entries(tokenizer: Tokenizer, rows: int) -> dict[str, Any]:
    """What tokenizer_from_gguf makes the same tokenizer of; rows is the size of the model's table.

    Byte-level encodings that cut text in one of the ways of PRE_TOKENIZERS, and those of
    SentencePiece, are written token by token, as llama.cpp reads them; others, which GGUF has no
    keys for, as a tokenizer.json; and in both ways characters, and what tokens don't say all of.
    ValueError if the tokenizer has more tokens than rows.
    """
    if tokenizer.vocab_size > rows:
        raise ValueError(f"the model has {rows} tokens, its tokenizer {tokenizer.vocab_size}")
    content = tokenizer.to_json()
    whole = {WHOLE: json.dumps(content, ensure_ascii=False)}
    if isinstance(tokenizer, CharTokenizer):
        tokens = [*map(_escaped, tokenizer.characters), *_pads(rows)[tokenizer.vocab_size :]]
        return {"tokenizer.ggml.model": "rwkv", "tokenizer.ggml.tokens": tokens, **whole}
    if isinstance(tokenizer, VocabularyTokenizer) and content["model"].get("byte_fallback"):
        pieces = _pieces(tokenizer, content, rows)
        if pieces is not None:
            return pieces if _is_all(tokenizer, content) else {**pieces, **whole}
    pre = _pre_tokenizer(content)
    if pre is None:
        return {"tokenizer.ggml.model": "none", **_around(tokenizer), **whole}
    merges = [" ".join(pair) for pair in _pairs(content)]
    found = _listed(tokenizer, content, rows, model="gpt2", pre=pre, merges=merges)
    # without byte pairs, it would be read as such that have no merges
    exact = isinstance(tokenizer, VocabularyTokenizer) and _is_all(tokenizer, content)
    return found if exact else {**found, **whole}


def _is_all(tokenizer: VocabularyTokenizer, content: dict[str, Any]) -> bool:
    """Whether tokens one by one are all that there is to say.

    GGUF has no keys for more than one token before a text, or one that isn't bos, nor for added
    tokens that are found in other ways than as they are written.
    """
    return tokenizer.prefix in ((), (tokenizer.bos_id,)) and not any(
        token["single_word"]
        or token["lstrip"]
        or token["rstrip"]
        or (token["normalized"] and content["normalizer"])
        for token in content["added_tokens"]
    )


def _listed(
    tokenizer: Tokenizer, content: dict[str, Any], rows: int, **entries: Any
) -> dict[str, Any]:
    """The entries, with the tokens one by one, and what stands around a text."""
    tokens, types = _pads(rows), np.full(rows, UNUSED, np.int32)
    for token, token_id in content["model"]["vocab"].items():
        tokens[token_id], types[token_id] = token, NORMAL
    for added in content["added_tokens"]:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    prefix = bool(tokenizer.prefix)
    entries |= {"tokens": tokens, "token_type": types, "add_bos_token": prefix}
    return {f"tokenizer.ggml.{k}": v for k, v in entries.items()} | _around(tokenizer)


def _around(tokenizer: Tokenizer) -> dict[str, Any]:
    """The entries of what stands around a text: named ids, and the chat template."""
    named = dict(zip(ENDS, tokenizer.eos_ids, strict=False))
    template = None
    if isinstance(tokenizer, VocabularyTokenizer):
        template = tokenizer.chat_template
        if tokenizer.bos_id is not None:
            named["bos"] = tokenizer.bos_id
    found: dict[str, Any] = {f"tokenizer.ggml.{name}_token_id": i for name, i in named.items()}
    return found if template is None else {**found, "tokenizer.chat_template": template}


def _pieces(
    tokenizer: VocabularyTokenizer, content: dict[str, Any], rows: int
) -> dict[str, Any] | None:
    """The entries of an encoding of SentencePiece; None if it isn't what these would be read as."""
    pairs, model = _pairs(content), content["model"]
    made = [token for token, _ in groupby(pairs, key="".join)]  # the highest score first
    places = {token: i for i, token in enumerate(made)}
    normalizer = json.dumps(content["normalizer"], ensure_ascii=False)
    space_first = f'"prepend": "{SPACE}"' in normalizer
    found = _listed(tokenizer, content, rows, model="llama", add_space_prefix=space_first)
    tokens, types = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"]
    scores = [-places.get(token, len(made)) for token in tokens]
    found["tokenizer.ggml.scores"] = np.array(scores, np.float32)
    for i, token in enumerate(tokens):
        if token == model["unk_token"]:
            types[i], found["tokenizer.ggml.unknown_token_id"] = UNKNOWN, i
        elif types[i] == NORMAL and BYTE_TOKEN.fullmatch(token):
            types[i] = BYTE
    try:
        read = tokenizer_from_gguf(found).to_json()
    except ValueError:
        return None
    same = _without_pairs(read) == _without_pairs(content) and set(_pairs(read)) == set(pairs)
    return found if same and len(places) == len(made) else None


def _without_pairs(content: dict[str, Any]) -> list[Any]:
    """What a tokenizer.json says of how a text becomes tokens, but for vocabulary and merges."""
    model = {k: v for k, v in content["model"].items() if k not in ("vocab", "merges")}
    return [model, *(content[step] for step in ("normalizer", "pre_tokenizer", "decoder"))]


def _pairs(content: dict[str, Any]) -> list[Sequence[str]]:
    """The merges, of which old files have "left right"."""
    merges = content["model"]["merges"]
    return [tuple(m.split(" ") if isinstance(m, str) else m) for m in merges]


def _pads(rows: int) -> list[str]:
    """Names for the rows that no token has."""
    return [f"[PAD{i}]" for i in range(rows)]


def _escaped(character: str) -> str:
    """As vocabularies of the model rwkv are written, of which the longest token is taken."""
    return {"\0": r"\x00", "\\": r"\\"}.get(character, character)


def _pre_tokenizer(content: dict[str, Any]) -> str | None:
    """The name in PRE_TOKENIZERS of how a tokenizer.json cuts text; None if it has none."""
    model, cuts = content["model"], PreTokenizer.from_json(content)
    if model["type"] != "BPE" or model.get("byte_fallback") or model.get("dropout"):
        return None
    if not model["merges"] and cuts:  # then it doesn't matter how text is cut
        cuts = replace(cuts, expression=PreTokenizer().expression, each_digit=False)
    return next((name for name, known in PRE_TOKENIZERS.items() if known == cuts), None)
