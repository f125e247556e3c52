"""A tokenizer as the entries tokenizer.* of a GGUF file."""

import json
from typing import Any

import numpy as np

from litegpt.text.gguf_vocabulary import (
    CONTROL,
    NORMAL,
    NORMALIZED,
    PRE_TOKENIZERS,
    UNUSED,
    USER_DEFINED,
    WHOLE,
    WHOLE_WORDS_FIRST,
)
from litegpt.text.subword import SubwordTokenizer
from litegpt.text.tokenizer import Tokenizer


def gguf_entries(tokenizer: Tokenizer, rows: int) -> dict[str, Any]:
    """What tokenizer_from_gguf makes the same tokenizer of; rows is the size of the model's table.

    Byte-level encodings that cut text in one of the ways of PRE_TOKENIZERS are written token by
    token, as llama.cpp reads them; others, which GGUF has no keys for, as a tokenizer.json.
    ValueError if the tokenizer has more tokens than rows.
    """
    if tokenizer.vocab_size > rows:
        raise ValueError(f"the model has {rows} tokens, its tokenizer {tokenizer.vocab_size}")
    content = tokenizer.to_json()
    whole = {WHOLE: json.dumps(content, ensure_ascii=False)}
    pre = _pre_tokenizer(content)
    if pre is None:
        return {"tokenizer.ggml.model": "none", **whole}
    model, prefix, eos = content["model"], tokenizer.prefix, tokenizer.eos_ids
    tokens, types = [f"[PAD{i}]" for i in range(rows)], np.full(rows, UNUSED, np.int32)
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
    named = zip(("bos", "eos", "eot"), (prefix[:1], eos[:1], eos[1:2]), strict=True)
    entries |= {f"{name}_token_id": ids[0] for name, ids in named if ids}
    found = {f"tokenizer.ggml.{name}": value for name, value in entries.items()}
    if not isinstance(tokenizer, SubwordTokenizer):
        return {**found, **whole}  # which we read: it needs no package
    if tokenizer.chat_template is not None:
        found["tokenizer.chat_template"] = tokenizer.chat_template
    return found


def _pre_tokenizer(content: dict[str, Any]) -> str | None:
    """The name in PRE_TOKENIZERS of how a tokenizer.json cuts text; None if it has none."""
    cut, model = content.get("pre_tokenizer") or {}, content["model"]
    steps = cut.get("pretokenizers", [cut])
    if steps[-1].get("type") != "ByteLevel" or steps[-1]["add_prefix_space"]:
        return None
    if model["type"] != "BPE" or model.get("byte_fallback") or model.get("dropout"):
        return None
    each_digit = steps[0] == {"type": "Digits", "individual_digits": True}
    between = steps[each_digit:-1]
    if not between:
        expression = PRE_TOKENIZERS["gpt-2"][1] if steps[-1]["use_regex"] else ""
    elif len(between) == 1 and between[0]["type"] == "Split" and not steps[-1]["use_regex"]:
        expression = between[0]["pattern"].get("Regex", "")
        if between[0]["behavior"] != "Isolated" or between[0]["invert"]:
            return None
    else:
        return None
    normalizer = content.get("normalizer")
    for name, (digits, pattern, _) in PRE_TOKENIZERS.items():
        merges = model["merges"]  # without any, it doesn't matter how text is cut
        if (
            (not merges or (digits, pattern) == (each_digit, expression))
            and (normalizer == {"type": "NFC"} if name in NORMALIZED else normalizer is None)
            and bool(model.get("ignore_merges")) == (name in WHOLE_WORDS_FIRST)
        ):
            return name
    return None
