"""What changes the logits before a token is chosen: penalties, biases, prohibitions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real

import numpy as np

from litegpt.generation.arguments import check_integer, id_array, listed, refuse
from litegpt.nn.arrays import is_number

# processor(ids, logits): a row's ids (T,) so far, prompt first, and the logits (V,) of what comes
# next, which it changes in place.
Processor = Callable[[np.ndarray, np.ndarray], None]

_LARGEST = 1e30  # with which float32 logits don't overflow


@dataclass(frozen=True)
class Penalties:
    """What is done to the logits, in this order; the defaults do nothing.

    - `repetition_penalty`: above 1, logits of ids that the text or the prompt holds are divided by
      it (negative ones multiplied; Keskar et al., 2019, arXiv:1909.05858)
    - `presence_penalty`: taken off the logits of ids that have been generated
    - `frequency_penalty`: taken off as often as they have been generated
    - `logit_bias`: id -> number added to its logit; -inf forbids it
    - `no_repeat_ngram_size`: so many ids in a row never appear twice (0: they may)
    - `processors`: functions of (ids (T,), logits (V,)) that change the logits in place
    """

    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    no_repeat_ngram_size: int = 0
    processors: Sequence[Processor] = ()

    def __post_init__(self) -> None:
        if not is_number(self.repetition_penalty, 1 / _LARGEST, _LARGEST):
            allowed = f"a number from {1 / _LARGEST:g} to {_LARGEST:g} (1: none)"
            raise refuse("repetition_penalty", allowed, self.repetition_penalty)
        within = f"from {-_LARGEST:g} to {_LARGEST:g}"
        for name in ("presence_penalty", "frequency_penalty"):
            if not is_number(getattr(self, name), -_LARGEST, _LARGEST):
                raise refuse(name, f"a number {within} (0: none)", getattr(self, name))
        check_integer("no_repeat_ngram_size", self.no_repeat_ngram_size, 0, " (0: no limit)")
        if not isinstance(self.logit_bias, Mapping):
            raise refuse("logit_bias", "a mapping of ids to numbers", self.logit_bias)
        for bias in self.logit_bias.values():
            forbids = isinstance(bias, Real) and bias == -np.inf
            if not is_number(bias, -_LARGEST, _LARGEST) and not forbids:
                raise refuse("logit_bias", f"of numbers {within}, or -inf", bias)
        allowed = "functions of (ids, logits)"
        object.__setattr__(self, "processors", listed("processors", allowed, self.processors))
        for processor in self.processors:
            if not callable(processor):
                raise refuse("processors", allowed, processor)

    def of_row(self, prompt_length: int, vocab_size: int) -> Iterator[Processor]:
        """The processors of a row with so long a prompt."""
        if self.repetition_penalty != 1:
            yield _repetition(self.repetition_penalty)
        if self.presence_penalty or self.frequency_penalty:
            penalties = float(self.presence_penalty), float(self.frequency_penalty)
            yield _appearance(prompt_length, *penalties)
        if self.logit_bias:
            yield _bias(self.logit_bias, vocab_size)
        if self.no_repeat_ngram_size:
            yield _no_repeat(int(self.no_repeat_ngram_size))
        yield from self.processors


def _repetition(penalty: float) -> Processor:
    def process(ids: np.ndarray, logits: np.ndarray) -> None:
        seen = np.unique(ids)
        values = logits[seen]
        logits[seen] = np.where(values > 0, values / penalty, values * penalty)

    return process


def _appearance(prompt_length: int, presence: float, frequency: float) -> Processor:
    def process(ids: np.ndarray, logits: np.ndarray) -> None:
        seen, counts = np.unique(ids[prompt_length:], return_counts=True)
        logits[seen] -= presence + frequency * counts

    return process


def _bias(bias: Mapping[int, float], vocab_size: int) -> Processor:
    places = id_array("logit_bias", bias, vocab_size)
    added = np.array(list(bias.values()), np.float32)

    def process(ids: np.ndarray, logits: np.ndarray) -> None:
        logits[places] += added

    return process


def _no_repeat(size: int) -> Processor:
    def process(ids: np.ndarray, logits: np.ndarray) -> None:
        if len(ids) < size:
            return
        grams = np.lib.stride_tricks.sliding_window_view(ids, size)  # (T,) -> (T - n + 1, n)
        begun = (grams[:, :-1] == ids[len(ids) - size + 1 :]).all(axis=1)
        logits[grams[begun, -1]] = -np.inf

    return process


def forbidden_until(length: int, forbidden: np.ndarray) -> Processor:
    """Keeps ids from being chosen before the text is so long."""

    def process(ids: np.ndarray, logits: np.ndarray) -> None:
        if len(ids) < length:
            logits[forbidden] = -np.inf

    return process
