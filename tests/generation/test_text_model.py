"""Texts in and out: streams, stop strings, several prompts, scores."""

import numpy as np
import pytest

from litegpt.generation import TextModel, generate, score_ids
from litegpt.models import GPTModel
from litegpt.text import ByteTokenizer, CharTokenizer

ALPHABET = "abcdefghijklmnopqrstuvwxyz ,.é🙂"  # 31


@pytest.fixture(scope="module")
def texts(rotary) -> TextModel:
    return TextModel(rotary, CharTokenizer(ALPHABET))


@pytest.fixture(scope="module")
def bytes_model() -> TextModel:
    """Over bytes: it writes mostly what isn't UTF-8."""
    model = GPTModel(256, 32, 1, 2, 16, dropout=0.0, init_std=0.2, seed=0)
    return TextModel(model, ByteTokenizer())


def test_the_stream_is_what_generate_gives(texts, backend) -> None:
    ids = generate(texts.model, texts.tokenizer.encode("to be"), 40, seed=1)[0]
    assert "".join(texts.stream("to be", max_new_tokens=40, seed=1)) == (
        texts.tokenizer.decode(ids[5:])
    )
    echoed = texts.stream("to be", max_new_tokens=40, seed=1, echo=True)
    assert "".join(echoed) == texts.tokenizer.decode(ids)


@pytest.mark.parametrize("seed", range(5))
def test_pieces_are_whole_characters_even_across_the_prompt(bytes_model, seed) -> None:
    prompt = "café".encode()[:-1]
    ids = generate(bytes_model.model, list(prompt), 60, seed=seed)[0]
    pieces = list(bytes_model.stream(prompt, max_new_tokens=60, seed=seed, echo=True))
    assert "".join(pieces) == bytes_model.tokenizer.decode(ids)
    assert pieces[0] == "caf"


@pytest.mark.parametrize("length", [1, 2, 3])
def test_stop_strings_end_a_text_across_tokens(texts, backend, length) -> None:
    free = "".join(texts.stream("to be", max_new_tokens=60, seed=2))
    stop = free[20 : 20 + length]
    expected = free[: free.index(stop)]
    assert "".join(texts.stream("to be", max_new_tokens=60, seed=2, stop=[stop])) == expected
    assert "".join(texts.stream("to be", max_new_tokens=60, seed=2, stop=stop)) == expected
    (done,) = texts.complete(["to be"], max_new_tokens=60, seed=2, stop=["\0", stop])
    assert (done.text, done.tokens.reason) == (expected, "stop")
    assert len(done.tokens.ids) == len(expected) + length


@pytest.mark.parametrize("name, wrong, allowed", [
    ("prompts", "to be", "a list of texts, not 'to be'"),
    ("prompts", 3, "a list of texts, not 3"),
    ("a prompt", [[1, 2]], r"a text, bytes, or an array of ids, not \[1, 2\]"),
    ("num_return_sequences", 1.5, "an integer of 1 or more, not 1.5"),
    ("stop_ids", 3, "a list of ids from 0 to 30, not 3"),
    ("stop_ids", [[4]], r"ids from 0 to 30, not \[4\]"),
    ("stop", None, "a list of texts of one character or more, not None"),
    ("stop", b"ab", "texts of one character or more, not 97"),
])  # fmt: skip
def test_bad_arguments_are_named(texts, name, wrong, allowed) -> None:
    prompts, options = (wrong, {}) if "prompt" in name else (["to be"], {name: wrong})
    with pytest.raises(ValueError, match=f"^{name} must be {allowed}"):
        texts.complete(prompts, **options)
    if name == "prompts":
        with pytest.raises(ValueError, match=f"^texts must be {allowed}"):
            texts.score(prompts)


def test_one_text_is_streamed(texts) -> None:
    with pytest.raises(ValueError, match="num_return_sequences must be 1 where a text is streamed"):
        texts.stream("to be", num_return_sequences=2)


