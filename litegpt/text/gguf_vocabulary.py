"""A GGUF file's vocabulary as a tokenizer; of its metadata only plain Python values are needed."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from reprlib import repr as shown  # cut short: a file may hold megabytes
from typing import Any

import numpy as np

from litegpt.text.byte_pairs import BytePairTokenizer
from litegpt.text.load import tokenizer_from_json
from litegpt.text.pre_tokenizers import PRE_TOKENIZERS
from litegpt.text.sentencepiece import sentencepiece_backend
from litegpt.text.subword import SubwordTokenizer, tokenizers_package
from litegpt.text.tokenizer import Tokenizer
from litegpt.text.tokenizer_json import parse_object
from litegpt.text.vocabulary import VocabularyTokenizer

# token_type of llama.cpp's llama_token_type
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
_SPECIAL = (UNKNOWN, CONTROL)
_MOST_ADDED = 1 << 15  # for which the package takes long; the largest vocabularies have 7,000
ENDS = ("eos", "eot", "eom")  # of a text, of a turn, of a message

# Of the names in PRE_TOKENIZERS, those whose texts begin with bos unless the file says otherwise.
_BOS_FIRST = {"llama-bpe", "llama3"}

# A tokenizer.json as text, for kinds that GGUF has no keys for, or that need no package.
WHOLE = "tokenizer.huggingface.json"


def tokenizer_from_gguf(metadata: Mapping[str, Any], rows: int | None = None) -> Tokenizer:
    """The tokenizer that the keys tokenizer.* describe (lists, integers, booleans, text).

    ValueError naming the key that is missing, contradicts another, or asks for what isn't
    supported. rows: see load_tokenizer.
    """
    if text := _text(metadata, WHOLE):
        tokenizer = tokenizer_from_json(parse_object(text, WHOLE, rows), WHOLE)
        if isinstance(tokenizer, VocabularyTokenizer):
            return _surrounded(tokenizer, metadata)
        return tokenizer
    kind = _text(metadata, "tokenizer.ggml.model")
    if kind not in _MAKERS:
        allowed = ", ".join(map(repr, _MAKERS))
        raise ValueError(
            f"tokenizer.ggml.model {shown(kind)} isn't supported (supported: {allowed}, or {WHOLE})"
        )
    with _uncollected():
        return _from_tokens(metadata, _MAKERS[kind])


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


def _from_tokens(metadata: Mapping[str, Any], make: Any) -> VocabularyTokenizer:
    """A tokenizer whose tokens are listed one by one."""
    tokens = _texts(metadata, "tokenizer.ggml.tokens")
    vocabulary = dict(zip(tokens, range(len(tokens)), strict=True))
    if len(vocabulary) != len(tokens):
        raise ValueError("tokenizer.ggml.tokens holds a token twice")
    types = _numbers(metadata, "tokenizer.ggml.token_type", len(tokens), NORMAL)
    added = np.flatnonzero(np.isin(types, (*_SPECIAL, USER_DEFINED)))
    controls = {tokens[i]: int(types[i]) in _SPECIAL for i in added}
    return _surrounded(make(metadata, vocabulary, types, controls), metadata)


def _surrounded(tokenizer: VocabularyTokenizer, metadata: Mapping[str, Any]) -> VocabularyTokenizer:
    """With the ids that begin and end a text, and the chat template."""
    said = {
        name: _token_id(metadata, key, tokenizer.vocab_size)
        for name, key in ((name, f"tokenizer.ggml.{name}_token_id") for name in ("bos", *ENDS))
        if key in metadata
    }
    ends = [said[name] for name in ENDS if name in said]
    template = _text(metadata, "tokenizer.chat_template") or None
    return tokenizer.surrounded(ends, template, said.get("bos"))


def _bytes_of_gpt2(
    metadata: Mapping[str, Any],
    vocabulary: dict[str, int],
    types: np.ndarray,
    added: dict[str, bool],
) -> BytePairTokenizer:
    pre = _text(metadata, "tokenizer.ggml.pre") or "default"
    if pre not in PRE_TOKENIZERS:
        allowed = ", ".join(map(repr, PRE_TOKENIZERS))
        raise ValueError(f"tokenizer.ggml.pre {shown(pre)} isn't supported (supported: {allowed})")
    merges = _texts(metadata, "tokenizer.ggml.merges")
    prefix = _prefix(metadata, len(vocabulary), pre in _BOS_FIRST)
    try:
        return BytePairTokenizer(vocabulary, merges, PRE_TOKENIZERS[pre], added, prefix)
    except ValueError as error:
        raise ValueError(f"tokenizer.ggml.merges: {error}") from None


def _pieces_of_llama(
    metadata: Mapping[str, Any],
    vocabulary: dict[str, int],
    types: np.ndarray,
    added: dict[str, bool],
) -> SubwordTokenizer:
    if len(added) > _MOST_ADDED:
        raise ValueError(
            f"tokenizer.ggml.token_type: {len(added)} tokens beside the pieces; "
            f"at most {_MOST_ADDED} are read"
        )
    package = tokenizers_package()
    scores = _numbers(metadata, "tokenizer.ggml.scores", len(vocabulary), 0.0)
    unknown = next((token for token, i in vocabulary.items() if types[i] == UNKNOWN), None)
    space_first = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    backend = sentencepiece_backend(package, vocabulary, scores, unknown, space_first)
    backend.add_tokens([
        package.AddedToken(token, special=special, normalized=False)
        for token, special in added.items()
    ])  # fmt: skip
    tokens = list(vocabulary)
    for bos_id in _prefix(metadata, len(tokens), default=True):
        bos = tokens[bos_id]
        backend.post_processor = package.processors.TemplateProcessing(
            single=[bos, "$A"], pair=[bos, "$A", bos, "$B:1"], special_tokens=[(bos, bos_id)]
        )
    return SubwordTokenizer(backend, vocab_size=len(tokens))


_MAKERS = {"gpt2": _bytes_of_gpt2, "llama": _pieces_of_llama}


def _prefix(metadata: Mapping[str, Any], count: int, default: bool) -> list[int]:
    """The id of bos, where the file asks for it before a text."""
    add_bos = metadata.get("tokenizer.ggml.add_bos_token", default)
    if not add_bos or "tokenizer.ggml.bos_token_id" not in metadata:
        return []
    return [_token_id(metadata, "tokenizer.ggml.bos_token_id", count)]


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


def _token_id(metadata: Mapping[str, Any], key: str, count: int) -> int:
    token_id = metadata[key]
    if type(token_id) is not int or not 0 <= token_id < count:
        raise ValueError(f"{key} must be an id from 0 to {count - 1}, not {shown(token_id)}")
    return token_id
