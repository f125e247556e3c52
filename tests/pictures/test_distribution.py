"""What the view says can be drawn is what kernels.sample draws."""

import numpy as np
import pytest

from litegpt import ByteTokenizer, CharTokenizer, kernels
from litegpt.pictures import NextToken, bars

SETTINGS = [
    (1.0, 0, 1.0, 0.0),
    (0.7, 0, 1.0, 0.0),
    (1.3, 20, 1.0, 0.0),
    (1.0, 0, 0.8, 0.0),
    (1.0, 0, 1.0, 0.1),
    (1.5, 30, 0.9, 0.05),
    (0.0, 5, 0.5, 0.0),
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_probabilities_are_those_of_sampling(backend: str, settings: tuple) -> None:
    """Drawn at 4,001 even steps, an id comes up as often as its probability says."""
    logits = (2 * np.random.default_rng(0).standard_normal(60)).astype(np.float32)
    found = NextToken.of(logits, *settings)
    steps = 4001
    uniforms = np.arange(steps) / steps
    drawn, _ = kernels.sample(np.repeat(logits[None], steps, axis=0), uniforms, *settings)
    shares = np.bincount(drawn, minlength=60)[found.ids] / steps
    np.testing.assert_allclose(shares, found.drawn, atol=2.5 / steps)
    assert found.model.sum() == pytest.approx(1) and found.warm.sum() == pytest.approx(1)
    assert (np.diff(found.model) <= 0).all()


def test_each_filter_says_what_it_removes() -> None:
    logits = np.log([0.4, 0.3, 0.15, 0.1, 0.05]).astype(np.float32)
    found = NextToken.of(logits, 1.0, 4, 0.85, 0.5)
    # top-k leaves 0.4 to 0.1; 0.4 + 0.3 + 0.15 reach 0.85 of their 0.95; 0.15 is below half of 0.4
    assert [found.removed_by(place) for place in range(5)] == ["", "", "min-p", "top-p", "top-k"]
    assert found.left == (4, 3, 2)
    np.testing.assert_allclose(found.drawn, [4 / 7, 3 / 7, 0, 0, 0], atol=1e-6)


def test_bars() -> None:
    logits = np.full(256, -np.inf, np.float32)
    logits[[97, 32, 10, 27]] = np.log([0.5, 0.25, 0.125, 0.125])
    lines = bars(NextToken.of(logits, 1.0, 3, 1.0, 0.0), ByteTokenizer(), rows=4, width=82)
    assert lines == [
        "token              model    at T   drawn",
        "a                 50.0 %  50.0 %  57.1 %  ████████████████████████████████",
        "␣                 25.0 %  25.0 %  28.6 %  ████████████████",
        "⏎                 12.5 %  12.5 %  14.3 %  ████████",
        "␛                 12.5 %  12.5 %       -  ░░░░░░░░ top-k",
        "252 more          0.00 %  0.00 %  0.00 %",
    ]


def test_a_padded_table_has_numbers_for_names() -> None:
    logits = np.zeros(300, np.float32)
    logits[299] = 5
    assert bars(NextToken.of(logits, 1, 0, 1, 0), ByteTokenizer(), 1, 80)[1].startswith("#299")


@pytest.mark.parametrize("worst", [np.nan, np.inf])
def test_logits_that_say_nothing(worst: float) -> None:
    with pytest.raises(ValueError, match="NaN or inf"):
        NextToken.of(np.array([0, worst, 1], np.float32), 1, 0, 1, 0)


def test_wide_and_long_tokens_keep_their_columns() -> None:
    class Long(CharTokenizer):
        def token_bytes(self, token_id: int) -> bytes:
            return ["ab", "日本語", "日本語" * 9, "e\u0301", "x" * 99][token_id].encode()

    lines = bars(NextToken.of(np.zeros(5, np.float32), 1, 0, 1, 0), Long("abcde"), 5, 80)[1:]
    labels = [line[: line.index("20.0 %")] for line in lines]
    assert [label.rstrip() for label in labels] == [
        "ab", "日本語", "日本語日本語日…", "e\u0301", "x" * 14 + "…",
    ]  # fmt: skip
    wide = [0, 3, 7, -1, 0]  # columns beyond the number of characters
    assert [len(label) + n for label, n in zip(labels, wide, strict=True)] == [18] * 5
