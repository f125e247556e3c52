"""Windows of text: what a training step sees, and what validation sees."""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from itertools import count
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from litegpt.training.documents import IGNORED, Corpus, Documents, Part, last_tenth, split

_DRAWN_AGAIN = 1000  # times at most: one window in a hundred with an answer in it is enough
_TRIED = 16  # windows before a run

Batch = tuple[np.ndarray, ...]
"""Inputs and targets, (B, T) int64 each; targets of -100 don't count. For rows in which documents
are to be kept apart also document_starts (B, T), booleans: see GPTModel.forward."""


class Data(Protocol):
    """Where batches come from; TextWindows is one.

    fingerprint tells these data from others: a run goes on with the ones that it began with.
    """

    @property
    def fingerprint(self) -> str: ...

    def batch(self, batch_size: int, rng: np.random.Generator) -> Batch: ...

    def validation_batches(self, batch_size: int, batches: int) -> Iterator[Batch]: ...


def rows_of(batch: Batch, rows: slice) -> dict[str, Any]:
    """Some rows of a batch, as compute_loss and loss_and_backward take them."""
    names = ("input_ids", "target_ids", "document_starts")
    return {name: array[rows] for name, array in zip(names, batch, strict=False)}


class DocumentWindows:
    """Windows from anywhere in documents that are read one after another.

    window: T, tokens that the model reads at once; each window also needs the token after it, the
    last one to be predicted. With borders, attention stays within a document, positions are
    counted in each, and no document foretells the next. A tenth is kept for validation: of many
    documents whole ones (see held_back), of one or a few the last tenth of each. Too few tokens
    for a window: ValueError saying how many there have to be.
    """

    def __init__(self, documents: Documents, window: int, borders: bool = True) -> None:
        if window < 1:
            raise ValueError(f"window must be 1 or more, not {window}")
        self.documents, self.window, self.borders = documents, window, borders
        self._training, self._validation = split(documents)
        if len(self._training) <= window or len(self._validation) < 2:
            raise ValueError(_too_few(documents, len(self._training), window))
        if (self._drawn(_TRIED, np.random.default_rng(0))[1] == IGNORED).all():
            raise ValueError(
                f"no window of {window} has anything to learn in it: answers are too rare, or "
                "documents too short"
            )

    @property
    def rows(self) -> int:
        """Windows that are as long as what is trained on."""
        return max(1, len(self._training) // self.window)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the documents, and how they are cut."""
        facts = f"windows {self.window} {self.borders} {self.documents.fingerprint}"
        return hashlib.sha256(facts.encode()).hexdigest()

    def batch(self, batch_size: int, rng: np.random.Generator) -> Batch:
        """Windows that start anywhere in the training part; others for those that teach nothing."""
        return self._drawn(batch_size, rng)

    def _drawn(self, count: int, rng: np.random.Generator) -> Batch:
        """See batch, which a subclass may do otherwise."""
        last = len(self._training) - self.window
        batch = self._windows(self._training, rng.integers(last, size=count), self.window)
        for _ in range(_DRAWN_AGAIN):
            empty = np.flatnonzero((batch[1] == IGNORED).all(axis=1))
            if not len(empty):
                break
            starts = rng.integers(last, size=len(empty))
            for array, drawn in zip(
                batch, self._windows(self._training, starts, self.window), strict=True
            ):
                array[empty] = drawn
        return batch

    def validation_batches(self, batch_size: int, batches: int) -> Iterator[Batch]:
        """Windows spread evenly over the validation part.

        The same ones every time, so that losses can be compared. If the validation part is shorter
        than one window, it is the window.
        """
        window = min(self.window, len(self._validation) - 1)
        last = len(self._validation) - 1 - window
        starts = np.linspace(0, last, batches * batch_size).astype(np.int64)
        for few in np.split(starts, batches):
            yield self._windows(self._validation, few, window)

    def _windows(self, part: Part, starts: np.ndarray, window: int) -> Batch:
        shape = len(starts), window + 1
        ids, learned, first = (
            np.empty(shape, np.int64),
            np.empty(shape, bool),
            np.empty(shape, bool),
        )
        for row, start in enumerate(starts.tolist()):
            part.read(start, ids[row], learned[row], first[row])
        self.documents.let_go()
        inputs = np.ascontiguousarray(ids[:, :-1])
        counted = learned[:, 1:] & ~first[:, 1:] if self.borders else learned[:, 1:]
        targets = np.where(counted, ids[:, 1:], IGNORED)
        return (inputs, targets, first[:, :-1]) if self.borders else (inputs, targets)


class TextWindows(DocumentWindows):
    """Random windows from the first 90 % of a text; the last 10 % are kept for validation.

    ids: (N,) tokens in reading order. Batches are inputs and targets (B, T), int64.
    """

    def __init__(self, ids: ArrayLike, window: int) -> None:
        super().__init__(Corpus([ids]), window, borders=False)


def _too_few(documents: Documents, training: int, window: int) -> str:
    tokens, number = int(documents.borders[-1]), len(documents.borders) - 1
    if number == 1:
        return (
            f"the text has {tokens} tokens, too few for windows of {window}: "
            f"{_tokens_needed(window)} are needed (a window and the token after it in the "
            "first 90 %), or a smaller window"
        )
    return (
        f"{number} documents of {tokens} tokens leave {training} to train on, too few for windows "
        f"of {window}: {window + 1} are needed, or a smaller window"
    )


def _tokens_needed(window: int) -> int:
    """The length of the shortest text whose training part holds a window and the next token."""
    return next(n for n in count(window + 3) if n - last_tenth(n) > window)
