"""A tokenizer as the entries tokenizer.* of a GGUF file."""

import json
from dataclasses import replace
from typing import Any

import numpy as np

from litegpt.text.char import CharTokenizer
from litegpt.text.gguf_vocabulary import (
    CONTROL,
    ENDS,
    NORMAL,
    UNUSED,
    USER_DEFINED,
    WHOLE,
)
from litegpt.text.pre_tokenizers import PRE_TOKENIZERS, PreTokenizer
from litegpt.text.tokenizer import Tokenizer
from litegpt.text.vocabulary import VocabularyTokenizer


def gguf_entries(tokenizer: Tokenizer, rows: int) -> dict[str, Any]:
    """What tokenizer_from_gguf makes the same tokenizer of; rows is the size of the model's table.

    Byte-level encodings that cut text in one of the ways of PRE_TOKENIZERS are written token by
    token, as llama.cpp reads them; others, which GGUF has no keys for, as a tokenizer.json, and
    characters in both ways. ValueError if the tokenizer has more tokens than rows.
    """
    if tokenizer.vocab_size > rows:
        raise ValueError(f"the model has {rows} tokens, its tokenizer {tokenizer.vocab_size}")
    content = tokenizer.to_json()
    whole = {WHOLE: json.dumps(content, ensure_ascii=False)}
    pads = [f"[PAD{i}]" for i in range(rows)]
    if isinstance(tokenizer, CharTokenizer):
        tokens = [*map(_escaped, tokenizer.characters), *pads[tokenizer.vocab_size :]]
        return {"tokenizer.ggml.model": "rwkv", "tokenizer.ggml.tokens": tokens, **whole}
    pre = _pre_tokenizer(content)
    if pre is None:
        return {"tokenizer.ggml.model": "none", **whole}
    model, prefix, eos = content["model"], tokenizer.prefix, tokenizer.eos_ids
    tokens, types = pads, np.full(rows, UNUSED, np.int32)
    for token, token_id in model["vocab"].items():
        tokens[token_id], types[token_id] = token, NORMAL
    for added in content["added_tokens"]:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    entries: dict[str, Any] = {
        "model": "gpt2",
        "pre": pre,
        "tokens": tokens,
        "token_type": types,
        "merges": [m if isinstance(m, str) else " ".join(m) for m in model["merges"]],
        "add_bos_token": bool(prefix),
    }
    named = zip(("bos", *ENDS), (prefix[:1], eos[:1], eos[1:2], eos[2:3]), strict=True)
    entries |= {f"{name}_token_id": ids[0] for name, ids in named if ids}
    found = {f"tokenizer.ggml.{name}": value for name, value in entries.items()}
    if not isinstance(tokenizer, VocabularyTokenizer):
        return {**found, **whole}  # else it would be read as byte pairs without merges
    if tokenizer.chat_template is not None:
        found["tokenizer.chat_template"] = tokenizer.chat_template
    return found


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
