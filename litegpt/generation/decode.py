"""The decode loop: a prompt in, one token per row and step out."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from litegpt import kernels
from litegpt.generation.sampling import Sampling
from litegpt.models import GPTModel
from litegpt.models.decoding import DecodingStep
from litegpt.nn.arrays import token_ids
from litegpt.nn.random import Seed, draw_seed

_DRAWN_AT_ONCE = 256  # uniforms per row


def generate(
    model: GPTModel,
    prompt_ids: ArrayLike,
    max_new_tokens: int = 50,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: Seed = None,
    *,
    min_p: float | None = None,
    use_cache: bool = True,
    on_overflow: str = "slide",
    stop_ids: Sequence[int] = (),
) -> np.ndarray:
    """Continues prompts: ids (B, P), or (P,) for one row -> (B, P + new) int64, the prompt first.

    temperature, top_k, top_p, min_p: see Sampling. A row that has produced one of stop_ids is
    filled up with it, and generation ends early once every row has; else `new` is max_new_tokens.

    Past model.max_seq_len, on_overflow "slide" goes on from the last max_seq_len tokens; "error"
    refuses, beforehand, what would not fit. use_cache=False computes everything anew for each
    token; the tokens are the same. Nothing is dropped out, whatever the model's mode.

    seed: None (drawn from NumPy's global state), an integer, or a numpy Generator, which is
    advanced by one draw. With an integer, a row gives what it gives alone with the same integer;
    rows with the same prompt differ, each being as the n-th of its like.

    ValueError for an empty prompt and for arguments out of range, IndexError for an id outside the
    vocabulary.
    """
    prompt = _prompt(prompt_ids)
    steps = stream(
        model,
        prompt,
        max_new_tokens,
        temperature,
        top_k,
        top_p,
        seed,
        min_p=min_p,
        use_cache=use_cache,
        on_overflow=on_overflow,
        stop_ids=stop_ids,
    )
    return np.concatenate([prompt, *(ids[:, None] for ids in steps)], axis=1)


def stream(
    model: GPTModel,
    prompt_ids: ArrayLike,
    max_new_tokens: int = 50,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: Seed = None,
    *,
    min_p: float | None = None,
    use_cache: bool = True,
    on_overflow: str = "slide",
    stop_ids: Sequence[int] = (),
) -> Iterator[np.ndarray]:
    """The new tokens of generate as they come: an iterator over ids (B,) int64.

    Arguments are checked at once. From the first token asked for to the last, the model is in
    evaluation mode and its weights are packed: changes of its parameters have no effect.
    """
    prompt = _prompt(prompt_ids)
    if not isinstance(max_new_tokens, int | np.integer) or max_new_tokens < 0:
        raise ValueError(f"max_new_tokens must be an integer of 0 or more, not {max_new_tokens!r}")
    if on_overflow not in ("slide", "error"):
        raise ValueError(f'on_overflow must be "slide" or "error", not {on_overflow!r}')
    length = prompt.shape[1] + int(max_new_tokens)
    if on_overflow == "error" and length > model.max_seq_len:
        raise ValueError(
            f"{prompt.shape[1]} prompt tokens and {max_new_tokens} new ones are more than "
            f'max_seq_len {model.max_seq_len} (on_overflow="slide" goes on with the last ones)'
        )
    sampling = Sampling(temperature, top_k, top_p, min_p)
    uniforms = _uniforms(prompt, draw_seed(seed))
    tokens = _decode(model, prompt, int(max_new_tokens), sampling, uniforms, use_cache)
    return _until_stopped(tokens, stop_ids) if len(stop_ids) else tokens


def _prompt(prompt_ids: ArrayLike) -> np.ndarray:
    try:
        ids = token_ids(prompt_ids)
    except ValueError:
        raise ValueError("prompt_ids must be rows of equal length") from None
    if ids.ndim == 1:
        ids = ids[None]  # (P,) -> (1, P)
    if ids.ndim != 2:
        raise ValueError(f"prompt_ids must have the shape (P,) or (B, P), not {ids.shape}")
    if ids.size == 0:
        raise ValueError("the prompt is empty: it must hold at least one id")
    return ids


def _uniforms(prompt: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """(B,) numbers in [0, 1) per step; a row's own depend on seed and on equal prompts before it.

    So a row in a batch draws what it draws alone, and equal prompts don't get equal texts.
    """
    seen: Counter[bytes] = Counter()
    generators = []
    for row in prompt:
        generators.append(np.random.default_rng((seed, seen[row.tobytes()])))
        seen[row.tobytes()] += 1
    while True:
        drawn = [generator.random(_DRAWN_AT_ONCE) for generator in generators]
        yield from np.stack(drawn, axis=1)  # (steps, B)


def _decode(
    model: GPTModel,
    prompt: np.ndarray,
    max_new_tokens: int,
    sampling: Sampling,
    uniforms: Iterator[np.ndarray],
    use_cache: bool,
) -> Iterator[np.ndarray]:
    if max_new_tokens == 0:
        return
    rows, limit = len(prompt), model.max_seq_len
    window = np.empty((rows, limit), np.int64)  # the last tokens
    length = min(prompt.shape[1], limit)
    window[:, :length] = prompt[:, -length:]
    arguments = sampling.kernel_arguments(model.vocab_size)
    cache = model.new_cache(rows, min(limit, length + max_new_tokens - 1))
    step = DecodingStep(model, cache)
    with model.evaluating(), model.packed_weights():
        logits = model.next_logits(window[:, :length], cache)  # (B, P) -> (B, V)
        for remaining in range(max_new_tokens - 1, -1, -1):
            ids, _ = kernels.sample(logits, next(uniforms), *arguments)
            yield ids
            if not remaining:
                return
            if length < limit:
                window[:, length] = ids
                length += 1
                if use_cache:
                    logits = step(ids)  # (B,) -> (B, V)
                    continue
            else:  # every token's position changes: nothing cached holds any more
                window[:, :-1] = window[:, 1:]
                window[:, -1] = ids
            cache.reset()
            logits = model.next_logits(window[:, :length], cache)  # (B, T) -> (B, V)


def _until_stopped(tokens: Iterator[np.ndarray], stop_ids: Sequence[int]) -> Iterator[np.ndarray]:
    """The tokens up to the step in which the last row stops; a row that has stopped repeats."""
    stopped = np.array(False)
    previous = np.array(0)
    for ids in tokens:
        ids = np.where(stopped, previous, ids)
        yield ids
        stopped, previous = np.isin(ids, stop_ids), ids
        if stopped.all():
            return
