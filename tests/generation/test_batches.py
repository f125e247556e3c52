"""Rows side by side: prompts of unequal length, several texts for a prompt, what overflows."""

import numpy as np
import pytest

from litegpt.generation import PromptCache, generate, score_ids, stream
from litegpt.models import GPTModel

RAGGED = [[1, 2, 3, 4, 5], [6], [7, 8, 9], [10, 11, 12, 13, 14, 15, 16, 17], [3, 2, 1]]


@pytest.fixture(scope="module")
def learned() -> GPTModel:
    return GPTModel(31, 16, 2, 2, 12, dropout=0.0, init_std=0.4, seed=1).eval()


def test_beyond_the_original_context_of_dynamic_positions(backend, by_hand) -> None:
    """All angles depend on the length there: what is kept of a shorter text is of no use."""
    scaling = {"rope_type": "dynamic", "factor": 3.0, "original_max_position_embeddings": 32}
    parts = {"norm": "rmsnorm", "position": "rotary", "activation": "swiglu", "bias": False}
    model = GPTModel(
        31, 96, 2, 4, 32, dropout=0.0, init_std=0.25, seed=2, rope_scaling=scaling, **parts
    ).eval()
    rng = np.random.default_rng(0)
    prompts = [np.tile(rng.integers(0, 31, 5), 8)[:size] for size in (3, 28, 32, 33, 40)]
    together = generate(model, prompts, 20, temperature=0)
    for prompt, row in zip(prompts, together, strict=True):
        expected = by_hand(model, prompt.tolist(), 20)
        assert row[len(prompt) :].tolist() == expected
        for options in ({"speculate": 4}, {"cache": PromptCache(model)}, {"use_cache": False}):
            alone = generate(model, prompt, 20, temperature=0, **options)[0]
            assert alone.tolist() == row.tolist()
    ids = np.concatenate(prompts)[:90]
    logits = model(ids[:-1])[0].astype(np.float64)  # (89, V)
    logprobs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    scores = score_ids(model, ids)
    np.testing.assert_allclose(scores, logprobs[np.arange(89), ids[1:]], atol=1e-4)
    with pytest.raises(ValueError, match="33 positions are more than a cache holds: 32"):
        model.next_logits(ids[:33], model.new_cache(1))


@pytest.mark.parametrize("new", [1, 7, 10, 40])  # up to and past max_seq_len 16
@pytest.mark.parametrize("on_overflow", ["slide", "halve"])
@pytest.mark.parametrize("use_cache", [True, False])
def test_each_row_is_its_single_run(learned, backend, new, on_overflow, use_cache) -> None:
    options = {"seed": 6, "top_k": 9, "on_overflow": on_overflow, "use_cache": use_cache}
    rows = generate(learned, RAGGED, new, **options)
    assert isinstance(rows, list)
    for prompt, row in zip(RAGGED, rows, strict=True):
        np.testing.assert_array_equal(row, generate(learned, prompt, new, **options)[0])


def test_rows_end_where_their_single_runs_do(rotary, backend) -> None:
    free = generate(rotary, RAGGED, 30, seed=1)
    stops = [int(free[0][8]), int(free[3][20])]
    rows = generate(rotary, RAGGED, 30, seed=1, stop_ids=stops)
    assert len({len(row) - len(p) for row, p in zip(rows, RAGGED, strict=True)}) > 1
    for prompt, row in zip(RAGGED, rows, strict=True):
        alone = generate(rotary, prompt, 30, seed=1, stop_ids=stops)[0]
        np.testing.assert_array_equal(row, alone)


def test_a_row_that_has_ended_asks_for_no_more_tokens(rotary, backend) -> None:
    options = {"temperature": 0, "no_repeat_ngram_size": 1, "stop_ids": [30], "max_new_tokens": 20}
    short, long = np.arange(30), np.array([4, 9])  # nothing but the end is left for the first
    rows = generate(rotary, [short, long], **options)
    assert rows[0].tolist() == [*range(31)]
    np.testing.assert_array_equal(rows[1], generate(rotary, [long, long], **options)[0])


