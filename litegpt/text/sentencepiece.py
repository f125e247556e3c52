"""SentencePiece's byte-pair vocabularies, as Llama 2, Mistral and TinyLlama have them."""

from itertools import islice
from typing import Any

import numpy as np

SPACE = "▁"

# Bounds, so that no file takes long or much memory: the largest vocabularies, of 256,000 tokens,
# have 2 million characters and 600,000 ways to make a token of two.
_LONGEST_TOKEN = 256
_MOST_CHARACTERS = 1 << 22
_MOST_MERGES = 1 << 20


def sentencepiece_backend(
    package: Any,
    vocabulary: dict[str, int],
    scores: np.ndarray,
    unknown: str | None,
    space_first: bool,
) -> Any:
    """A backend of `tokenizers` that merges as SentencePiece does (arXiv:1808.06226).

    There, of all neighbours that make a token together, those with the highest score are merged
    first: so merges are ranked by the scores (V,) of what they make. A character without a token is
    spelled in bytes, <0x00> to <0xFF>. A space is put before each text if space_first says so.
    ValueError for a vocabulary larger than any.
    """
    model = package.models.BPE(
        vocabulary,
        _merges(vocabulary, scores),
        unk_token=unknown,
        fuse_unk=True,
        byte_fallback=True,
    )
    backend = package.Tokenizer(model)
    normal, decoders = package.normalizers, package.decoders
    before = [normal.Prepend(SPACE)] if space_first else []
    backend.normalizer = normal.Sequence([*before, normal.Replace(" ", SPACE)])
    after = [decoders.Strip(" ", 1, 0)] if space_first else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *after]
    )
    return backend


def _merges(vocabulary: dict[str, int], scores: np.ndarray) -> list[tuple[str, str]]:
    """Each way to make a token of two, those of the highest score first."""
    tokens = list(vocabulary)  # by id
    lengths = [len(token) for token in tokens]
    for count, what, most in (
        (max(lengths, default=0), "characters in a token", _LONGEST_TOKEN),
        (sum(lengths), "characters in all tokens", _MOST_CHARACTERS),
    ):
        if count > most:
            raise ValueError(f"tokenizer.ggml.tokens: {count} {what}; at most {most} are read")
    pairs = (
        (token[:cut], token[cut:])
        for token in (tokens[i] for i in np.argsort(-scores, kind="stable"))
        for cut in range(1, len(token))
        if token[:cut] in vocabulary and token[cut:] in vocabulary
    )
    merges = list(islice(pairs, _MOST_MERGES + 1))
    if len(merges) > _MOST_MERGES:
        raise ValueError(
            f"tokenizer.ggml.tokens: more than {_MOST_MERGES} ways to make a token of two"
        )
    return merges
