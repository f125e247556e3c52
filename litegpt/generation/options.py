"""All that generation can be told, each thing checked where it belongs."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from litegpt.generation.arguments import check_integer, id_array, refuse
from litegpt.generation.penalties import Penalties, Processor, forbidden_until
from litegpt.generation.prompt_cache import PromptCache
from litegpt.generation.sampling import Sampling
from litegpt.generation.stopping import Stopping
from litegpt.kernels.reference.embedding import check_ids
from litegpt.models import GPTModel

_OVERFLOWS = ("slide", "halve", "error")


@dataclass(frozen=True)
class Reading:
    """How the text is read.

    - `num_return_sequences`: texts for each prompt, which is read once
    - `use_cache`: if False everything is computed anew for each token; the tokens are the same
    - `cache`: a PromptCache: what the call before has read isn't read again
    - `speculate`: ids that are guessed from the text and checked in one pass (0: none)
    - `on_overflow`: past model.max_seq_len: "slide" goes on from the last max_seq_len tokens,
      "halve" drops the first half of them whenever they are full, which is much faster, "error"
      refuses, beforehand, what would not fit
    """

    num_return_sequences: int = 1
    use_cache: bool = True
    cache: PromptCache | None = None
    speculate: int = 0
    on_overflow: str = "slide"

    def __post_init__(self) -> None:
        check_integer("num_return_sequences", self.num_return_sequences, 1)
        check_integer("speculate", self.speculate, 0, " (0: no guesses)")
        if not isinstance(self.use_cache, bool):
            raise refuse("use_cache", "True or False", self.use_cache)
        if not isinstance(self.on_overflow, str) or self.on_overflow not in _OVERFLOWS:
            raise refuse("on_overflow", '"slide", "halve" or "error"', self.on_overflow)
        if self.cache is not None and not isinstance(self.cache, PromptCache):
            raise refuse("cache", "None or a PromptCache", self.cache)
        if not self.use_cache and (self.cache is not None or self.speculate):
            raise ValueError("use_cache must be True for cache and speculate")


@dataclass(frozen=True)
class Options:
    sampling: Sampling
    penalties: Penalties
    stopping: Stopping
    reading: Reading

    @classmethod
    def of(cls, **given: Any) -> Self:
        """The options of these names; TypeError for a name that there isn't.

        NumPy's numbers become Python's, which don't overflow when something is added.
        """
        if unknown := given.keys() - set().union(*_NAMES.values()):
            allowed = ", ".join(sorted(set().union(*_NAMES.values())))
            raise TypeError(f"unknown argument {min(unknown)!r} (allowed: {allowed})")
        given = {n: v.item() if isinstance(v, np.generic) else v for n, v in given.items()}
        return cls(*(
            room(**{name: given[name] for name in given.keys() & names})
            for room, names in _NAMES.items()
        ))  # fmt: skip

    def check(self, model: GPTModel, prompts: Sequence[np.ndarray]) -> None:
        """ValueError for what doesn't go together with a model and prompts.

        IndexError for an id in them that the model doesn't know.
        """
        longest, new = max(map(len, prompts)), self.stopping.max_new_tokens
        if self.reading.on_overflow == "error" and longest + new > model.max_seq_len:
            raise ValueError(
                f"{longest} prompt tokens and {new} new ones are more than max_seq_len "
                f'{model.max_seq_len} (on_overflow="slide" goes on with the last ones)'
            )
        alone = {"cache": self.reading.cache is not None, "speculate": self.reading.speculate > 0}
        rows = len(prompts) * self.reading.num_return_sequences
        for name, given in alone.items():
            if given and rows > 1:
                raise ValueError(f"{name} must be left out for more than one row: {rows}")
        if self.reading.cache is not None and self.reading.cache.model is not model:
            raise ValueError("cache must be a PromptCache of this model, not of another")
        id_array("stop_ids", self.stopping.stop_ids, model.vocab_size)
        for prompt in prompts:
            check_ids(prompt, model.vocab_size)

    def processors(self, prompt_length: int, vocab_size: int) -> list[Processor]:
        """What changes the logits of a row."""
        made = list(self.penalties.of_row(prompt_length, vocab_size))
        if self.stopping.min_new_tokens and len(self.stopping.stop_ids):
            stop_ids = id_array("stop_ids", self.stopping.stop_ids, vocab_size)
            made.append(forbidden_until(prompt_length + self.stopping.min_new_tokens, stop_ids))
        return made


_NAMES: dict[type, set[str]] = {
    room: {field.name for field in fields(room)}
    for room in (Sampling, Penalties, Stopping, Reading)
}
