"""Windows: where they may lie, and what they hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litegpt.text import Example
from litegpt.training import Corpus, DocumentWindows, TextWindows

sizes = st.tuples(st.integers(1, 40), st.integers(0, 500))  # window, tokens beyond the least


def of_size(window: int, more: int) -> tuple[TextWindows, int]:
    """A text whose ids are their own places, so that every window says where it was cut."""
    tokens = window + 3 + window // 9 + more
    return TextWindows(np.arange(tokens), window), tokens


@given(sizes, st.integers(1, 20), st.integers(0, 2**32))
def test_batches_are_windows_of_the_training_part(size, batch_size, seed) -> None:
    data, tokens = of_size(*size)
    inputs, targets = data.batch(batch_size, np.random.default_rng(seed))
    assert inputs.shape == targets.shape == (batch_size, data.window)
    assert inputs.dtype == targets.dtype == np.int64
    assert inputs.flags.c_contiguous
    assert targets.flags.c_contiguous
    np.testing.assert_array_equal(inputs, inputs[:, :1] + np.arange(data.window))
    np.testing.assert_array_equal(targets, inputs + 1)
    assert inputs.min() >= 0
    assert targets.max() < tokens - max(2, tokens // 10)


@given(sizes, st.integers(1, 5), st.integers(1, 5))
def test_validation_is_windows_of_the_last_tenth(size, batch_size, batches) -> None:
    data, tokens = of_size(*size)
    got = list(data.validation_batches(batch_size, batches))
    assert len(got) == batches
    window = min(data.window, max(2, tokens // 10) - 1)
    for inputs, targets in got:
        assert inputs.shape == (batch_size, window)
        np.testing.assert_array_equal(inputs, inputs[:, :1] + np.arange(window))
        np.testing.assert_array_equal(targets, inputs + 1)
        assert inputs.min() >= tokens - max(2, tokens // 10)
        assert targets.max() < tokens
    again = data.validation_batches(batch_size, batches)
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(got, again, strict=True))


def test_validation_spreads_from_the_first_to_the_last_window() -> None:
    data = TextWindows(np.arange(1000), 9)
    starts = [inputs[:, 0] for inputs, _ in data.validation_batches(3, 2)]
    np.testing.assert_array_equal(np.concatenate(starts), [900, 918, 936, 954, 972, 990])


def test_every_window_comes_up() -> None:
    data = TextWindows(np.arange(20), 8)  # 18 tokens to train on: windows start at 0 to 9
    starts = data.batch(2000, np.random.default_rng(0))[0][:, 0]
    assert sorted(set(starts.tolist())) == list(range(10))


@pytest.mark.parametrize("window", range(1, 60))
def test_the_least_length_that_the_error_names_is_the_least(window: int) -> None:
    with pytest.raises(ValueError, match="tokens, too few for windows") as raised:
        TextWindows(np.arange(window + 1), window)
    least = int(str(raised.value).split(": ")[1].split()[0])
    TextWindows(np.arange(least), window)
    with pytest.raises(ValueError, match=f"the text has {least - 1} tokens"):
        TextWindows(np.arange(least - 1), window)


def test_no_text_and_no_window() -> None:
    with pytest.raises(ValueError, match="the text has 0 tokens"):
        TextWindows(np.arange(0), 4)
    with pytest.raises(ValueError, match="window must be 1 or more, not 0"):
        TextWindows(np.arange(100), 0)


def test_no_window_is_without_something_to_learn() -> None:
    """Prompts of 200 tokens and answers of 2: of windows of 8 drawn blindly one in 20 would do."""
    learned = np.arange(202) >= 200
    data = DocumentWindows(Corpus([Example(np.arange(202), learned)] * 30), 8)
    for seed in range(20):
        _, targets, _ = data.batch(3, np.random.default_rng(seed))
        assert (targets != -100).any(axis=1).all()
        assert set(targets[targets != -100]) <= {200, 201}
    with pytest.raises(ValueError, match="no window of 8 has anything to learn in it"):
        DocumentWindows(Corpus([Example(np.arange(20), np.zeros(20, bool))] * 30), 8)
