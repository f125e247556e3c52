"""Tokenizers that models came with: named tokens, and what the models expect around a text."""

import copy
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from litegpt.text.tokenizer import Tokenizer, as_text, refuse_surrogate
from litegpt.text.tokenizer_json import (
    CONFIG_NAME,
    EOS_IDS,
    FAST,
    FILE_NAME,
    GENERATION_NAME,
    write_objects,
)

END_OF_TEXT = "<|endoftext|>"  # between documents; GPT-2's word for it


class VocabularyTokenizer(Tokenizer):
    """A tokenizer whose tokens have names, with what a model expects around its texts.

    `encode` finds control tokens written out in the text, and puts nothing before it; `prefix`
    (a beginning-of-text id, say) is what the tokenizer's own file would put there.
    chat_template: jinja2's text, or None (see litegpt.text.chat).
    """

    kind = "subword"
    chat_template: str | None = None
    _bos_id: int | None = None

    def surrounded(
        self, eos_ids: Sequence[int], chat_template: str | None, bos_id: int | None = None
    ) -> Self:
        """The same with other surroundings; IndexError for an id that it hasn't."""
        other = copy.copy(self)
        other._surround(eos_ids, chat_template, bos_id)
        return other

    def _surround(
        self, eos_ids: Sequence[int], chat_template: str | None, bos_id: int | None = None
    ) -> None:
        for token_id in eos_ids if bos_id is None else [*eos_ids, bos_id]:
            self._check_id(token_id)
        self.eos_ids = tuple(dict.fromkeys(eos_ids))
        self.chat_template, self._bos_id = chat_template, bos_id

    @property
    def bos_id(self) -> int | None:
        """What templates call bos_token, be it put before other texts or not."""
        return next(iter(self.prefix), None) if self._bos_id is None else self._bos_id

    @abstractmethod
    def token_id(self, token: str) -> int | None:
        """The id of a token by its name in the vocabulary; None if it has none."""

    @abstractmethod
    def token_name(self, token_id: int) -> str | None:
        """The opposite."""

    def token_text(self, token_id: int) -> str:
        """How templates write a token."""
        return self.token_bytes(token_id).decode(errors="replace")

    def encode(self, text: str | bytes) -> np.ndarray:
        text = as_text(text)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise refuse_surrogate(error) from None
        return np.array(self._ids(text), np.int64)

    @abstractmethod
    def _ids(self, text: str) -> list[int]:
        """The ids of a text that UTF-8 can write; ValueError if a part of it has none."""

    def save(self, directory: str | Path) -> None:
        """Writes tokenizer.json and, as transformers reads them too, what is said beside it."""
        config: dict[str, Any] = dict(FAST)
        if self.eos_ids:
            config["eos_token"] = self.token_name(self.eos_ids[0])
        if self.bos_id is not None:
            config["bos_token"] = self.token_name(self.bos_id)
        if self.chat_template is not None:
            config["chat_template"] = self.chat_template
        generation = {EOS_IDS: list(self.eos_ids) or None}
        files = {FILE_NAME: self.to_json(), CONFIG_NAME: config, GENERATION_NAME: generation}
        write_objects(directory, files)
