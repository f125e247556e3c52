"""How the next token is chosen: what is refused, and what the draws add up to."""

import math

import numpy as np
import pytest

from litegpt.generation import Sampling, generate
from litegpt.models import GPTModel

ROWS = 2000
VOCABULARY = 12

# 99.9 % quantiles of the chi-square distribution, by degrees of freedom.
CHI_SQUARE = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47, 5: 20.52, 11: 31.26}


@pytest.fixture(scope="module")
def model() -> GPTModel:
    """Untrained, but with an opinion: its probabilities go from some 0.004 to 0.5."""
    model = GPTModel(VOCABULARY, 8, 1, 2, 8, dropout=0.0, init_std=1.0, seed=3)
    return model.eval()


def expected_probabilities(
    logits: np.ndarray,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
) -> np.ndarray:
    """What the filters leave, the slow and obvious way, in float64."""
    p = np.exp(np.float64(logits) / temperature)
    p /= p.sum()
    ranked = sorted(range(len(p)), key=lambda i: -p[i])
    kept = ranked[: top_k or len(p)]
    if top_p is not None:
        total = sum(p[i] for i in kept)
        while len(kept) > 1 and sum(p[i] for i in kept[:-1]) >= top_p * total:
            kept.pop()
    if min_p is not None:
        kept = [i for i in kept if p[i] >= min_p * p[ranked[0]]]
    filtered = np.zeros_like(p)
    filtered[kept] = p[kept] / p[kept].sum()
    return filtered


@pytest.mark.parametrize("temperature, top_k, top_p, min_p", [
    (1.0, None, None, None),
    (0.7, None, None, None),
    (2.0, VOCABULARY + 5, None, None),
    (1.0, 3, None, None),
    (1.0, None, 0.8, None),
    (1.0, None, None, 0.2),
    (1.5, 6, 0.9, 0.05),
])  # fmt: skip
def test_draws_follow_the_distribution(model, backend, temperature, top_k, top_p, min_p) -> None:
    logits = model(np.array([[5]]))[0, -1]
    expected = expected_probabilities(logits, temperature, top_k, top_p, min_p) * ROWS
    prompts = np.full((ROWS, 1), 5)
    drawn = generate(model, prompts, 1, temperature, top_k, top_p, seed=11, min_p=min_p)[:, 1]
    counts = np.bincount(drawn, minlength=VOCABULARY)
    assert not counts[expected == 0].any()
    rare = (expected > 0) & (expected < 8)  # too few for the statistic: counted as one
    observed = np.append(counts[(expected > 0) & ~rare], counts[rare].sum())
    wanted = np.append(expected[(expected > 0) & ~rare], expected[rare].sum())
    observed, wanted = observed[wanted > 0], wanted[wanted > 0]
    statistic = ((observed - wanted) ** 2 / wanted).sum()
    freedom = min(f for f in CHI_SQUARE if f >= len(wanted) - 1)
    assert statistic < CHI_SQUARE[freedom]


def test_exactly_top_k_stay_when_all_are_equal() -> None:
    even = GPTModel(VOCABULARY, 8, 1, 2, 8, dropout=0.0, init_std=0.0, seed=0)  # all logits are 0
    drawn = generate(even, np.zeros((500, 1), int), 1, top_k=3, seed=0)[:, 1]
    assert set(drawn.tolist()) == {0, 1, 2}


def test_top_k_of_one_is_greedy(model) -> None:
    greedy = generate(model, [[1], [2], [3]], 6, temperature=0)
    np.testing.assert_array_equal(generate(model, [[1], [2], [3]], 6, top_k=1, seed=0), greedy)
    np.testing.assert_array_equal(generate(model, [[1], [2], [3]], 6, top_p=1e-9, seed=0), greedy)


@pytest.mark.parametrize("arguments, message", [
    ({"temperature": -1}, "temperature must be 0 .* or a positive finite number, not -1"),
    ({"temperature": math.nan}, "temperature must be"),
    ({"temperature": math.inf}, "temperature must be"),
    ({"temperature": "1"}, "temperature must be"),
    ({"temperature": None}, "temperature must be"),
    ({"top_k": -1}, "top_k must be an integer of 0 or more .*, not -1"),
    ({"top_k": 1.5}, "top_k must be"),
    ({"top_k": True}, "top_k must be"),
    ({"top_p": 0}, "top_p must be above 0 and at most 1 .*, not 0"),
    ({"top_p": 1.1}, "top_p must be"),
    ({"top_p": -0.5}, "top_p must be"),
    ({"top_p": math.nan}, "top_p must be"),
    ({"min_p": -0.1}, "min_p must be from 0 to 1"),
    ({"min_p": 2}, "min_p must be"),
])  # fmt: skip
def test_bad_values_are_named(model, arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**arguments)
    with pytest.raises(ValueError, match=message):
        generate(model, [1], 1, **arguments)


def test_numpy_numbers_are_numbers() -> None:
    sampling = Sampling(np.float32(0.5), np.int64(3), np.float64(0.25), np.float32(0))
    assert sampling.kernel_arguments(100) == (0.5, 3, 0.25, 0.0)


def test_top_k_beyond_the_vocabulary_filters_nothing() -> None:
    assert Sampling(top_k=10**30).kernel_arguments(100) == (1.0, 100, 1.0, 0.0)
