"""The toy model for other people's tests: it does what its rule says, everywhere."""

import hashlib
import random
from pathlib import Path

import numpy as np
import pytest

import litegpt
from litegpt import GPTModel, TextModel
from litegpt.formats.quant import FORMATS
from litegpt.testing import ALPHABET, WINDOW, likeliest_next, tiny_model


def _texts(count: int) -> list[str]:
    """Of few and of many different characters, of up to 40."""
    rng = random.Random(0)
    sizes = [(rng.choice((2, 5, len(ALPHABET))), rng.randint(1, 40)) for _ in range(count)]
    return ["".join(rng.choice(ALPHABET[-size:]) for _ in range(long)) for size, long in sizes]


def test_the_likeliest_is_the_one_that_the_rule_names(backend: str) -> None:
    model = tiny_model()
    for text in _texts(200):
        logits = model.model.next_logits(model.ids(text)[-WINDOW:])[0]
        order = np.argsort(-logits)
        assert ALPHABET[order[0]] == likeliest_next(text), repr(text)
        assert logits[order[0]] - logits[order[1]] > 4  # nothing of it is a near thing


def test_the_rule_in_words() -> None:
    assert [likeliest_next(text) for text in ("abc", "z", "\n", "abcxyzab", "aa")] == [
        "d", "\n", " ", "c", "a",
    ]  # fmt: skip
    assert likeliest_next("ab" + "x" * WINDOW + "a") == "b"  # seen no more
    for text in ("", "A"):
        with pytest.raises(ValueError, match=f"one or more, not '{text}'"):
            likeliest_next(text)


@pytest.mark.parametrize("use_cache", [True, False])
def test_generation_follows_the_rule_past_the_window(use_cache: bool) -> None:
    [done] = tiny_model().complete(
        ["red fox red f"], max_new_tokens=60, temperature=0, use_cache=use_cache
    )
    text = "red fox red f"
    for _ in range(60):
        text += likeliest_next(text)
    assert done.text == text[-60:]


def test_its_bytes_are_always_the_same() -> None:
    digest = hashlib.sha256()
    state = np.random.get_state()[1].copy()
    for name, parameter in tiny_model().model.named_parameters():
        digest.update(name.encode() + parameter.data.astype("<f4").tobytes())
    assert digest.hexdigest() == (
        "34f98c375d597317c518cfad9434245d33a4e14bc85dbdf385d565f3cb6dc6ff"
    )
    assert np.array_equal(np.random.get_state()[1], state)  # no draw was taken from others


def test_kept_in_every_format_and_saved(tmp_path: Path) -> None:
    model = tiny_model()
    wanted = model.complete(["hello he"], max_new_tokens=20, temperature=0)[0].text
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save(tmp_path)
    for dtype in FORMATS:
        again = TextModel.from_pretrained(tmp_path, dtype)
        assert again.complete(["hello he"], max_new_tokens=20, temperature=0)[0].text == wanted


def test_it_can_be_trained() -> None:
    model = tiny_model().model
    assert isinstance(model, GPTModel) and not model.training
    ids = np.zeros((1, 8), np.int64)
    before = model.loss_and_backward(ids, ids + 3)
    litegpt.AdamW(model.named_parameters(), 1e-2).step()
    assert model.compute_loss(ids, ids + 3) < before - 0.1


def test_attention_shows_the_circuit() -> None:
    """Block 0 looks at the character before; block 1 at what followed the same character."""
    model = tiny_model()
    weights = model.model.attention_weights(model.ids("abcxyzab"))[:, 0, 0]  # (L, T, T)
    assert [int(row.argmax()) for row in weights[0]] == [0, 0, 1, 2, 3, 4, 5, 6]
    assert weights[1, -1].argmax() == 2 and weights[1, -1, 2] > 0.9
    assert weights[1, :6].argmax(-1).tolist() == [0] * 6  # nothing stood before


def test_it_is_found_without_an_import_of_its_own() -> None:
    assert litegpt.testing.tiny_model is tiny_model
