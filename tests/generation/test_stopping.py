"""Where generation ends: strings cut anyhow, time, the caller's word, and what is said of it."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litegpt.generation import StopStrings, complete, generate, stream

PROMPT = [4, 4, 9, 2]
pieces = st.lists(st.text("abc", max_size=4), max_size=12)
strings = st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3)


@given(pieces, strings)
def test_text_ends_before_the_first_stop_string_however_it_is_cut(pieces, strings) -> None:
    stop = StopStrings(strings)
    passed = [stop.feed(piece) for piece in pieces]
    found = stop.found
    passed.append(stop.flush())
    text = "".join(pieces)
    # the first string to be complete decides, of several at once the longest
    ends = [(text.index(s) + len(s), text.index(s)) for s in strings if s in text]
    assert found == bool(ends)
    assert "".join(passed) == (text[: min(ends)[1]] if ends else text)


@given(st.text("abc", max_size=12), strings)
def test_only_what_may_begin_a_stop_string_is_held_back(text, strings) -> None:
    stop = StopStrings(strings)
    passed = "".join(map(stop.feed, text))
    if not stop.found:
        held = text[len(passed) :]
        assert passed + held == text
        assert not held or any(s.startswith(held) for s in strings)


def test_stop_strings_have_to_be_texts() -> None:
    for wrong in ("", 3):
        with pytest.raises(ValueError, match="stop must be texts of one character or more"):
            StopStrings(["a", wrong])
    with pytest.raises(ValueError, match=r"stop must be a list of texts of .*, not None"):
        StopStrings(None)


def test_reasons_and_lengths(rotary, backend) -> None:
    free = generate(rotary, [PROMPT, [1]], 20, seed=5)
    stop_id = int(free[1][1 + 6])
    first, second = complete(rotary, [PROMPT, [1]], 20, seed=5, stop_ids=[stop_id])
    for row, completion, prompt in zip(free, (first, second), (PROMPT, [1]), strict=True):
        new = row[len(prompt) :].tolist()
        length = new.index(stop_id) + 1 if stop_id in new else 20
        assert completion.reason == ("stop" if stop_id in new else "length")
        assert completion.ids.tolist() == new[:length]
        assert completion.prompt.tolist() == prompt
        assert completion.logprobs is None


def test_the_caller_may_cancel(rotary) -> None:
    event = threading.Event()
    got = []
    for ids in stream(rotary, PROMPT, 50, seed=0, cancel=event.is_set):
        got.append(int(ids[0]))
        if len(got) == 7:
            event.set()
    assert len(got) == 8  # asked after the step that was under way
    assert got == generate(rotary, PROMPT, 8, seed=0)[0, 4:].tolist()
    (done,) = complete(rotary, PROMPT, 50, seed=0, cancel=lambda: True)
    assert (done.reason, len(done.ids)) == ("cancel", 1)


def test_no_step_begins_after_max_time(rotary) -> None:
    (done,) = complete(rotary, PROMPT, 50, seed=0, max_time=0)
    assert (done.reason, len(done.ids)) == ("time", 1)
    (done,) = complete(rotary, PROMPT, 20, seed=0, max_time=3600)
    assert (done.reason, len(done.ids)) == ("length", 20)


def test_logprobs_are_the_models_own(rotary, backend) -> None:
    options = {"temperature": 0.6, "top_k": 4, "repetition_penalty": 1.5, "seed": 2}
    for completion in complete(rotary, [PROMPT, [1, 5]], 15, logprobs=3, **options):
        ids = np.concatenate([completion.prompt, completion.ids])
        logits = rotary([ids[:-1]])[0, len(completion.prompt) - 1 :].astype(np.float64)
        expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(
            completion.logprobs, expected[np.arange(15), completion.ids], atol=1e-5
        )
        assert completion.top_ids.shape == completion.top_logprobs.shape == (15, 3)
        np.testing.assert_array_equal(completion.top_ids, np.argsort(-expected, axis=1)[:, :3])
        np.testing.assert_allclose(
            completion.top_logprobs, -np.sort(-expected, axis=1)[:, :3], atol=1e-5
        )


def test_logprobs_without_others_and_without_tokens(rotary) -> None:
    (done,) = complete(rotary, PROMPT, 5, logprobs=0, seed=0)
    assert done.logprobs.shape == (5,)
    assert done.top_ids.shape == (5, 0)
    (done,) = complete(rotary, PROMPT, 0, logprobs=2)
    assert (done.logprobs.shape, done.top_ids.shape) == ((0,), (0, 2))
    for new in (0, 1):  # not of more ids than there are
        (done,) = complete(rotary, PROMPT, new, logprobs=10**20, seed=0)
        assert done.top_ids.shape == done.top_logprobs.shape == (new, 31)


@pytest.mark.parametrize("options, message", [
    ({"max_time": -1}, "max_time must be None or seconds, 0 or more, not -1"),
    ({"max_time": np.nan}, "max_time must be"),
    ({"cancel": True}, "cancel must be None or a function without arguments, not True"),
    ({"logprobs": -1}, "logprobs must be an integer of 0 or more, not -1"),
    ({"ended": 3}, r"ended must be None or a function of .row, id., not 3"),
])  # fmt: skip
def test_bad_arguments(rotary, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        complete(rotary, PROMPT, **options)
