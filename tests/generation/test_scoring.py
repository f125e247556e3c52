"""Log-probabilities of texts, whole and in windows, against those of forward."""

import math

import numpy as np
import pytest

from litegpt.generation import evaluate, score_ids
from litegpt.models import GPTModel
from litegpt.text import ByteTokenizer, CharTokenizer

IDS = np.random.default_rng(0).integers(31, size=200)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def test_scores_are_those_of_forward(rotary, backend) -> None:
    scores = score_ids(rotary, IDS[:64])
    expected = log_softmax(rotary([IDS[:63]])[0])[np.arange(63), IDS[1:64]]
    np.testing.assert_allclose(scores, expected, atol=2e-5)
    loss = rotary.compute_loss(IDS[:63], IDS[1:64])
    assert -scores.mean() == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize("context, stride", [(64, 32), (64, 64), (10, 3), (7, 1), (1, 1), (64, 50)])
def test_windows_score_each_id_once_by_what_is_in_view(rotary, backend, context, stride) -> None:
    expected = np.full(199, np.nan)
    done = begin = 0
    while done < 199:
        end = min(begin + context, 199)
        logits = log_softmax(rotary([IDS[begin:end]])[0])
        for place in range(done, end):
            expected[place] = logits[place - begin, IDS[place + 1]]
        done, begin = end, begin + stride
    np.testing.assert_allclose(score_ids(rotary, IDS, context, stride), expected, atol=2e-5)


def test_long_windows_are_read_in_parts(compiled) -> None:
    model = GPTModel(31, 700, 1, 2, 16, dropout=0.0, init_std=0.3, seed=0)
    ids = np.random.default_rng(1).integers(31, size=701)
    expected = log_softmax(model.eval()([ids[:-1]])[0])[np.arange(700), ids[1:]]
    told: list[tuple[int, int]] = []
    scores = score_ids(model, ids, progress=lambda done, total: told.append((done, total)))
    np.testing.assert_allclose(scores, expected, atol=2e-5)
    assert told == [(256, 700), (512, 700), (700, 700)]


def test_a_text_of_one_token_has_no_scores(rotary) -> None:
    assert score_ids(rotary, [3]).shape == (0,)


@pytest.mark.parametrize("arguments, message", [
    ({"context": 65}, "context must be at most max_seq_len 64, not 65"),
    ({"context": 0}, "context must be an integer of 1 or more"),
    ({"stride": 0}, "stride must be an integer of 1 or more"),
    ({"context": 8, "stride": 9}, "stride must be at most the context 8, not 9"),
])  # fmt: skip
def test_bad_arguments(rotary, arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        score_ids(rotary, IDS, **arguments)


def test_ids_of_no_token_are_refused() -> None:
    model = GPTModel(256, 16, 1, 1, 4, dropout=0.0, init_std=0.0, seed=0)
    for wrong in ([1, -100], [256, 1], [1, 2, 256], [-1]):  # -100 is what a loss ignores
        with pytest.raises(IndexError, match=r"id (-100|-1|256) at position"):
            score_ids(model, wrong)
    with pytest.raises(ValueError, match=r"^text must be a text or bytes, not None"):
        evaluate(model, ByteTokenizer(), None)


def test_the_smallest_integers_of_numpy_are_numbers(rotary) -> None:
    small = score_ids(rotary, IDS, np.int8(60), np.int8(30))
    np.testing.assert_array_equal(small, score_ids(rotary, IDS, 60, 30))


def test_an_untrained_model_needs_a_tokens_share_of_bits() -> None:
    """All tokens as likely: log V nats each, log2 V bits per character of one byte."""
    text = "abcd" * 20
    even = GPTModel(4, 16, 1, 1, 4, dropout=0.0, init_std=0.0, seed=0)
    found = evaluate(even, CharTokenizer(text), text)
    assert (found.tokens, found.bytes) == (79, 79)
    assert found.loss == pytest.approx(math.log(4))
    assert found.perplexity == pytest.approx(4)
    assert found.bits_per_byte == pytest.approx(2)
    even = GPTModel(256, 16, 1, 1, 4, dropout=0.0, init_std=0.0, seed=0)
    found = evaluate(even, ByteTokenizer(), "é" * 8)
    assert (found.tokens, found.bytes, found.bits_per_byte) == (15, 15, pytest.approx(8))


def test_what_stands_before_a_text_is_not_scored(rotary) -> None:
    class WithPrefix(CharTokenizer):
        prefix = (30,)

    tokenizer = WithPrefix("abcdefgh")
    found = evaluate(rotary, tokenizer, "hegag")
    ids = [30, *tokenizer.encode("hegag")]
    assert found.tokens == found.bytes == 5
    assert found.nats == pytest.approx(-float(score_ids(rotary, ids).sum()), rel=1e-6)
    with pytest.raises(ValueError, match="two tokens or more"):
        evaluate(rotary, CharTokenizer("a"), "a")
