"""A GGUF file's vocabulary as a tokenizer; of its metadata only plain Python values are needed."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from litegpt.text.load import tokenizer_from_json
from litegpt.text.sentencepiece import sentencepiece_backend
from litegpt.text.subword import SubwordTokenizer, byte_level, tokenizers_package
from litegpt.text.tokenizer import Tokenizer
from litegpt.text.tokenizer_json import parse_object

# token_type of llama.cpp's llama_token_type
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5
_SPECIAL = (UNKNOWN, CONTROL)

# How text is cut before merging, by the regular expressions of the models' own tokenizer.json.
_GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_WORDS_AND_NUMBERS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}|"
    r" ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = _WORDS_AND_NUMBERS.format(digits="{1,3}")
_QWEN2 = _WORDS_AND_NUMBERS.format(digits="")

# tokenizer.ggml.pre -> (digits each alone, expression, bos unless the file says otherwise)
PRE_TOKENIZERS: dict[str, tuple[bool, str, bool]] = {
    "gpt-2": (False, _GPT2, False),
    "default": (False, _GPT2, False),
    "smollm": (True, _GPT2, False),
    "llama-bpe": (False, _LLAMA3, True),
    "llama3": (False, _LLAMA3, True),
    "qwen2": (False, _QWEN2, False),
}
NORMALIZED = {"qwen2"}  # to NFC, as the model's own tokenizer.json has it
WHOLE_WORDS_FIRST = {"llama-bpe", "llama3"}  # a word that is a token isn't merged to others


# A tokenizer.json as text, for kinds that GGUF has no keys for, or that need no package.
WHOLE = "tokenizer.huggingface.json"


def tokenizer_from_gguf(metadata: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that the keys tokenizer.* describe (lists, integers, booleans, text).

    ValueError naming the key that is missing, contradicts another, or asks for what isn't
    supported.
    """
    if text := _text(metadata, WHOLE):
        return tokenizer_from_json(parse_object(text, WHOLE), WHOLE)
    kind = _text(metadata, "tokenizer.ggml.model")
    if kind not in _BACKENDS:
        allowed = ", ".join(map(repr, _BACKENDS))
        raise ValueError(
            f"tokenizer.ggml.model {kind!r} isn't supported (supported: {allowed}, or {WHOLE})"
        )
    with _uncollected():
        return _from_tokens(metadata, _BACKENDS[kind])


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's search for garbage, a fifth of the time: of 100,000 texts none is."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _from_tokens(metadata: Mapping[str, Any], make_backend: Any) -> SubwordTokenizer:
    """A tokenizer whose tokens are listed one by one."""
    tokens = _texts(metadata, "tokenizer.ggml.tokens")
    vocabulary = dict(zip(tokens, range(len(tokens)), strict=True))
    if len(vocabulary) != len(tokens):
        raise ValueError("tokenizer.ggml.tokens holds a token twice")
    types = _numbers(metadata, "tokenizer.ggml.token_type", len(tokens), NORMAL)
    package = tokenizers_package()
    backend, bos = make_backend(package, metadata, vocabulary, types)
    added = np.flatnonzero(np.isin(types, (*_SPECIAL, USER_DEFINED)))
    backend.add_tokens([
        package.AddedToken(tokens[i], special=int(types[i]) in _SPECIAL, normalized=False)
        for i in added
    ])  # fmt: skip
    _put_first(package, backend, metadata, tokens, bos)
    ends = [
        _token_id(metadata, key, len(tokens))
        for key in ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id")
        if key in metadata
    ]
    template = _text(metadata, "tokenizer.chat_template") or None
    return SubwordTokenizer(backend, ends, template, len(tokens))


