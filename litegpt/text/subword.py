"""Subword tokenizers, through the package `tokenizers` (extra hf)."""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from litegpt.text.byte import byte_alphabet
from litegpt.text.extras import import_extra
from litegpt.text.sentencepiece import SPACE
from litegpt.text.tokenizer import Tokenizer, as_text, refuse_surrogate
from litegpt.text.tokenizer_json import (
    CONFIG_NAME,
    EOS_IDS,
    FILE_NAME,
    GENERATION_NAME,
    write_objects,
)

END_OF_TEXT = "<|endoftext|>"  # between documents; GPT-2's word for it
_TRAINED_AT_ONCE = 1 << 20  # characters
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def tokenizers_package() -> Any:
    return import_extra("tokenizers", "hf", "a tokenizer of subwords")


class SubwordTokenizer(Tokenizer):
    """A tokenizer of Hugging Face's `tokenizers`, with what a model expects around it.

    `encode` finds control tokens written out in the text, and puts nothing before it; `prefix`
    (a beginning-of-text id, say) is what the tokenizer's own post-processor would put there.
    chat_template: jinja2's text, or None (see litegpt.text.chat). vocab_size is looked up, which
    takes a while, unless it is given. ValueError for a tokenizer whose tokens don't stand for
    bytes of their own (no byte-level or byte-fallback decoder).
    """

    kind = "subword"

    def __init__(
        self,
        backend: Any,
        eos_ids: Sequence[int] = (),
        chat_template: str | None = None,
        vocab_size: int | None = None,
    ) -> None:
        self.backend = backend
        self.chat_template = chat_template
        self._piece = _piece_of(backend)
        self._added = backend.get_added_tokens_decoder()
        self._pieces: dict[int, bytes] = {}  # by id, those that were asked for
        if vocab_size is None:  # ids may be left out
            vocab_size = max(backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        self.vocab_size = vocab_size
        for token_id in eos_ids:
            self._check_id(token_id)
        self.eos_ids = tuple(dict.fromkeys(eos_ids))
        probe = self._encoded("a", add_special_tokens=True)
        self.prefix = tuple(probe.ids[: [*probe.special_tokens_mask, 0].index(0)])
        self.space_first = self._strips_space()

    def __reduce__(self) -> tuple[Any, ...]:
        """What a process that tokenises needs to have its own: the constructor's arguments."""
        return type(self), (self.backend, self.eos_ids, self.chat_template, self.vocab_size)

    def _strips_space(self) -> bool:
        """Whether the decoder takes away a space at the beginning, which encoding put there."""
        ids = self._encoded("a").ids
        own = b"".join(map(self.token_bytes, ids)).decode(errors="replace")
        decoded = self.backend.decode(ids, skip_special_tokens=False)
        if own in (decoded, " " + decoded):
            return own != decoded
        raise ValueError(f"a decoder that isn't supported: it makes {decoded!r} of 'a'")

    @classmethod
    def from_text(cls, text: str | bytes, vocab_size: int = 1024) -> Self:
        """from_texts of one."""
        return cls.from_texts(_lines(as_text(text)), vocab_size)

    @classmethod
    def from_texts(cls, texts: Iterable[str], vocab_size: int = 1024) -> Self:
        """A byte-level byte-pair encoding (Sennrich et al., 2015, arXiv:1508.07909) of texts.

        The 256 bytes, merges of what stands side by side most often, and END_OF_TEXT: vocab_size
        tokens, or fewer if the text has no more to merge. ValueError below 257.
        """
        if vocab_size < 257:
            raise ValueError(
                f"vocab_size must be 257 (all bytes, and the end) or more, not {vocab_size}"
            )
        package = tokenizers_package()
        backend = byte_level(package.models.BPE())
        trainer = package.trainers.BpeTrainer(
            vocab_size=vocab_size,
            initial_alphabet=byte_alphabet(),
            special_tokens=[END_OF_TEXT],
            show_progress=False,
        )
        backend.train_from_iterator(texts, trainer)
        return cls(backend, [backend.token_to_id(END_OF_TEXT)])

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """What a tokenizer.json describes; ValueError if `tokenizers` refuses it."""
        package = tokenizers_package()
        try:
            backend = package.Tokenizer.from_str(json.dumps(content))
        except Exception as error:  # the package raises nothing more precise
            raise ValueError(f"the package tokenizers refuses it ({error})") from None
        backend.no_truncation()
        backend.no_padding()
        return cls(backend)

    @classmethod
    def from_vocab_and_merges(cls, vocab: Path, merges: Path) -> Self:
        """GPT-2's pair of files, `vocab.json` and `merges.txt`."""
        package = tokenizers_package()
        try:
            model = package.models.BPE.from_file(os.fspath(vocab), os.fspath(merges))
        except Exception as error:
            raise ValueError(f"{vocab} and {merges}: no vocabulary and merges ({error})") from None
        backend = byte_level(model)
        end = backend.token_to_id(END_OF_TEXT)
        if end is not None:
            backend.add_special_tokens([END_OF_TEXT])
        return cls(backend, [] if end is None else [end])

    def to_json(self) -> dict[str, Any]:
        return json.loads(self.backend.to_str())

    def save(self, directory: str | Path) -> None:
        """Writes tokenizer.json and, as transformers reads them too, what is said beside it."""
        config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
        if self.eos_ids:
            config["eos_token"] = self.backend.id_to_token(self.eos_ids[0])
        if len(self.prefix) == 1:
            config["bos_token"] = self.backend.id_to_token(self.prefix[0])
        if self.chat_template is not None:
            config["chat_template"] = self.chat_template
        generation = {EOS_IDS: list(self.eos_ids) or None}
        files = {FILE_NAME: self.to_json(), CONFIG_NAME: config, GENERATION_NAME: generation}
        write_objects(directory, files)

    def encode(self, text: str | bytes) -> np.ndarray:
        text = as_text(text)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise refuse_surrogate(error) from None
        return np.array(self._encoded(text).ids, np.int64)

    def _encoded(self, text: str, add_special_tokens: bool = False) -> Any:
        """What the package makes of a text; ValueError if it has no token for a part of it."""
        try:
            return self.backend.encode(text, add_special_tokens=add_special_tokens)
        except Exception as error:  # the package raises nothing more precise
            raise ValueError(f"the tokenizer can't encode {text[:20]!r}: {error}") from None

    def token_bytes(self, token_id: int) -> bytes:
        """The UTF-8 bytes of a token; none for an id that the vocabulary leaves out."""
        piece = self._pieces.get(token_id)
        if piece is None:
            self._check_id(token_id)
            token = self.backend.id_to_token(token_id) or ""
            piece = token.encode() if token_id in self._added else self._piece(token)
            self._pieces[token_id] = piece
        return piece

    def token_text(self, token_id: int) -> str:
        """How templates write a token."""
        return self.token_bytes(token_id).decode(errors="replace")


def byte_level(model: Any) -> Any:
    """A backend in GPT-2's manner around a model of `tokenizers`."""
    package = tokenizers_package()
    backend = package.Tokenizer(model)
    backend.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = package.decoders.ByteLevel()
    return backend


def _lines(text: str) -> Iterator[str]:
    """The text in pieces that end where words do."""
    start = 0
    while start < len(text):
        end = start + _TRAINED_AT_ONCE
        end = text.find("\n", end) + 1 or len(text)
        yield text[start:end]
        start = end


def _piece_of(backend: Any) -> Callable[[str], bytes]:
    """What gives a token's bytes, by the decoder."""
    decoder = _kinds(json.loads(backend.decoder.__getstate__()) if backend.decoder else {})
    if "ByteLevel" in decoder:
        return _byte_level_piece()
    if decoder & {"ByteFallback", "Metaspace", "Fuse"}:
        return _sentencepiece_piece
    found = ", ".join(sorted(decoder)) or "none"
    raise ValueError(f"a decoder that isn't supported: {found}")


def _kinds(decoder: dict[str, Any]) -> set[str]:
    """The types of a decoder and of those that it is made of."""
    inner = [_kinds(part) for part in decoder.get("decoders", ())]
    return set().union(*inner) | ({decoder["type"]} if "type" in decoder else set())


def _byte_level_piece() -> Callable[[str], bytes]:
    table = {ord(character): byte for byte, character in enumerate(byte_alphabet())}
    known = set(map(chr, table))

    def piece(token: str) -> bytes:
        if known.issuperset(token):
            return token.translate(table).encode("latin-1")
        return token.encode()  # not made of bytes: it stands for itself

    return piece


def _sentencepiece_piece(token: str) -> bytes:
    byte = _BYTE_TOKEN.fullmatch(token)
    return bytes.fromhex(byte[1]) if byte else token.replace(SPACE, " ").encode()
