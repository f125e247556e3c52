"""Windows of a long text: what a training step sees, and what validation sees."""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from itertools import count
from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Batch = tuple[np.ndarray, np.ndarray]  # inputs and targets, (B, T) int64 each
IGNORED = -100  # a target that isn't counted


class Data(Protocol):
    """Where batches come from; TextWindows is one.

    fingerprint tells these data from others: a run goes on with the ones that it began with.
    """

    @property
    def fingerprint(self) -> str: ...

    def batch(self, batch_size: int, rng: np.random.Generator) -> Batch: ...

    def validation_batches(self, batch_size: int, batches: int) -> Iterator[Batch]: ...


class TextWindows:
    """Random windows from the first 90 % of a text; the last 10 % are kept for validation.

    ids: (N,) tokens in reading order. window: T, tokens that the model reads at once; each window
    also needs the token after it, the last one to be predicted. A text whose training part is
    shorter than that: ValueError saying how long it has to be.
    """

    def __init__(self, ids: np.ndarray, window: int) -> None:
        if window < 1:
            raise ValueError(f"window must be 1 or more, not {window}")
        held_back = _held_back(len(ids))
        self.training, self.validation = ids[:-held_back], ids[-held_back:]
        if len(self.training) <= window:
            raise ValueError(
                f"the text has {len(ids)} tokens, too few for windows of {window}: "
                f"{_tokens_needed(window)} are needed (a window and the token after it in the "
                "first 90 %), or a smaller window"
            )
        self.window = window

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the ids, and how they are cut."""
        sha256 = hashlib.sha256(f"{self.window} {len(self.training)} ".encode())
        for part in (self.training, self.validation):
            sha256.update(np.ascontiguousarray(part, np.int64).data)
        return sha256.hexdigest()

    def batch(self, batch_size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets (B, T), int64, of windows that start anywhere in the training part."""
        starts = rng.integers(len(self.training) - self.window, size=batch_size)
        return _windows(self.training, starts, self.window)

    def validation_batches(
        self, batch_size: int, batches: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Inputs and targets (B, T) of windows spread evenly over the validation part.

        The same ones every time, so that losses can be compared. If the validation part is shorter
        than one window, it is the window.
        """
        window = min(self.window, len(self.validation) - 1)
        last = len(self.validation) - 1 - window
        starts = np.linspace(0, last, batches * batch_size).astype(np.int64)
        for few in np.split(starts, batches):
            yield _windows(self.validation, few, window)


def _windows(ids: np.ndarray, starts: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    every = sliding_window_view(ids, window)  # (N - T + 1, T), a view
    return every[starts].astype(np.int64), every[starts + 1].astype(np.int64)


def _held_back(tokens: int) -> int:
    return max(2, tokens // 10)  # at least one to read and one to predict


def _tokens_needed(window: int) -> int:
    """The length of the shortest text whose training part holds a window and the next token."""
    return next(n for n in count(window + 3) if n - _held_back(n) > window)
