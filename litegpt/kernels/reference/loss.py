"""Cross-entropy of logits against target ids."""

import numpy as np


def kept_targets(targets: np.ndarray, vocabulary: int, ignore_index: int) -> np.ndarray:
    """True where a target counts; IndexError naming the first one outside the vocabulary."""
    kept = targets != ignore_index
    wrong = np.flatnonzero(kept & ((targets < 0) | (targets >= vocabulary)))
    if wrong.size:
        place = int(wrong[0])
        raise IndexError(
            f"target {targets[place]} at position {place} is outside the vocabulary of "
            f"{vocabulary} (allowed: 0 to {vocabulary - 1}, or {ignore_index} to ignore it)"
        )
    return kept


def cross_entropy(
    logits: np.ndarray, targets: np.ndarray, ignore_index: int = -100
) -> tuple[float, np.ndarray]:
    """Mean of lse - logits[target] over the targets that count; the sum is taken in float64.

    logits is (M, V), targets (M,) int64. Returns the loss and lse (M,), the log of each row's
    sum of exponentials. With no target that counts the loss is NaN, as the mean of nothing.
    A target outside 0..V-1 that isn't ignore_index: IndexError.
    """
    kept = kept_targets(targets, logits.shape[1], ignore_index)
    top = logits.max(axis=1, keepdims=True)
    lse = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]  # (M, V) -> (M,)
    count = int(kept.sum())
    if count == 0:
        return float("nan"), lse
    rows = np.flatnonzero(kept)
    losses = lse[rows].astype(np.float64) - logits[rows, targets[rows]]
    return float(losses.sum() / count), lse


def cross_entropy_backward(
    logits: np.ndarray,
    targets: np.ndarray,
    lse: np.ndarray,
    ignore_index: int = -100,
    scale: float = 1.0,
) -> np.ndarray:
    """dlogits = (softmax - one-hot of the target) * scale / count; ignored rows are zero."""
    kept = kept_targets(targets, logits.shape[1], ignore_index)
    dlogits = np.exp(logits - lse[:, None])
    rows = np.flatnonzero(kept)
    dlogits[rows, targets[rows]] -= 1
    dlogits *= logits.dtype.type(scale / max(1, rows.size))
    dlogits[~kept] = 0
    return dlogits
