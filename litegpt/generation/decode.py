"""The decode loop: prompts in, one token per row and step out."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from litegpt import kernels
from litegpt.generation.arguments import check_integer, refuse
from litegpt.generation.batch import Batch
from litegpt.generation.lookahead import Lookahead
from litegpt.generation.options import Options
from litegpt.generation.stopping import Ending
from litegpt.models import GPTModel
from litegpt.nn.arrays import token_ids
from litegpt.nn.random import Seed, draw_seed

Prompts = ArrayLike | Sequence[np.ndarray]

_DRAWN_AT_ONCE = 256  # uniforms per row


def generate(
    model: GPTModel,
    prompt_ids: Prompts,
    max_new_tokens: int = 50,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: Seed = None,
    **options: Any,
) -> Any:
    """Continues prompts: ids (B, P), or (P,) for one row -> (B, P + new) int64, the prompt first.

    Prompts of unequal length, as a list -> a list of arrays (P + new,), each of which ends where
    its own row does. options: see Sampling, Penalties, Stopping and Reading.

    In an array, a row that has produced one of stop_ids is filled up with it, and generation ends
    early once every row has; else `new` is max_new_tokens. Nothing is dropped out, whatever the
    model's mode.

    seed: None (drawn from NumPy's global state), an integer, or a numpy Generator, which is
    advanced by one draw. With an integer, a row gives what it gives alone with the same integer;
    rows with the same prompt differ, each being as the n-th of its like.

    ValueError for an empty prompt and for arguments out of range, IndexError for an id outside the
    vocabulary.
    """
    prompts = _prompts(prompt_ids)
    run = _Run(model, prompts, seed, max_new_tokens=max_new_tokens, temperature=temperature,
               top_k=top_k, top_p=top_p, **options)  # fmt: skip
    new = np.concatenate([np.empty(0, np.int64), *run.tokens()])  # (new B,)
    grown = new.reshape(-1, len(run.prompts)).T  # (B, new)
    if len({len(prompt) for prompt in prompts}) == 1:
        return np.concatenate([np.stack(run.prompts), grown], axis=1)
    lengths = run.ending.lengths
    rows = zip(run.prompts, grown, lengths, strict=True)
    return [np.concatenate([prompt, row[:length]]) for prompt, row, length in rows]


def stream(
    model: GPTModel,
    prompt_ids: Prompts,
    max_new_tokens: int = 50,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: Seed = None,
    **options: Any,
) -> Iterator[np.ndarray]:
    """The new tokens of generate as they come: an iterator over ids (B,) int64.

    Arguments are checked at once. From the first token asked for to the last, the model is in
    evaluation mode and its weights are packed: changes of its parameters have no effect.
    """
    return _Run(model, _prompts(prompt_ids), seed, max_new_tokens=max_new_tokens,
                temperature=temperature, top_k=top_k, top_p=top_p, **options).tokens()  # fmt: skip


@dataclass(frozen=True)
class Completion:
    """What became of one row.

    ids (T,) are new, the one that ended the row included. reason: "stop" (one of stop_ids, or a
    stop string), "length", "time" or "cancel". logprobs (T,), if asked for: natural-log
    probabilities of ids by the model itself, before temperature, penalties and filters;
    top_ids and top_logprobs (T, n): those of the n likeliest ids, the likeliest first.
    """

    prompt: np.ndarray
    ids: np.ndarray
    reason: str
    logprobs: np.ndarray | None = None
    top_ids: np.ndarray | None = None
    top_logprobs: np.ndarray | None = None


def complete(
    model: GPTModel,
    prompt_ids: Prompts,
    max_new_tokens: int = 50,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: Seed = None,
    *,
    logprobs: int | None = None,
    ended: Callable[[int, int], bool] | None = None,
    **options: Any,
) -> list[Completion]:
    """generate's rows one by one, with why they ended and, if asked for, how likely they were.

    logprobs: None, or of how many of the likeliest ids besides the chosen one (0: of none).
    ended(row, id), if given, is asked after each new id and ends the row when it says so.
    """
    if logprobs is not None:
        check_integer("logprobs", logprobs, 0)
        logprobs = min(int(logprobs), model.vocab_size)
    if ended is not None and not callable(ended):
        raise refuse("ended", "None or a function of (row, id)", ended)
    run = _Run(model, _prompts(prompt_ids), seed, ended, max_new_tokens=max_new_tokens,
               temperature=temperature, top_k=top_k, top_p=top_p, **options)  # fmt: skip
    steps: list[tuple[np.ndarray, ...]] = []
    for ids in run.tokens():
        if logprobs is None:
            steps.append((ids,))
        else:
            steps.append((ids, *_likelihoods(run.logits, ids, logprobs)))
    made = []
    for row, prompt in enumerate(run.prompts):
        mine = steps[: run.ending.lengths[row]]
        ids = np.array([step[0][row] for step in mine], np.int64)
        likelihoods = []
        if logprobs is not None:
            shapes = ((0,), (0, logprobs), (0, logprobs))
            for part, (shape, kind) in enumerate(zip(shapes, "fif", strict=True), start=1):
                values = [step[part][row] for step in mine] or np.empty(shape)
                likelihoods.append(np.array(values, np.float32 if kind == "f" else np.int64))
        made.append(Completion(prompt, ids, run.ending.reasons[row], *likelihoods))
    return made


def _likelihoods(logits: np.ndarray, ids: np.ndarray, top: int) -> tuple[np.ndarray, ...]:
    """Log-probabilities (B,) of ids, and the likeliest ids (B, n) with theirs."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    logprobs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))  # (B, V)
    best = np.argsort(-logprobs, axis=1, kind="stable")[:, :top]  # (B, n), of equals the smaller
    return (np.take_along_axis(logprobs, ids[:, None], 1)[:, 0], best,
            np.take_along_axis(logprobs, best, 1))  # fmt: skip


class _Run:
    """One call: its rows and options, checked, and what is known of it while it goes on."""

    def __init__(
        self,
        model: GPTModel,
        prompts: list[np.ndarray],
        seed: Seed,
        ended: Callable[[int, int], bool] | None = None,
        **options: Any,
    ) -> None:
        self.model, self.options = model, Options.of(**options)
        self.options.check(model, prompts)
        copies = self.options.reading.num_return_sequences
        try:  # the model's own, of the last step: before anything else that grows with the rows
            self.logits = np.empty((len(prompts) * copies, model.vocab_size), np.float32)
        except (MemoryError, ValueError):
            raise MemoryError(f"num_return_sequences {copies} is more than memory holds") from None
        self.prompts = [prompt for prompt in prompts for _ in range(copies)]
        self.ending = Ending(self.options.stopping, len(self.prompts), ended)
        self.processors = [
            self.options.processors(len(prompt), model.vocab_size) for prompt in self.prompts
        ]
        self._uniforms: Iterator[np.ndarray] = (
            repeat(np.zeros(len(self.prompts)))  # nothing is drawn
            if seed is None and self.options.sampling.temperature == 0
            else _uniforms(self.prompts, draw_seed(seed))
        )

    def tokens(self) -> Iterator[np.ndarray]:
        """The ids (B,) of each step; a row that has ended repeats its last."""
        return self._until_ended() if self.ending.watches else self._steps()

    def _until_ended(self) -> Iterator[np.ndarray]:
        steps, ending = self._steps(), self.ending
        previous = np.zeros(len(self.prompts), np.int64)
        try:
            for ids in steps:
                if ending.any:
                    ids = np.where(ending.ended, previous, ids)
                over, previous = ending.after(ids), ids
                yield ids
                if over:
                    return
        finally:
            steps.close()  # type: ignore[attr-defined]  # a generator: the model is free again

    def _steps(self) -> Iterator[np.ndarray]:
        """The ids (B,) that are chosen, whether a row has ended or not."""
        model, reading = self.model, self.options.reading
        count, uniforms = int(self.options.stopping.max_new_tokens), self._uniforms
        if count == 0:
            return
        arguments = self.options.sampling.kernel_arguments(model.vocab_size)
        processing = any(self.processors)
        taken = nullcontext() if reading.cache is None else reading.cache.taken()
        with taken, model.evaluating(), model.packed_weights():
            batch = Batch(
                model,
                self.prompts,
                count,
                reading.use_cache,
                reading.on_overflow,
                reading.cache,
                int(reading.speculate),
            )
            reader = Lookahead(batch, int(reading.speculate)) if reading.speculate else batch
            try:
                logits = reader.first()
                for remaining in range(count - 1, -1, -1):
                    self.logits = logits
                    if processing:
                        logits = self._processed(logits, batch)
                    ids, _ = kernels.sample(logits, next(uniforms), *arguments)
                    yield ids
                    if remaining:
                        logits = reader.append(ids)
            finally:
                reader.close()

    def _processed(self, logits: np.ndarray, batch: Batch) -> np.ndarray:
        """A copy of the logits (B, V), changed by each row's processors."""
        logits = logits.copy()
        for row, processors in enumerate(self.processors):
            if self.ending.ended[row]:  # what is chosen for it no longer counts, nor may fail
                continue
            for process in processors:
                process(batch.row(row), logits[row])
        return logits


def _prompts(prompt_ids: Prompts) -> list[np.ndarray]:
    """The rows (P,), of whatever length each."""
    try:
        ids = token_ids(prompt_ids, "prompt_ids")
    except ValueError:  # rows of unequal length
        try:
            rows = [token_ids(row, "prompt_ids") for row in prompt_ids]  # type: ignore[union-attr]
        except ValueError:  # rows of rows
            rows = []
        if not rows or any(row.ndim != 1 for row in rows):
            raise ValueError("prompt_ids must be rows of ids, each (P,)") from None
    else:
        if ids.ndim not in (1, 2):
            raise ValueError(f"prompt_ids must have the shape (P,) or (B, P), not {ids.shape}")
        rows = list(ids if ids.ndim == 2 else ids[None])  # (P,) -> (1, P)
    if not rows or not all(row.size for row in rows):
        raise ValueError("the prompt is empty: it must hold at least one id")
    return rows


def _uniforms(prompts: Sequence[np.ndarray], seed: int) -> Iterator[np.ndarray]:
    """(B,) numbers in [0, 1) per step; a row's own depend on seed and on equal prompts before it.

    So a row in a batch draws what it draws alone, and equal prompts don't get equal texts.
    """
    seen: Counter[bytes] = Counter()
    generators = []
    for row in prompts:
        generators.append(np.random.default_rng((seed, seen[row.tobytes()])))
        seen[row.tobytes()] += 1
    while True:
        drawn = [generator.random(_DRAWN_AT_ONCE) for generator in generators]
        yield from np.stack(drawn, axis=1)  # (steps, B)
