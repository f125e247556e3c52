"""How likely a model holds a text."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from litegpt import kernels
from litegpt.generation.arguments import check_integer, check_text, refuse
from litegpt.kernels.reference.embedding import check_ids
from litegpt.models import GPTModel
from litegpt.nn.arrays import token_ids
from litegpt.text import Tokenizer

_READ_AT_ONCE = 256  # positions whose logits are in memory together

Progress = Callable[[int, int], None]  # tokens scored, tokens in all


def score_ids(
    model: GPTModel,
    ids: ArrayLike,
    context: int | None = None,
    stride: int | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Natural-log probabilities (T - 1,) float32 of ids[1:] (T,), each after those before it.

    A text longer than the context (model.max_seq_len if None) is read in windows of that size,
    each `stride` (half the context if None) after the one before, and every id is scored in the
    first window that reaches it: a smaller stride takes longer, and leaves each id more to go by.
    progress is called with how many are scored, and how many there are.
    IndexError for an id outside the vocabulary.
    """
    array = token_ids(ids)
    if array.ndim != 1:
        raise ValueError(f"ids must have the shape (T,), not {array.shape}")
    check_ids(array, model.vocab_size)
    context = model.max_seq_len if context is None else context
    check_integer("context", context, 1)
    context = int(context)
    if context > model.max_seq_len:
        raise refuse("context", f"at most max_seq_len {model.max_seq_len}", context)
    stride = max(1, context // 2) if stride is None else stride
    check_integer("stride", stride, 1)
    stride = int(stride)
    if stride > context:
        raise refuse("stride", f"at most the context {context}", stride)
    scores = np.empty(max(0, len(array) - 1), np.float32)
    done = 0
    with model.evaluating(), model.packed_weights():
        cache = model.new_cache(1, min(context, max(1, len(scores))))
        begin = 0
        while done < len(scores):
            end = min(begin + context, len(scores))
            cache.reset()
            whole = end - begin > model.config.steady_positions  # which a cache can't hold
            at_once = context if whole else _READ_AT_ONCE
            for start in range(begin, end, at_once):
                stop = min(start + at_once, end)
                kept = None if whole else cache
                logits = model.next_logits(array[start:stop], kept, every=stop > done)
                if stop > done:
                    first = max(start, done)
                    scores[first:stop] = _scored(logits[0, first - start :], array[first + 1 :])
                    if progress is not None:
                        progress(stop, len(scores))
            done, begin = end, begin + stride
    return scores


def _scored(logits: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Log-probabilities (T,) of the first T of ids under logits (T, V)."""
    logits = np.ascontiguousarray(logits)
    ids = np.ascontiguousarray(ids[: len(logits)])
    _, lse = kernels.cross_entropy(logits, ids)
    return logits[np.arange(len(ids)), ids] - lse


@dataclass(frozen=True)
class Evaluation:
    """tokens were scored, standing for so many bytes; nats: minus their log-probability in all."""

    tokens: int
    bytes: int
    nats: float

    @classmethod
    def of(cls, tokenizer: Tokenizer, ids: np.ndarray, logprobs: np.ndarray) -> "Evaluation":
        """Of ids (T,) and the log-probability (T,) of each."""
        length = sum(len(tokenizer.token_bytes(int(i))) for i in ids)
        return cls(len(ids), length, -float(logprobs.sum(dtype=np.float64)))

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))

    @property
    def bits_per_byte(self) -> float:
        """Which, unlike the others, compares models of different tokenizers."""
        return self.nats / math.log(2) / self.bytes


def evaluate(
    model: GPTModel,
    tokenizer: Tokenizer,
    text: str | bytes,
    context: int | None = None,
    stride: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """What score_ids says of a text; ValueError if it is too short to score anything.

    Where the tokenizer puts nothing before a text, its first token is read and not scored.
    """
    check_text("text", text)
    ids = tokenizer.encode_prompt(text)
    if len(ids) < 2:
        raise ValueError("the text must have two tokens or more to be scored")
    scores = score_ids(model, ids, context, stride, progress)
    scored = ids[max(1, len(tokenizer.prefix)) :]
    return Evaluation.of(tokenizer, scored, scores[len(scores) - len(scored) :])
