"""The choice of the next token: its filters, its edges, its distribution."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litegpt import kernels
from litegpt.kernels import reference


def chosen(logits: np.ndarray, uniforms: np.ndarray, **rules: float) -> np.ndarray:
    """Ids for one row of logits at many uniforms."""
    rows = np.repeat(logits[None], len(uniforms), axis=0)
    return kernels.sample(rows, np.asarray(uniforms, np.float64), **rules)[0]  # type: ignore[arg-type]


EVENLY = (np.arange(2000) + 0.5) / 2000


def test_follows_the_distribution(backend: str) -> None:
    """Uniforms spread evenly hit each id as often as its probability says, to one in 2000."""
    logits = np.random.default_rng(0).standard_normal(23).astype(np.float32)
    for temperature in (0.5, 1.0, 2.0):
        p = np.exp(logits / temperature, dtype=np.float64)
        counts = np.bincount(chosen(logits, EVENLY, temperature=temperature), minlength=23)
        np.testing.assert_allclose(counts / 2000, p / p.sum(), atol=1.01 / 2000)


def test_random_draws_follow_the_distribution(backend: str) -> None:
    """Chi-squared of 5000 draws over 16 ids: below 45, which one run in 10,000 exceeds."""
    rng = np.random.default_rng(5)
    logits = rng.standard_normal(16).astype(np.float32)
    p = np.exp(logits, dtype=np.float64)
    expected = 5000 * p / p.sum()
    counts = np.bincount(chosen(logits, rng.random(5000)), minlength=16)
    assert ((counts - expected) ** 2 / expected).sum() < 45


def test_ids_rise_with_the_uniform(backend: str) -> None:
    logits = np.random.default_rng(1).standard_normal(301).astype(np.float32)
    for rules in ({}, {"top_k": 40}, {"top_p": 0.8}, {"min_p": 0.05}, {"top_k": 50, "top_p": 0.9}):
        assert (np.diff(chosen(logits, EVENLY, **rules)) >= 0).all()


@pytest.mark.parametrize("top_k", [1, 2, 3, 10, 36, 37, 38, 1000])
def test_exactly_top_k_stay(backend: str, top_k: int) -> None:
    """The largest ones, and of equals the smaller ids."""
    logits = np.random.default_rng(2).standard_normal(37).astype(np.float32)
    best = np.sort(np.argsort(-logits, kind="stable")[:top_k])
    np.testing.assert_array_equal(np.unique(chosen(logits, EVENLY, top_k=top_k)), best)
    ties = np.repeat(np.float32([1, 3, 2, 3, 2]), 9)[:37]
    best = np.sort(np.argsort(-ties, kind="stable")[:top_k])
    np.testing.assert_array_equal(np.unique(chosen(ties, EVENLY, top_k=top_k)), best)


@pytest.mark.parametrize(("top_p", "stay"), [(1e-9, 1), (0.49, 1), (0.51, 2), (0.76, 3), (0.99, 4)])
def test_top_p_keeps_as_many_as_reach_it(backend: str, top_p: float, stay: int) -> None:
    """Probabilities 1/2, 1/4, 1/8, 1/8: the most probable that reach top_p together."""
    logits = np.log(np.float32([1, 4, 1, 2]) / 8)
    order = [1, 3, 0, 2]
    np.testing.assert_array_equal(
        np.unique(chosen(logits, EVENLY, top_p=top_p)), np.sort(order[:stay])
    )


@pytest.mark.parametrize(("min_p", "stay"), [(0.2, 4), (0.3, 2), (0.6, 1), (1.0, 1)])
def test_min_p_is_relative_to_the_most_probable(backend: str, min_p: float, stay: int) -> None:
    logits = np.log(np.float32([1, 4, 1, 2]) / 8)
    np.testing.assert_array_equal(
        np.unique(chosen(logits, EVENLY, min_p=min_p)), np.sort([1, 3, 0, 2][:stay])
    )


def test_temperature_comes_before_the_filters(backend: str) -> None:
    """At temperature 2 the two likeliest of 4/8, 2/8, 1/8, 1/8 make up less than 0.65."""
    logits = np.log(np.float32([1, 4, 1, 2]) / 8)
    assert len(np.unique(chosen(logits, EVENLY, top_p=0.65))) == 2
    assert len(np.unique(chosen(logits, EVENLY, top_p=0.65, temperature=2.0))) == 3


def test_top_k_comes_before_top_p(backend: str) -> None:
    """Of the 2 that top_k leaves, one alone has 2/3 of the weight."""
    logits = np.log(np.float32([1, 4, 1, 2]) / 8)
    assert len(np.unique(chosen(logits, EVENLY, top_p=0.6))) == 2
    assert len(np.unique(chosen(logits, EVENLY, top_k=2, top_p=0.6))) == 1


@pytest.mark.parametrize("vocabulary", [1, 7, 8, 16, 17, 33, 1009])
def test_greedy_takes_the_largest(backend: str, vocabulary: int) -> None:
    """Wherever it stands, the smallest id of equals, and no other rule counts."""
    for best in range(0, vocabulary, max(1, vocabulary // 20)):
        logits = np.full(vocabulary, -1.5, np.float32)
        logits[best:] = 2.5
        ids = chosen(logits, [0.0, 0.999], temperature=0.0, top_k=3, top_p=0.1, min_p=0.5)
        np.testing.assert_array_equal(ids, [best, best])


def test_the_edges_of_the_uniform(backend: str) -> None:
    """0 takes the first id that stays, the last number below 1 the last one."""
    logits = np.random.default_rng(3).standard_normal(50_257).astype(np.float32)
    logits[:5] = logits[-5:] = -np.inf
    first, last = chosen(logits, [0.0, np.nextafter(1.0, 0.0)])
    assert (first, last) == (5, 50_251)
    best = np.sort(np.argsort(-logits, kind="stable")[:50])
    np.testing.assert_array_equal(
        chosen(logits, [0.0, np.nextafter(1.0, 0.0)], top_k=50), best[[0, -1]]
    )


def test_log_probability_is_of_the_plain_softmax(backend: str) -> None:
    """Before temperature and filters, so that it can be added up over a text."""
    logits = 5 * np.random.default_rng(4).standard_normal((8, 1009)).astype(np.float32)
    exact = logits.astype(np.float64)
    want = exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))
    for rules in ({}, {"temperature": 0.3, "top_k": 5}, {"temperature": 0.0}, {"top_p": 0.5}):
        ids, logprobs = kernels.sample(logits, np.linspace(0, 0.99, 8), **rules)  # type: ignore[arg-type]
        assert logprobs.dtype == np.float32
        np.testing.assert_allclose(logprobs, want[np.arange(8), ids], atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.integers(-3, 3), min_size=1, max_size=70),
    uniform=st.floats(0, 1, exclude_max=True),
    temperature=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    top_k=st.integers(0, 80),
    top_p=st.sampled_from([0.01, 0.3, 0.7, 0.95, 1.0]),
    min_p=st.sampled_from([0.0, 0.03, 0.6, 1.0]),
)
def test_many_ties_under_every_rule(
    scores: list[int], uniform: float, temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    """The same id as the reference on every rung, unless an edge is nearer than 1e-6."""
    logits = np.array([scores], np.float32)
    near = {
        int(reference.sample(logits, np.array([u]), temperature, top_k, p, min(1, min_p * m))[0][0])
        for u in (uniform, max(0.0, uniform - 1e-6), min(uniform + 1e-6, 1 - 1e-16))
        for p in (top_p, top_p - 1e-6, min(1.0, top_p + 1e-6))
        for m in (1, 1 + 1e-6, 1 - 1e-6)
    }
    for rung in kernels.available_backends():
        with kernels.use_backend(rung):
            ids, _ = kernels.sample(logits, np.array([uniform]), temperature, top_k, top_p, min_p)
        assert int(ids[0]) in near, rung
