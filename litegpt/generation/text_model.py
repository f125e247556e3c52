"""Texts in, texts out: a model with its tokenizer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from litegpt import models
from litegpt.formats import ModelFormatError
from litegpt.generation.arguments import check_integer, check_text, id_array, listed, refuse
from litegpt.generation.decode import Completion, complete, stream
from litegpt.generation.scoring import Progress, score_ids
from litegpt.generation.stopping import StopStrings
from litegpt.models import GPTModel, hub, pretrained
from litegpt.nn.arrays import token_ids
from litegpt.text import StreamDecoder, Tokenizer, load_tokenizer, tokenizer_from_gguf

Prompt = str | bytes | np.ndarray  # ids (T,) are taken as they are


@dataclass(frozen=True)
class TextCompletion:
    """What became of one prompt: its text, without what ended it, and the tokens behind it."""

    text: str
    tokens: Completion


@dataclass(frozen=True)
class Score:
    """ids (T,) of a text and the natural-log probability (T,) of each, NaN where none is known."""

    ids: np.ndarray
    logprobs: np.ndarray


class TextModel:
    """A model and its tokenizer. Texts end before the tokenizer's eos_ids, or a stop id or string.

    options are those of litegpt.generation.generate. ValueError if the tokenizer has ids that the
    model has not.
    """

    def __init__(self, model: GPTModel, tokenizer: Tokenizer) -> None:
        if tokenizer.vocab_size > model.vocab_size:
            raise ValueError(
                f"the model has {model.vocab_size} tokens, its tokenizer {tokenizer.vocab_size}"
            )
        self.model, self.tokenizer = model, tokenizer

    @classmethod
    def from_pretrained(
        cls, path: str | Path, dtype: str | None = None, adapter: str | Path | None = None
    ) -> "TextModel":
        """From a directory, a GGUF file, or the hub: see GPTModel.from_pretrained.

        adapter is a directory of LoRA adapters, which are merged into the float32 weights before
        these become dtype.
        """
        if adapter is not None:
            made = cls.from_pretrained(path, "float32")
            models.load_lora(made.model, adapter)
            models.merge_lora(made.model)
            if dtype is not None:
                made.model.quantize(dtype)
            return made
        path = hub.local(Path(path))
        if not path.is_file():
            model = GPTModel.from_pretrained(path, dtype)
            return cls(model, load_tokenizer(path, model.vocab_size))
        file = pretrained.open_gguf(path)
        rows = pretrained.read_metadata(file)[1].vocab_size
        tokenizers = []

        def read_vocabulary() -> None:
            with _naming(path):
                tokenizers.append(tokenizer_from_gguf(file.metadata, rows))

        model = pretrained.load_gguf(GPTModel, file, dtype, meanwhile=read_vocabulary)
        with _naming(path):
            return cls(model, *tokenizers)

    def ids(self, prompt: Prompt) -> np.ndarray:
        """The ids (T,) of a text that stands at the beginning."""
        if isinstance(prompt, np.ndarray):
            if prompt.ndim != 1:
                raise ValueError(f"a prompt's ids must have the shape (T,), not {prompt.shape}")
            return token_ids(prompt)
        if not isinstance(prompt, str | bytes):
            raise refuse("a prompt", "a text, bytes, or an array of ids", prompt)
        return self.tokenizer.encode_prompt(prompt)

    def stream(
        self, prompt: Prompt, *, stop: Sequence[str] = (), echo: bool = False, **options: Any
    ) -> Iterator[str]:
        """The text after a prompt (with echo, the prompt too) as it comes, by whole characters."""
        if (copies := options.get("num_return_sequences", 1)) != 1:
            raise refuse("num_return_sequences", "1 where a text is streamed", copies)
        ids, options = self.ids(prompt), self._with_ends(options)
        text = _Text(self.tokenizer, _strings(stop), options["stop_ids"])
        tokens = stream(self.model, ids, **options)
        return self._pieces(tokens, text, text.begin(ids), echo)

    def _pieces(
        self, tokens: Iterator[np.ndarray], text: "_Text", prompt: str, echo: bool
    ) -> Iterator[str]:
        try:
            if echo and prompt:
                yield prompt
            for (token_id,) in tokens:
                if piece := text.feed(int(token_id)):
                    yield piece
                if text.ended:
                    break
            if rest := text.flush():
                yield rest
        finally:
            tokens.close()  # type: ignore[attr-defined]  # a generator

    def complete(
        self, prompts: Sequence[Prompt], *, stop: Sequence[str] = (), **options: Any
    ) -> list[TextCompletion]:
        """Each prompt's continuations (num_return_sequences of them, side by side).

        A prompt is a text, a file's bytes, or ids (T,). options are those of
        litegpt.generation.generate. ValueError for an empty prompt, for a character that the
        tokenizer has no id for, and for options that make no sense, naming them.
        """
        ids = [self.ids(prompt) for prompt in _several("prompts", prompts)]
        copies = options.get("num_return_sequences", 1)
        check_integer("num_return_sequences", copies, 1)
        copies, strings, options = int(copies), _strings(stop), self._with_ends(options)
        texts = [
            _Text(self.tokenizer, strings, options["stop_ids"]) for _ in ids for _ in range(copies)
        ]
        pieces: list[list[str]] = [[] for _ in texts]
        for row, text in enumerate(texts):
            text.begin(ids[row // copies])

        def ended(row: int, token_id: int) -> bool:
            pieces[row].append(texts[row].feed(token_id))
            return texts[row].ended

        rows = complete(self.model, ids, ended=ended, **options)
        return [
            TextCompletion("".join(pieces[row]) + texts[row].flush(), tokens)
            for row, tokens in enumerate(rows)
        ]

    def score(self, texts: Sequence[str | bytes], progress: Progress | None = None) -> list[Score]:
        """How likely the model holds each token of each text, after those before it.

        In natural logarithms of probabilities; NaN for a first token that nothing stands before.
        progress is called with how many tokens of a text are scored, and how many it has.
        """
        made = []
        for text in _several("texts", texts):
            check_text("each of texts", text)
            ids = self.tokenizer.encode_prompt(text)
            logprobs = np.empty(0, np.float32)
            if len(ids):
                logprobs = score_ids(self.model, ids, progress=progress)
            unknown = np.full(len(ids) - len(logprobs), np.nan, np.float32)
            own = slice(len(self.tokenizer.prefix), None)
            made.append(Score(ids[own], np.concatenate([unknown, logprobs])[own]))
        return made

    def _with_ends(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options, with the tokenizer's eos_ids among stop_ids."""
        own = id_array("stop_ids", options.get("stop_ids", ()), self.model.vocab_size)
        return options | {"stop_ids": (*own.tolist(), *self.tokenizer.eos_ids)}