def test_stop_ids_may_come_from_an_iterator(texts) -> None:
    (plain,) = texts.complete(["to be"], seed=1, stop_ids=[4, 5, 6, 7])
    (same,) = texts.complete(["to be"], seed=1, stop_ids=iter([4, 5, 6, 7]))
    assert plain.tokens.reason == "stop" and plain.text == same.text
    # what ends a text isn't in it, streamed or not
    assert plain.text == texts.tokenizer.decode(plain.tokens.ids[:-1])
    assert "".join(texts.stream("to be", seed=1, stop_ids=iter([4, 5, 6, 7]))) == plain.text


def test_stop_strings_from_an_iterator_end_every_text(texts) -> None:
    options = {"max_new_tokens": 60, "seed": 3}
    listed = texts.complete(["to be", "a", "or"], **options, stop=list("etaoin"))
    same = texts.complete(["to be", "a", "or"], **options, stop=iter("etaoin"))
    assert [done.text for done in same] == [done.text for done in listed]
    assert {done.tokens.reason for done in same} == {"stop"}


def test_texts_and_ids_of_another_kind_are_refused(texts) -> None:
    with pytest.raises(ValueError, match=r"ids must have the shape \(T,\), not \(1, 1\)"):
        texts.complete([np.array([[1]])])
    with pytest.raises(TypeError, match="ids must be integers, not float64"):
        texts.stream(np.array([1.5]))
    for wrong in (None, np.array([1, 2])):
        with pytest.raises(ValueError, match=r"^each of texts must be a text or bytes, not "):
            texts.score([wrong])


def test_each_prompt_is_its_single_run(texts, backend) -> None:
    prompts = ["to be", "a", "or not to"]
    options = {"max_new_tokens": 40, "seed": 3, "stop": ["e", "st"], "num_return_sequences": 2}
    together = texts.complete(prompts, **options)
    alone = [done for prompt in prompts for done in texts.complete([prompt], **options)]
    assert [done.text for done in together] == [done.text for done in alone]
    assert "stop" in {done.tokens.reason for done in together}


def test_texts_end_at_the_tokenizers_ends(rotary) -> None:
    class WithEnd(CharTokenizer):
        eos_ids = (4, 7)

    texts = TextModel(rotary, WithEnd(ALPHABET))
    free = generate(rotary, texts.tokenizer.encode("to be"), 60, seed=2)[0, 5:].tolist()
    end = next(i for i, token_id in enumerate(free) if token_id in (4, 7))
    streamed = "".join(texts.stream("to be", max_new_tokens=60, seed=2))
    assert streamed == texts.tokenizer.decode(free[:end])
    (done,) = texts.complete(["to be"], max_new_tokens=60, seed=2)
    assert done.text == streamed
    assert done.tokens.ids.tolist() == free[: end + 1]


def test_ids_that_the_tokenizer_does_not_know_are_no_text(rotary) -> None:
    texts = TextModel(rotary, CharTokenizer("ab"))
    free = generate(rotary, [0], 40, seed=1)[0, 1:].tolist()
    known = "".join("ab"[i] for i in free if i < 2)
    assert "".join(texts.stream("a", max_new_tokens=40, seed=1)) == known
    asked = np.array([0, 5, 1])  # 5 is the model's, not the tokenizer's
    assert "".join(texts.stream(asked, max_new_tokens=0, echo=True)) == "ab"
    assert texts.complete([asked], max_new_tokens=0)[0].text == ""


def test_scores(texts, backend) -> None:
    first, second = texts.score(["to be", "a"])
    assert first.ids.tolist() == texts.tokenizer.encode("to be").tolist()
    assert np.isnan(first.logprobs[0])
    np.testing.assert_array_equal(first.logprobs[1:], score_ids(texts.model, first.ids))
    assert np.isnan(second.logprobs).tolist() == [True]


def test_a_tokenizer_of_another_model_is_refused(rotary) -> None:
    with pytest.raises(ValueError, match="the model has 31 tokens, its tokenizer 256"):
        TextModel(rotary, ByteTokenizer())


def test_a_stream_that_is_left_frees_the_model(texts) -> None:
    pieces = texts.stream("to be", max_new_tokens=50, seed=0)
    next(pieces)
    pieces.close()
    assert texts.model.head.packed is None
