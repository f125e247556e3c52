"""What changes the logits: each against the plain loop that does it by its formula."""

import numpy as np
import pytest

from litegpt.generation import Penalties, generate, stream

PROMPT = [4, 4, 9, 2]
NEW = 40


def run(model, **options) -> list[int]:
    return generate(model, PROMPT, NEW, temperature=0, **options)[0, len(PROMPT) :].tolist()


def test_repetition_penalty(rotary, backend, by_hand) -> None:
    def choose(logits: np.ndarray, ids: list[int]) -> int:
        for i in set(ids):
            logits[i] = logits[i] / 1.3 if logits[i] > 0 else logits[i] * 1.3
        return int(logits.argmax())

    expected = by_hand(rotary, PROMPT, NEW, choose)
    assert run(rotary, repetition_penalty=1.3) == expected != by_hand(rotary, PROMPT, NEW)


@pytest.mark.parametrize("presence, frequency", [(0.7, 0.0), (0.0, 0.4), (0.5, 0.2), (-1.0, 0.0)])
def test_presence_and_frequency_penalty(rotary, backend, by_hand, presence, frequency) -> None:
    def choose(logits: np.ndarray, ids: list[int]) -> int:
        generated = ids[len(PROMPT) :]
        for i in set(generated):
            logits[i] -= presence + frequency * generated.count(i)
        return int(logits.argmax())

    expected = by_hand(rotary, PROMPT, NEW, choose)
    penalties = {"presence_penalty": presence, "frequency_penalty": frequency}
    assert run(rotary, **penalties) == expected != by_hand(rotary, PROMPT, NEW)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_ngram_twice(rotary, backend, size) -> None:
    new = 26 if size == 1 else 60  # of 31 ids the prompt holds three
    ids = generate(rotary, PROMPT[1:], new, temperature=0, no_repeat_ngram_size=size)[0].tolist()
    grams = [tuple(ids[i : i + size]) for i in range(len(ids) - size + 1)]
    assert len(set(grams)) == len(grams)


def test_ngrams_that_are_allowed_stay_the_likeliest(rotary, backend, by_hand) -> None:
    def choose(logits: np.ndarray, ids: list[int]) -> int:
        seen = {tuple(ids[i : i + 2]) for i in range(len(ids) - 1)}
        return next(i for i in np.argsort(-logits, kind="stable").tolist()
                    if (ids[-1], i) not in seen)  # fmt: skip

    assert run(rotary, no_repeat_ngram_size=2) == by_hand(rotary, PROMPT, NEW, choose)


def test_logit_bias(rotary, backend, by_hand) -> None:
    bias = {7: 2.5, 3: -np.inf, 11: -1}

    def choose(logits: np.ndarray, ids: list[int]) -> int:
        for i, added in bias.items():
            logits[i] += added
        return int(logits.argmax())

    expected = by_hand(rotary, PROMPT, NEW, choose)
    assert run(rotary, logit_bias=bias) == expected != by_hand(rotary, PROMPT, NEW)
    favourite = by_hand(rotary, PROMPT, 1)[0]
    assert favourite not in run(rotary, logit_bias={favourite: -np.inf})
    assert run(rotary, logit_bias={5: 1e4}) == [5] * NEW


def test_min_new_tokens_holds_off_the_stop_ids(rotary, backend) -> None:
    stops = run(rotary)[:3]
    assert len(run(rotary, stop_ids=stops)) == 1
    held = run(rotary, stop_ids=stops, min_new_tokens=9)
    assert not set(held[:9]) & set(stops)
    assert len(held) >= 9
    # a number so small that the prompt's length plus it would be too much for its type
    prompt = np.tile(PROMPT, 30)
    held, same = (
        generate(rotary, prompt, 30, temperature=0, stop_ids=list(range(30)), min_new_tokens=least)
        for least in (20, np.int8(20))
    )
    np.testing.assert_array_equal(same, held)
    assert held.shape[1] >= 140


def test_processors_see_the_row_and_change_it(rotary, backend) -> None:
    seen = []

    def not_twice_in_a_row(ids: np.ndarray, logits: np.ndarray) -> None:
        seen.append(ids.tolist())
        logits[ids[-1]] = -np.inf

    prompts = [PROMPT, [1, 2]]
    first, second = generate(rotary, prompts, 6, seed=0, processors=[not_twice_in_a_row])
    assert all((row[1:] != row[:-1])[len(p) - 1 :].all()
               for row, p in zip((first, second), prompts, strict=True))  # fmt: skip
    assert seen[::2] == [first[: 4 + i].tolist() for i in range(6)]
    assert seen[1::2] == [second[: 2 + i].tolist() for i in range(6)]


def test_a_row_with_penalties_is_that_row_alone(rotary, backend) -> None:
    options = {
        "seed": 3, "repetition_penalty": 1.2, "frequency_penalty": 0.3, "no_repeat_ngram_size": 3
    }  # fmt: skip
    prompts = [[1, 2, 3], [4], [5, 6]]
    for prompt, row in zip(prompts, generate(rotary, prompts, 70, **options), strict=True):
        np.testing.assert_array_equal(row, generate(rotary, prompt, 70, **options)[0])


def test_nothing_left_to_choose_is_an_error(rotary, backend) -> None:
    with pytest.raises(ValueError, match="row 0 of the logits"):
        generate(rotary, PROMPT, 1, logit_bias=dict.fromkeys(range(31), -np.inf))


@pytest.mark.parametrize("options, message", [
    ({"repetition_penalty": 0}, "repetition_penalty must be a number from .*, not 0"),
    ({"repetition_penalty": np.nan}, "repetition_penalty must be"),
    ({"repetition_penalty": 1e-320}, "repetition_penalty must be a number from 1e-30 to 1e.30 "),
    ({"presence_penalty": np.inf}, "presence_penalty must be a number from -1e.30 to 1e.30 "),
    ({"presence_penalty": -1e39}, "presence_penalty must be a number .*, not -1e.39"),
    ({"frequency_penalty": "1"}, "frequency_penalty must be a number .*, not '1'"),
    ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size must be an integer of 0 or more"),
    ({"logit_bias": [1]}, "logit_bias must be a mapping"),
    ({"logit_bias": {1: np.inf}}, "logit_bias must be of numbers from -1e.30 to 1e.30, or -inf"),
    ({"logit_bias": {1: 1e39}}, "logit_bias must be of numbers .*, not 1e.39"),
    ({"logit_bias": {1: np.ones(2)}}, "logit_bias must be of numbers .*, not array"),
    ({"logit_bias": {31: 1.0}}, "logit_bias must be ids from 0 to 30, not 31"),
    ({"processors": [3]}, r"processors must be functions of \(ids, logits\), not 3"),
    ({"processors": len}, r"processors must be a list of functions of \(ids, logits\), not <"),
    ({"min_new_tokens": -1}, "min_new_tokens must be an integer of 0 or more"),
])  # fmt: skip
def test_bad_arguments_are_named_at_once(rotary, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        stream(rotary, PROMPT, **options)


def test_the_largest_numbers_leave_something_to_choose(rotary, backend) -> None:
    for options in (
        {"repetition_penalty": 1e30}, {"repetition_penalty": 1e-30}, {"presence_penalty": -1e30},
        {"frequency_penalty": 1e30}, {"logit_bias": {3: 1e30, 4: -1e30}},
    ):  # fmt: skip
        assert len(run(rotary, **options)) == NEW


def test_the_defaults_do_nothing() -> None:
    assert list(Penalties().of_row(5, 31)) == []