def _strings(stop: Sequence[str]) -> tuple[str, ...]:
    """The stop strings, checked; a single one may stand alone."""
    return StopStrings([stop] if isinstance(stop, str) else stop).strings


def _several(name: str, texts: Sequence[Any]) -> list[Any]:
    """The texts; ValueError for a single one, whose characters would be taken for texts."""
    if isinstance(texts, str | bytes):
        raise refuse(name, "a list of texts", texts)
    return listed(name, "texts", texts)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """What is wrong within is the file's fault, and a ModelFormatError."""
    try:
        yield
    except ValueError as error:
        raise ModelFormatError(f"{path}: {error}") from None


class _Text:
    """The text of one row as its ids come, up to what ends it."""

    def __init__(
        self, tokenizer: Tokenizer, strings: Sequence[str], stop_ids: Sequence[int]
    ) -> None:
        self._decoder, self._known = StreamDecoder(tokenizer), tokenizer.vocab_size
        self._stop_ids = frozenset(stop_ids)
        self._strings = StopStrings(strings)
        self.ended = False

    def begin(self, ids: np.ndarray) -> str:
        """The prompt's text, but for a last character that isn't whole: that comes later."""
        return "".join(self._decoder.feed(int(i)) for i in ids if i < self._known)

    def feed(self, token_id: int) -> str:
        """What this id adds; nothing if it ends the text, or stands for nothing."""
        if token_id in self._stop_ids or token_id >= self._known:
            return ""
        piece = self._strings.feed(self._decoder.feed(token_id))
        self.ended = self._strings.found
        return piece

    def flush(self) -> str:
        return self._strings.feed(self._decoder.flush()) + self._strings.flush()
