"""What `BytePairTokenizer` can't do: learn, and all other tokenizers of subwords.

Both are done by the package `tokenizers` (extra hf).
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from litegpt.text.byte import byte_alphabet, bytes_of_token
from litegpt.text.extras import import_extra
from litegpt.text.sentencepiece import SPACE
from litegpt.text.tokenizer import as_text
from litegpt.text.vocabulary import END_OF_TEXT, VocabularyTokenizer

_TRAINED_AT_ONCE = 1 << 20  # characters
_MOST_TOKENS = 1 << 19  # learned; the package takes memory for all, and their file is to be read
BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def tokenizers_package(purpose: str = "a tokenizer that isn't of byte pairs") -> Any:
    return import_extra("tokenizers", "hf", purpose)


class SubwordTokenizer(VocabularyTokenizer):
    """A tokenizer of Hugging Face's `tokenizers`, with what a model expects around it.

    vocab_size is looked up, which takes a while, unless it is given. ValueError for a tokenizer
    whose tokens don't stand for bytes of their own (no byte-level or byte-fallback decoder).
    """

    def __init__(
        self,
        backend: Any,
        eos_ids: Sequence[int] = (),
        chat_template: str | None = None,
        vocab_size: int | None = None,
    ) -> None:
        self.backend = backend
        self._piece = _piece_of(backend)
        # of SentencePiece's, the decoder spells them like all others
        by_bytes = self._piece is bytes_of_token
        self._added = backend.get_added_tokens_decoder() if by_bytes else {}
        self._pieces: dict[int, bytes] = {}  # by id, those that were asked for
        if vocab_size is None:  # ids may be left out
            vocab_size = max(backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        self.vocab_size = vocab_size
        self._surround(eos_ids, chat_template)
        probe = self._encoded("a", add_special_tokens=True)
        self.prefix = tuple(probe.ids[: [*probe.special_tokens_mask, 0].index(0)])
        self.space_first = self._strips_space()

    def __reduce__(self) -> tuple[Any, ...]:
        """What a process that tokenises needs to have its own."""
        arguments = self.backend, self.eos_ids, self.chat_template, self.vocab_size
        return type(self), arguments, {"_bos_id": self._bos_id}

    def _strips_space(self) -> bool:
        """Whether the decoder takes away a space at the beginning, which encoding put there."""
        ids = self._encoded("a").ids
        own = b"".join(map(self.token_bytes, ids)).decode(errors="replace")
        with _refusing("the tokenizer can't decode"):
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
        tokens, or fewer if the text has no more to merge. ValueError below 257 or above 524288.
        """
        if not 257 <= vocab_size <= _MOST_TOKENS:
            raise ValueError(
                f"vocab_size must be from 257 (all bytes, and the end) to {_MOST_TOKENS}, "
                f"not {vocab_size}"
            )
        package = tokenizers_package("learning byte pairs")
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
        with _refusing("the package tokenizers refuses it"):
            backend = package.Tokenizer.from_str(json.dumps(content))
        backend.no_truncation()
        backend.no_padding()
        return cls(backend)

    def to_json(self) -> dict[str, Any]:
        return json.loads(self.backend.to_str())

    def token_id(self, token: str) -> int | None:
        try:
            return self.backend.token_to_id(token)
        except UnicodeEncodeError:  # a surrogate is no character
            return None

    def token_name(self, token_id: int) -> str | None:
        return self.backend.id_to_token(token_id)

    def _ids(self, text: str) -> list[int]:
        return self._encoded(text).ids

    def _encoded(self, text: str, add_special_tokens: bool = False) -> Any:
        """What the package makes of a text; ValueError if it has no token for a part of it."""
        with _refusing(f"the tokenizer can't encode {text[:20]!r}"):
            return self.backend.encode(text, add_special_tokens=add_special_tokens)

    def token_bytes(self, token_id: int) -> bytes:
        """The UTF-8 bytes of a token; none for an id that the vocabulary leaves out."""
        piece = self._pieces.get(token_id)
        if piece is None:
            self._check_id(token_id)
            token = self.backend.id_to_token(token_id) or ""
            piece = token.encode() if token_id in self._added else self._piece(token)
            self._pieces[token_id] = piece
        return piece


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Makes a ValueError of whatever the package raises, which is nothing precise."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":  # Rust's
            raise ValueError(f"{what}: {error}") from None
        raise


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
        return bytes_of_token
    if decoder & {"ByteFallback", "Metaspace", "Fuse"}:
        return _sentencepiece_piece
    found = ", ".join(sorted(decoder)) or "none"
    raise ValueError(f"a decoder that isn't supported: {found}")


def _kinds(decoder: dict[str, Any]) -> set[str]:
    """The types of a decoder and of those that it is made of."""
    inner = [_kinds(part) for part in decoder.get("decoders", ())]
    return set().union(*inner) | ({decoder["type"]} if "type" in decoder else set())


def _sentencepiece_piece(token: str) -> bytes:
    byte = BYTE_TOKEN.fullmatch(token)
    return bytes.fromhex(byte[1]) if byte else token.replace(SPACE, " ").encode()
