"""The choice of the next token."""

import numpy as np


def refusal(row: int) -> ValueError:
    """What sample raises for a row that can't be sampled from."""
    return ValueError(f"row {row} of the logits holds NaN or inf, or nothing finite")


def sample(
    logits: np.ndarray,
    uniforms: np.ndarray,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """One id per row of logits (B, V), chosen by uniforms (B,) float64 in [0, 1).

    In this order: logits / temperature; the top_k largest stay (0: all; of equal logits the
    smaller id first, so that exactly top_k stay); of these the most probable ones whose
    probabilities reach top_p together (at least one; Holtzman et al., 2019, arXiv:1904.09751);
    of these the ones with at least min_p times the highest probability. The id is where the
    running sum of the remaining weights, in order of ids, passes uniform * total. temperature 0
    takes the largest logit (the smallest id of equals) and nothing else counts.

    Returns ids (B,) int64 and, as float32, the natural-log probabilities (B,) of these ids under
    softmax(logits), before temperature and filters. -inf is never chosen. A row with NaN or +inf,
    or with nothing but -inf: ValueError naming the row.
    """
    rows, vocabulary = logits.shape
    ids = np.empty(rows, np.int64)
    logprobs = np.empty(rows, np.float32)
    for b in range(rows):
        row = logits[b].astype(np.float64)
        top = row.max(initial=-np.inf)
        if not np.isfinite(top):
            raise refusal(b)
        ids[b] = (
            np.argmax(row)
            if temperature == 0
            else _draw((row - top) / temperature, uniforms[b], top_k or vocabulary, top_p, min_p)
        )
        logprobs[b] = row[ids[b]] - top - np.log(np.exp(row - top).sum())
    return ids, logprobs


def ranked(
    scores: np.ndarray, top_k: int, top_p: float, min_p: float
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Ids (V,), the most probable first, and how many of them are left by each filter in turn.

    scores (V,) are logits over temperature, minus their largest. A filter leaves the first few.
    """
    order = np.argsort(-scores, kind="stable")
    weights = np.exp(scores[order[:top_k]])
    after_k = weights.size
    if top_p < 1:
        before = np.cumsum(weights) - weights  # weight of the more probable ones
        weights = weights[before < top_p * weights.sum()]
    after_p = weights.size
    return order, (after_k, after_p, int((weights >= min_p * weights[0]).sum()))


def _draw(scores: np.ndarray, uniform: float, top_k: int, top_p: float, min_p: float) -> int:
    """An id by its weight exp(score), the largest score being 0."""
    order, (_, _, left) = ranked(scores, top_k, top_p, min_p)
    kept = np.sort(order[:left])
    running = np.cumsum(np.exp(scores[kept]))
    return int(
        kept[np.searchsorted(running, uniform * running[-1], side="right").clip(max=kept.size - 1)]
    )
