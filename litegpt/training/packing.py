"""Rows filled with whole documents: for examples, which are to be read from their beginning."""

import hashlib
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from litegpt.training.data import Batch
from litegpt.training.documents import IGNORED, Documents, held_back, mark_learned


class PackedDocuments:
    """Rows of `window` tokens, filled with documents from their beginnings.

    Each document is in one row (best fit, the longest first), and one that is longer goes on in
    another. With borders, attention stays within a document and positions are counted in each, so
    that loss and gradients are those of the documents alone; without, a row is read as one text.
    What is left of a row counts for nothing. A tenth of the documents is kept for validation (see
    held_back; at least one). ValueError where there is nothing to train on or to validate with.
    """

    def __init__(self, documents: Documents, window: int, borders: bool = True) -> None:
        if window < 1:
            raise ValueError(f"window must be 1 or more, not {window}")
        self.documents, self.window, self.borders = documents, window, borders
        held = held_back(documents.borders)
        if not held.any() and len(held):
            held[-1] = True
        self._training = _Rows(documents, ~held, window, borders)
        self._validation = _Rows(documents, held, window, borders)
        if not len(self._training) or not len(self._validation):
            raise ValueError(
                f"too few documents ({len(held)}): one to train on and one to validate with "
                "are needed, each with something to learn in it"
            )

    @property
    def rows(self) -> int:
        """Rows that are trained on: as many make one pass through the documents."""
        return len(self._training)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the documents, and how they are put into rows."""
        facts = f"rows {self.window} {self.borders} {self.documents.fingerprint}"
        return hashlib.sha256(facts.encode()).hexdigest()

    def batch(self, batch_size: int, rng: np.random.Generator) -> Batch:
        """Rows drawn at random, none twice while there are enough."""
        rows = rng.choice(self.rows, batch_size, replace=batch_size > self.rows)
        return self._filled(self._training, rows)

    def validation_batches(self, batch_size: int, batches: int) -> Iterator[Batch]:
        """The rows for validation, each once, or, if they are too many, some spread evenly.

        The same ones every time; the last batch may be smaller.
        """
        wanted = min(len(self._validation), batch_size * batches)
        rows = np.linspace(0, len(self._validation) - 1, wanted).astype(np.int64)
        for start in range(0, wanted, batch_size):
            yield self._filled(self._validation, rows[start : start + batch_size])

    def _filled(self, part: "_Rows", rows: np.ndarray) -> Batch:
        shape = len(rows), self.window
        inputs, targets = np.zeros(shape, np.int64), np.full(shape, IGNORED, np.int64)
        starts = np.zeros(shape, bool)
        for i, row in enumerate(rows.tolist()):
            end = 0
            for begin, count, document_end in part.pieces(row):
                here = slice(end, end + count)
                inputs[i, here] = self.documents.ids[begin : begin + count]
                starts[i, end] = True
                foretold = min(count, document_end - begin - 1)
                learned = np.empty(foretold, bool)
                mark_learned(self.documents.given, begin + 1, learned)
                ids = self.documents.ids[begin + 1 : begin + 1 + foretold]
                targets[i, end : end + foretold][learned] = ids[learned]
                end = here.stop
            starts[i, end : end + 1] = True  # what is left stands by itself
        self.documents.let_go()
        return (inputs, targets, starts) if self.borders else (inputs, targets)


class _Rows:
    """Which pieces of documents make up which row."""

    def __init__(
        self, documents: Documents, chosen: np.ndarray, window: int, borders: bool
    ) -> None:
        begins, ends = documents.borders[:-1][chosen], documents.borders[1:][chosen]
        # A document's last token foretells nothing: it is read only where others look at it.
        positions = np.maximum(ends - begins - borders, 0)
        cuts = -(-positions // window)  # pieces of each document
        number = np.arange(cuts.sum()) - np.repeat(np.cumsum(cuts) - cuts, cuts)
        begin = np.repeat(begins, cuts) + number * window
        count = np.minimum(window, np.repeat(positions, cuts) - number * window)
        end = np.repeat(ends, cuts)
        useful = ~_all_given(documents.given, begin + 1, np.minimum(begin + 1 + count, end))
        pieces = np.stack([begin, count, end], axis=1)[useful]  # (P, 3)
        order, self._firsts = _best_fit(pieces[:, 1], window)
        self._pieces = pieces[order]

    def __len__(self) -> int:
        return len(self._firsts) - 1

    def pieces(self, row: int) -> list[list[int]]:
        """[first token, positions, end of the document] of each piece in a row."""
        return self._pieces[self._firsts[row] : self._firsts[row + 1]].tolist()


def _all_given(given: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Whether nothing from begins to ends, (P,) each, is to be learned."""
    if not given.shape[1]:
        return begins >= ends
    at = np.searchsorted(given[0], begins, "right") - 1
    return (begins >= ends) | ((at >= 0) & (given[1][at] >= ends))


def _best_fit(lengths: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    """The pieces in order of their rows, and where each row begins in that order, (R + 1,).

    Best-fit decreasing (Johnson, 1973): each piece, the longest first, goes where it leaves the
    least room.
    """
    rows: list[list[int]] = []
    with_room: dict[int, list[int]] = {}  # room left -> rows
    there = 0  # bit r is set where with_room[r] isn't empty
    for piece in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[piece])
        enough = there >> length
        if enough:
            left = length + (enough & -enough).bit_length() - 1  # the lowest bit
            row = with_room[left].pop()
            if not with_room[left]:
                there &= ~(1 << left)
        else:
            left, row = room, len(rows)
            rows.append([])
        rows[row].append(piece)
        left -= length
        with_room.setdefault(left, []).append(row)
        there |= 1 << left
    order = np.array([piece for row in rows for piece in row], np.int64)
    return order, np.cumsum([0, *map(len, rows)])
