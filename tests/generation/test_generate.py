"""generate and stream: what they continue, where they stop, what they leave alone."""

import numpy as np
import pytest

from litegpt import kernels
from litegpt.generation import generate, stream
from litegpt.models import GPTModel

PROMPTS = np.array([[1, 2, 3], [4, 5, 6], [1, 2, 3], [9, 8, 7]])


@pytest.fixture(scope="module")
def model() -> GPTModel:
    return GPTModel(31, 16, 2, 2, 12, dropout=0.5, init_std=0.4, seed=1)  # in training mode


def greedy_by_hand(model: GPTModel, prompt: np.ndarray, new: int) -> np.ndarray:
    """The likeliest token of forward over the last max_seq_len tokens, again and again."""
    ids = prompt
    with model.evaluating():
        for _ in range(new):
            logits = model(ids[:, -model.max_seq_len :])[:, -1]
            ids = np.concatenate([ids, logits.argmax(axis=1)[:, None]], axis=1)
    return ids


def test_shape_type_and_prompt(model, backend) -> None:
    out = generate(model, PROMPTS, 8, seed=0)
    assert out.shape == (4, 11)
    assert out.dtype == np.int64
    np.testing.assert_array_equal(out[:, :3], PROMPTS)
    assert out.min() >= 0
    assert out.max() < 31


def test_a_list_is_one_row(model) -> None:
    assert generate(model, [1, 2], 3, seed=0).shape == (1, 5)


def test_no_new_tokens_is_the_prompt(model) -> None:
    np.testing.assert_array_equal(generate(model, PROMPTS, 0), PROMPTS)


@pytest.mark.parametrize("new", [1, 12, 13, 14, 30])  # up to, at and past max_seq_len 16
@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_is_the_argmax_of_forward(model, backend, new, use_cache) -> None:
    out = generate(model, PROMPTS, new, temperature=0, use_cache=use_cache)
    np.testing.assert_array_equal(out, greedy_by_hand(model, PROMPTS, new))


@pytest.mark.parametrize("length", [15, 16, 17, 40])
def test_long_prompts_slide(model, backend, length) -> None:
    prompt = np.random.default_rng(0).integers(31, size=(2, length))
    out = generate(model, prompt, 4, temperature=0)
    np.testing.assert_array_equal(out, greedy_by_hand(model, prompt, 4))


def test_a_context_of_one_token(backend) -> None:
    model = GPTModel(7, 1, 1, 1, 4, dropout=0.0, init_std=1.0, seed=0)
    for use_cache in (True, False):
        out = generate(model, [[1, 2]], 5, temperature=0, use_cache=use_cache)
        np.testing.assert_array_equal(out, greedy_by_hand(model, np.array([[1, 2]]), 5))


def test_sampled_tokens_are_the_same_without_the_cache(model, backend) -> None:
    arguments = {"temperature": 1.3, "top_k": 20, "top_p": 0.9, "seed": 5}
    np.testing.assert_array_equal(
        generate(model, PROMPTS, 30, **arguments),
        generate(model, PROMPTS, 30, use_cache=False, **arguments),
    )


@pytest.mark.parametrize("new", [10, 30])
def test_a_row_in_a_batch_is_that_row_alone(model, backend, new) -> None:
    batch = generate(model, PROMPTS, new, seed=3)
    for row in (0, 1, 3):  # row 2 repeats the prompt of row 0
        np.testing.assert_array_equal(batch[row], generate(model, PROMPTS[row], new, seed=3)[0])


def test_equal_prompts_get_different_texts(model) -> None:
    batch = generate(model, [[1, 2, 3]] * 5, 12, seed=3)
    assert len({tuple(row) for row in batch.tolist()}) == 5


def test_seeds(model) -> None:
    def run(seed: object) -> list[list[int]]:
        return generate(model, PROMPTS, 12, seed=seed).tolist()

    assert run(1) == run(1)
    assert run(1) != run(2)
    np.random.seed(42)
    first = run(None)
    second = run(None)
    np.random.seed(42)
    assert run(None) == first
    assert first != second
    rng = np.random.default_rng(0)
    assert run(rng) != run(rng)  # each call goes on where the one before stopped
    assert run(np.random.default_rng(0)) == run(np.random.default_rng(0))


def test_draws_go_on_past_one_block_of_uniforms(backend) -> None:
    even = GPTModel(100, 4, 1, 1, 4, dropout=0.0, init_std=0.0, seed=0)  # every token as likely
    out = generate(even, [0], 700, seed=0)[0, 1:]
    counts = np.bincount(out, minlength=100)
    assert counts.max() < 25  # 7 expected
    assert not np.array_equal(out[:256], out[256:512])


def test_nothing_is_dropped_and_the_mode_comes_back(model) -> None:
    assert model.training
    in_training_mode = generate(model, PROMPTS, 10, seed=0)
    assert model.training
    assert all(module.training for module in model.modules())
    with model.evaluating():
        np.testing.assert_array_equal(generate(model, PROMPTS, 10, seed=0), in_training_mode)
        assert not model.training