def _bytes_of_gpt2(
    package: Any, metadata: Mapping[str, Any], vocabulary: dict[str, int], types: np.ndarray
) -> tuple[Any, bool]:
    """A backend, and whether texts begin with bos unless the file says otherwise."""
    pre = _text(metadata, "tokenizer.ggml.pre") or "default"
    if pre not in PRE_TOKENIZERS:
        allowed = ", ".join(map(repr, PRE_TOKENIZERS))
        raise ValueError(f"tokenizer.ggml.pre {pre!r} isn't supported (supported: {allowed})")
    merges = _merges(_texts(metadata, "tokenizer.ggml.merges"))
    try:
        whole_words_first = pre in WHOLE_WORDS_FIRST
        model = package.models.BPE(vocabulary, merges, ignore_merges=whole_words_first)
    except Exception as error:
        raise ValueError(f"tokenizer.ggml.merges: {error}") from None
    backend = byte_level(model)
    backend.pre_tokenizer = _pre_tokenizer(package, pre)
    if pre in NORMALIZED:
        backend.normalizer = package.normalizers.NFC()
    return backend, PRE_TOKENIZERS[pre][2]


def _pieces_of_llama(
    package: Any, metadata: Mapping[str, Any], vocabulary: dict[str, int], types: np.ndarray
) -> tuple[Any, bool]:
    """The same."""
    scores = _numbers(metadata, "tokenizer.ggml.scores", len(vocabulary), 0.0)
    unknown = next((token for token, i in vocabulary.items() if types[i] == UNKNOWN), None)
    space_first = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    return sentencepiece_backend(package, vocabulary, scores, unknown, space_first), True


_BACKENDS = {"gpt2": _bytes_of_gpt2, "llama": _pieces_of_llama}


def _put_first(
    package: Any, backend: Any, metadata: Mapping[str, Any], tokens: list[str], default: bool
) -> None:
    """Lets the backend's post-processor begin a text with bos, where the file asks for it."""
    add_bos = metadata.get("tokenizer.ggml.add_bos_token", default)
    if not add_bos or "tokenizer.ggml.bos_token_id" not in metadata:
        return
    bos_id = _token_id(metadata, "tokenizer.ggml.bos_token_id", len(tokens))
    bos = tokens[bos_id]
    backend.post_processor = package.processors.TemplateProcessing(
        single=[bos, "$A"], pair=[bos, "$A", bos, "$B:1"], special_tokens=[(bos, bos_id)]
    )


def _pre_tokenizer(package: Any, name: str) -> Any:
    cut = package.pre_tokenizers
    each_digit, expression, _ = PRE_TOKENIZERS[name]
    steps = [cut.Digits(individual_digits=True)] if each_digit else []
    steps.append(cut.Split(package.Regex(expression), behavior="isolated"))
    steps.append(cut.ByteLevel(add_prefix_space=False, use_regex=False))
    return cut.Sequence(steps)


def _text(metadata: Mapping[str, Any], key: str) -> str:
    """An empty one if there is none."""
    text = metadata.get(key, "")
    if not isinstance(text, str):
        raise ValueError(f"{key} must be a text")
    return text


def _texts(metadata: Mapping[str, Any], key: str) -> list[str]:
    texts = metadata.get(key)
    if not isinstance(texts, Sequence) or set(map(type, texts)) - {str}:
        raise ValueError(f"{key} must be a list of texts")
    return list(texts)


def _numbers(metadata: Mapping[str, Any], key: str, count: int, default: float) -> np.ndarray:
    """One number for each token, (V,)."""
    numbers = np.asarray(metadata.get(key, [default] * count))
    if numbers.shape != (count,) or numbers.dtype.kind not in "iuf":
        raise ValueError(f"{key} must be {count} numbers, as many as there are tokens")
    return numbers


def _merges(lines: list[str]) -> list[tuple[str, ...]]:
    """Pairs; the space between is the only one, since tokens write theirs otherwise."""
    pairs = [tuple(line.split(" ")) for line in lines]
    if set(map(len, pairs)) - {2}:
        wrong = next(line for line, pair in zip(lines, pairs, strict=True) if len(pair) != 2)
        raise ValueError(f"tokenizer.ggml.merges holds {wrong!r}, which is no pair")
    return pairs


def _token_id(metadata: Mapping[str, Any], key: str, count: int) -> int:
    token_id = metadata[key]
    if not isinstance(token_id, int) or not 0 <= token_id < count:
        raise ValueError(f"{key} must be an id from 0 to {count - 1}, not {token_id!r}")
    return token_id