def test_greedy_rows_are_the_argmax_of_forward(rotary, backend, by_hand) -> None:
    for prompt, row in zip(RAGGED, generate(rotary, RAGGED, 20, temperature=0), strict=True):
        assert row.tolist() == prompt + by_hand(rotary, prompt, 20)


def test_stream_of_unequal_rows(rotary) -> None:
    steps = np.stack(list(stream(rotary, RAGGED, 9, seed=3)), axis=1)
    rows = generate(rotary, RAGGED, 9, seed=3)
    for prompt, row, new in zip(RAGGED, rows, steps, strict=True):
        assert row.tolist() == prompt + new.tolist()


def test_halve_reads_the_last_half_anew_when_full(learned, backend) -> None:
    """max_seq_len 16: at 17 tokens, the last 8 are what the model goes on with."""
    ids = [1, 2, 3]
    begin = 0
    for _ in range(60):
        if len(ids) - begin > 16:
            begin = len(ids) - 8
        ids.append(int(learned([ids[begin:]])[0, -1].argmax()))
    halved = generate(learned, [1, 2, 3], 60, temperature=0, on_overflow="halve")
    assert halved[0].tolist() == ids
    assert halved[0].tolist() != generate(learned, [1, 2, 3], 60, temperature=0)[0].tolist()


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_halve_in_the_smallest_contexts(backend, limit) -> None:
    model = GPTModel(7, limit, 1, 1, 4, dropout=0.0, init_std=1.0, seed=0)
    cached, anew = (
        generate(model, [[1, 2], [3, 4]], 12, seed=5, on_overflow="halve", use_cache=use_cache)
        for use_cache in (True, False)
    )
    np.testing.assert_array_equal(cached, anew)


def test_several_texts_for_each_prompt(rotary, backend) -> None:
    rows = generate(rotary, RAGGED, 12, seed=4, num_return_sequences=3)
    repeated = generate(rotary, [p for p in RAGGED for _ in range(3)], 12, seed=4)
    assert len(rows) == 15
    for row, other in zip(rows, repeated, strict=True):
        np.testing.assert_array_equal(row, other)
    for i, prompt in enumerate(RAGGED):
        texts = {tuple(row.tolist()) for row in rows[3 * i : 3 * i + 3]}
        assert len(texts) == 3
        alone = generate(rotary, prompt, 12, seed=4, num_return_sequences=3)
        assert {tuple(row.tolist()) for row in alone} == texts


def test_equal_prompts_are_read_once(rotary, monkeypatch) -> None:
    read = []
    plain = GPTModel.next_logits
    monkeypatch.setattr(
        GPTModel,
        "next_logits",
        lambda self, ids, *rest: read.append(np.asarray(ids).shape) or plain(self, ids, *rest),
    )
    generate(rotary, [5] * 40, 2, num_return_sequences=6, seed=0)
    assert read == [(1, 40), (6, 1)]


@pytest.mark.parametrize("options, message", [
    ({"num_return_sequences": 0}, "num_return_sequences must be an integer of 1 or more, not 0"),
    ({"stop_ids": [31]}, "stop_ids must be ids from 0 to 30, not 31"),
    ({"stop_ids": ["a"]}, "stop_ids must be ids from 0 to 30, not 'a'"),
    ({"stop_ids": [True]}, "stop_ids must be ids from 0 to 30, not True"),
    ({"stop_ids": 3}, "stop_ids must be a list of ids, not 3"),
    ({"use_cache": None}, "use_cache must be True or False, not None"),
    ({"on_overflow": "halves"}, "on_overflow must be"),
    ({"on_overflow": "error", "max_new_tokens": 60}, "8 prompt tokens and 60 new .* 64"),
])  # fmt: skip
def test_bad_arguments(rotary, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        generate(rotary, RAGGED, **options)


def test_more_rows_than_memory_holds(rotary) -> None:
    with pytest.raises(MemoryError, match=r"num_return_sequences 10{18} is more than memory holds"):
        generate(rotary, [1], num_return_sequences=10**18)


def test_an_unknown_argument_is_named(rotary) -> None:
    with pytest.raises(TypeError, match=r"unknown argument 'topk' .allowed: cache, cancel"):
        generate(rotary, [1], topk=3)
