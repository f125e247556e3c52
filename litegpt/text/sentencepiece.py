"""SentencePiece's byte-pair vocabularies, as Llama 2, Mistral and TinyLlama have them."""

from typing import Any

import numpy as np

SPACE = "▁"


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
    return [
        (token[:cut], token[cut:])
        for token in (tokens[i] for i in np.argsort(-scores, kind="stable"))
        for cut in range(1, len(token))
        if token[:cut] in vocabulary and token[cut:] in vocabulary
    ]
