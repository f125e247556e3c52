"""Speculative decoding by prompt lookup: the same tokens in fewer passes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litegpt.generation import PromptCache, complete, generate, stream
from litegpt.generation.lookahead import continuation
from litegpt.models import GPTModel

PROMPT = [4, 4, 9, 2, 4, 9, 2, 7]


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("options", [
    {"temperature": 0},
    {"seed": 1},
    {"seed": 2, "temperature": 0.5, "top_k": 5, "top_p": 0.9},
    {"seed": 3, "temperature": 0.3, "repetition_penalty": 1.1, "no_repeat_ngram_size": 6},
    {"temperature": 0, "on_overflow": "halve"},
])  # fmt: skip
def test_the_same_tokens(rotary, backend, count, options) -> None:
    """100 tokens in a context of 64."""
    np.testing.assert_array_equal(
        generate(rotary, PROMPT, 100, speculate=count, **options),
        generate(rotary, PROMPT, 100, **options),
    )


def test_fewer_passes_where_the_text_repeats(rotary, monkeypatch) -> None:

    def counting(ids: np.ndarray, logits: np.ndarray) -> None:
        logits[(ids[-1] + 1) % 7] += 1000

    options = {"temperature": 0, "processors": [counting]}
    plain = generate(rotary, PROMPT, 50, **options)
    passes = []
    next_logits = GPTModel.next_logits

    def counted(self, ids, *rest, **options):
        passes.append(np.asarray(ids).size)
        return next_logits(self, ids, *rest, **options)

    monkeypatch.setattr(GPTModel, "next_logits", counted)
    monkeypatch.setattr("litegpt.generation.batch.DecodingStep", Unrecorded)
    looked_ahead = generate(rotary, PROMPT, 50, speculate=6, **options)
    np.testing.assert_array_equal(looked_ahead, plain)
    assert len(passes) < 20  # 7 the first time round, then 7 at once
    assert max(passes[1:]) == 7


class Unrecorded:
    """A DecodingStep whose every step can be counted."""

    def __init__(self, model, cache) -> None:
        self.model, self.cache = model, cache

    def __call__(self, ids):
        return self.model.next_logits(ids[:, None], self.cache)


def test_logprobs_and_stops_are_the_same(rotary, backend) -> None:
    options = {"temperature": 0, "logprobs": 2, "stop_ids": [30]}
    (plain,) = complete(rotary, PROMPT, 50, **options)
    (ahead,) = complete(rotary, PROMPT, 50, speculate=5, **options)
    assert ahead.ids.tolist() == plain.ids.tolist()
    np.testing.assert_allclose(ahead.logprobs, plain.logprobs, atol=1e-5)
    np.testing.assert_array_equal(ahead.top_ids, plain.top_ids)


def test_a_prompt_cache_holds_only_what_was_chosen(rotary, backend) -> None:
    cache = PromptCache(rotary)
    steps = stream(rotary, PROMPT, 50, temperature=0, speculate=8, cache=cache)
    text = PROMPT + [int(next(steps)[0]) for _ in range(20)]
    steps.close()
    assert cache.ids.tolist() == text[: len(cache)]
    assert len(cache) >= len(text) - 1
    again = generate(rotary, text, 9, temperature=0, cache=cache, speculate=4)
    np.testing.assert_array_equal(again, generate(rotary, text, 9, temperature=0))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 6))
def test_a_guess_is_what_followed_the_same_ids(text: list[int], count: int) -> None:
    guess = continuation(np.array(text), count)
    assert len(guess) <= count
    joined = ",".join(map(str, text))
    if guess:
        assert ",".join(map(str, text[-2:] + guess)) in joined
    else:
        pairs = list(zip(text[:-2], text[1:-1], strict=True))
        assert tuple(text[-2:]) not in pairs


def test_bad_arguments(rotary) -> None:
    with pytest.raises(ValueError, match=r"speculate must be an integer of 0 or more .*, not -1"):
        generate(rotary, PROMPT, speculate=-1)
    with pytest.raises(ValueError, match="speculate must be left out for more than one row: 2"):
        generate(rotary, PROMPT, speculate=2, num_return_sequences=2)