def test_weights_are_looked_at_anew_by_every_call(model) -> None:
    changed = GPTModel(31, 16, 2, 2, 12, dropout=0.0, init_std=0.4, seed=1)
    before = generate(changed, PROMPTS, 10, temperature=0)
    changed.head.weight.data[:] *= -1
    after = generate(changed, PROMPTS, 10, temperature=0)
    np.testing.assert_array_equal(after, greedy_by_hand(changed, PROMPTS, 10))
    assert not np.array_equal(before, after)


def test_stream_is_generate_token_by_token(model) -> None:
    tokens = list(stream(model, PROMPTS, 20, top_k=9, seed=8))
    assert all(ids.shape == (4,) and ids.dtype == np.int64 for ids in tokens)
    whole = generate(model, PROMPTS, 20, top_k=9, seed=8)
    np.testing.assert_array_equal(np.stack(tokens, axis=1), whole[:, 3:])


def test_a_stream_that_is_left_leaves_the_model_as_it_was(model) -> None:
    tokens = stream(model, PROMPTS, 20)
    next(tokens)
    tokens.close()
    assert model.training
    assert model.head.packed is None


@pytest.mark.parametrize("first", [1, 9, 30])
def test_streams_side_by_side(model, first) -> None:
    """Whichever ends first; each gives what it gives alone, and the mode comes back."""
    prompts, alone = ([1, 2], [3]), []
    for seed, prompt in enumerate(prompts):
        alone.append(generate(model, prompt, 30, seed=seed)[0, len(prompt) :].tolist())
    one, two = (stream(model, prompt, 30, seed=n) for n, prompt in enumerate(prompts))
    got = [int(next(one)[0]) for _ in range(first)]
    other = [int(next(two)[0]) for _ in range(3)]
    assert got + [int(ids[0]) for ids in one] == alone[0]
    assert other + [int(ids[0]) for ids in two] == alone[1]
    assert all(module.training for module in model.modules())


def test_stop_ids(model) -> None:
    free = generate(model, PROMPTS, 30, seed=4)[:, 3:]
    stops = [int(free[0, 5]), int(free[1, 9])]
    out = generate(model, PROMPTS, 30, seed=4, stop_ids=stops)[:, 3:]
    ends = [next((i for i, t in enumerate(row) if t in stops), 29) for row in free.tolist()]
    assert out.shape[1] == max(ends) + 1
    for row, (end, tokens) in enumerate(zip(ends, free, strict=True)):
        np.testing.assert_array_equal(out[row, : end + 1], tokens[: end + 1])
        assert set(out[row, end:].tolist()) == {int(tokens[end])} or end == 29


@pytest.mark.parametrize("prompt, error, message", [
    ([], ValueError, "the prompt is empty"),
    ([[], []], ValueError, "the prompt is empty"),
    (np.zeros((0, 3), int), ValueError, "the prompt is empty"),
    ([[1, 2], []], ValueError, "the prompt is empty"),
    ([[1, 2], [[3]]], ValueError, "rows of ids"),
    ([[[1]], [[1, 2], [3]]], ValueError, "rows of ids"),
    (np.zeros((1, 1, 1), int), ValueError, r"\(P,\) or \(B, P\), not \(1, 1, 1\)"),
    ([1.5], TypeError, "integers"),
    ([1, 31], IndexError, "31"),
    ([-1], IndexError, "-1"),
    ([-1] + [1] * 40, IndexError, "-1 at position 0"),  # which the model wouldn't look at
    ([[1] * 40 + [31], [31]], IndexError, "31 at position 40"),
])  # fmt: skip
@pytest.mark.parametrize("new", [0, 2])
def test_bad_prompts(model, prompt, error, message, new) -> None:
    with pytest.raises(error, match=message):
        generate(model, prompt, new)
    with pytest.raises(error, match=message):
        stream(model, prompt, new)


@pytest.mark.parametrize("arguments, message", [
    ({"max_new_tokens": -1}, "max_new_tokens must be an integer of 0 or more, not -1"),
    ({"max_new_tokens": 1.5}, "max_new_tokens must be an integer"),
    ({"temperature": 10**400}, "temperature must be 0"),
    ({"top_p": 10**400}, "top_p must be above 0 and at most 1"),
    ({"max_time": 10**400}, "max_time must be None or seconds"),
    ({"repetition_penalty": 10**400}, "repetition_penalty must be a number"),
    ({"on_overflow": "wrap"}, "on_overflow must be \"slide\", \"halve\" or .*, not 'wrap'"),
    ({"seed": -3}, "seed must be"),
    ({"max_new_tokens": 14, "on_overflow": "error"}, "3 prompt tokens and 14 new .*_seq_len 16"),
    ({"max_new_tokens": np.int8(127), "on_overflow": "error"}, "3 prompt tokens and 127 new"),
])  # fmt: skip
def test_bad_arguments_are_named_at_once(model, arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        generate(model, PROMPTS, **arguments)
    with pytest.raises(ValueError, match=message):
        stream(model, PROMPTS, **arguments)


def test_what_fits_does_not_overflow(model) -> None:
    assert generate(model, PROMPTS, 13, on_overflow="error").shape == (4, 16)


def test_one_thread_gives_what_all_give(model, compiled) -> None:
    many = generate(model, PROMPTS, 30, seed=0)
    threads = kernels.num_threads()
    kernels.set_num_threads(1)
    try:
        np.testing.assert_array_equal(generate(model, PROMPTS, 30, seed=0), many)
    finally:
        kernels.set_num_threads(threads)
