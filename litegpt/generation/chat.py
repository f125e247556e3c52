"""A conversation with a model."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from litegpt.generation.arguments import check_integer, refuse
from litegpt.generation.prompt_cache import PromptCache
from litegpt.generation.text_model import TextModel
from litegpt.text.chat import ChatTemplate


class Chat:
    """`say(text)` answers, knowing what was said before.

    Each turn reads only what is new (see PromptCache). When the conversation no longer leaves
    room for an answer, the oldest turns are forgotten. options are those of generate.
    """

    def __init__(self, text_model: TextModel, system: str | None = None, **options: Any) -> None:
        self._text_model, self._options = text_model, options
        self._template = ChatTemplate.of(text_model.tokenizer)
        self._cache = PromptCache(text_model.model)
        self.reset(system)

    def reset(self, system: str | None = None) -> None:
        """Begins anew, with or without a message that says how to answer."""
        self.system = system
        self.messages = [] if system is None else [{"role": "system", "content": system}]

    def say(self, text: str, **options: Any) -> Iterator[str]:
        """The answer as it comes. Left early, what has come of it counts as said.

        ValueError if the template or the tokenizer refuses the text, or if it is too long; then
        it counts as not said. So does a text whose answer nobody began to read.
        """
        if not isinstance(text, str):
            raise refuse("text", "a text", text)
        if self.messages and self.messages[-1]["role"] == "user":
            self.messages.pop()
        self.messages.append({"role": "user", "content": text})
        chosen = {**self._options, **options}
        try:
            new = chosen.get("max_new_tokens", 50)
            check_integer("max_new_tokens", new, 0)
            prompt = self._prompt(int(new))
            chosen = {"cache": self._cache, "stop": self._template.stop, **chosen}
            pieces = self._text_model.stream(prompt, **chosen)
        except BaseException:
            self.messages.pop()
            raise
        return self._answer(pieces)

    def _answer(self, pieces: Iterator[str]) -> Iterator[str]:
        said: list[str] = []
        try:
            for piece in pieces:
                said.append(piece)
                yield piece
        finally:
            pieces.close()  # type: ignore[attr-defined]  # a generator: the cache is free again
            self.messages.append({"role": "assistant", "content": "".join(said).strip()})

    def _prompt(self, new: int) -> np.ndarray:
        """The ids of the conversation, as many of its last turns as leave room for an answer."""
        tokenizer, limit = self._text_model.tokenizer, self._text_model.model.max_seq_len
        first = 0 if self.system is None else 1
        messages = list(self.messages)
        while True:
            ids = tokenizer.encode(self._template.render(messages))
            if len(ids) + min(new, limit // 4) <= limit:
                self.messages[:] = messages
                return ids
            if len(messages) <= first + 1:
                raise ValueError(f"{len(ids)} tokens leave no room for an answer in {limit}")
            del messages[first : first + 2]
