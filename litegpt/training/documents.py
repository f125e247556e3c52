"""Documents as tokens, in memory or in a token file, and which of them are kept for validation."""

import hashlib
from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from litegpt.nn.arrays import token_ids
from litegpt.text import Example

IGNORED = -100  # a target that isn't counted

_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: its multiples mod 2^64 lie evenly


class Documents(Protocol):
    """Tokens of documents, one after another; Corpus and litegpt.formats.TokenFile are such.

    ids (N,) integers; document d is ids[borders[d]:borders[d + 1]], borders (D + 1,) int64;
    ids[given[0, i]:given[1, i]] are there to be read and not to be learned, given (2, G) int64 in
    order. fingerprint tells these documents from others. let_go() gives back the memory of what
    was read, where that can be read again.
    """

    @property
    def ids(self) -> np.ndarray: ...

    @property
    def borders(self) -> np.ndarray: ...

    @property
    def given(self) -> np.ndarray: ...

    @property
    def fingerprint(self) -> str: ...

    def let_go(self) -> None: ...


class Corpus:
    """Documents in memory: Examples, or ids (T,) all of which are to be learned."""

    def __init__(self, documents: Iterable[Example | ArrayLike]) -> None:
        ids, given, ends, end = [np.zeros(0, np.int64)], [], [0], 0
        for document in documents:
            if isinstance(document, Example):
                edges = np.diff(~document.learned, prepend=False, append=False)
                given.append(np.flatnonzero(edges).reshape(-1, 2).T + end)  # (2, g)
                document = document.ids
            ids.append(token_ids(document))
            if ids[-1].ndim != 1:
                raise ValueError(f"a document must have the shape (T,), not {ids[-1].shape}")
            end += len(ids[-1])
            ends.append(end)
        self.ids = np.concatenate(ids)
        self.borders = np.array(ends, np.int64)
        self.given = np.concatenate([np.zeros((2, 0), np.int64), *given], axis=1)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(
            b"".join(array.tobytes() for array in (self.ids, self.borders, self.given))
        ).hexdigest()

    def let_go(self) -> None:
        """There is nothing but memory."""


class Part:
    """Stretches of documents, begins (K,) to ends (K,), read as if they were one text."""

    def __init__(self, documents: Documents, begins: np.ndarray, ends: np.ndarray) -> None:
        there = begins < ends
        self._documents, self.begins, self.ends = documents, begins[there], ends[there]
        self._starts = np.cumsum(np.r_[0, self.ends - self.begins])  # (K + 1,)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, start: int, ids: np.ndarray, learned: np.ndarray, first: np.ndarray) -> None:
        """Fills three arrays (n,) from the start-th token on.

        ids, whether they are to be learned, and whether they are the first of a stretch.
        """
        stretch = int(np.searchsorted(self._starts, start, "right")) - 1
        begin = int(self.begins[stretch]) + start - int(self._starts[stretch])
        done = 0
        while done < len(ids):
            end = min(int(self.ends[stretch]), begin + len(ids) - done)
            here = slice(done, done + end - begin)
            ids[here] = self._documents.ids[begin:end]
            mark_learned(self._documents.given, begin, learned[here])
            first[here] = False
            first[done] = begin == self.begins[stretch]
            done, stretch = here.stop, stretch + 1
            if done < len(ids):
                begin = int(self.begins[stretch])


def mark_learned(given: np.ndarray, begin: int, learned: np.ndarray) -> None:
    """learned (n,) = whether tokens begin to begin + n are to be learned."""
    learned[:] = True
    end = begin + len(learned)
    low = np.searchsorted(given[1], begin, "right")
    high = np.searchsorted(given[0], end, "left")
    for first, last in given[:, low:high].T:
        learned[max(first - begin, 0) : last - begin] = False


def held_back(borders: np.ndarray) -> np.ndarray:
    """Which documents are for validation, (D,) booleans: about a tenth of the tokens, or none.

    Documents spread evenly over the corpus, as many as make up a tenth of the tokens; those that
    are longer than that are never taken, nor those of one token, which foretell nothing. If it
    comes to less than half a tenth (one text, a few long ones), none is.
    """
    lengths, tenth = np.diff(borders), int(borders[-1]) // 10
    short = np.flatnonzero((lengths > 1) & (lengths <= tenth))
    order = short[np.argsort(short.astype(np.uint64) * _SPREAD, kind="stable")]
    taken = order[: np.searchsorted(np.cumsum(lengths[order]), tenth, "right")]
    held = np.zeros(len(lengths), bool)
    held[taken] = 2 * lengths[taken].sum() >= tenth
    return held


def split(documents: Documents) -> tuple[Part, Part]:
    """What is trained on, and what is kept for validation.

    Whole documents are kept (see held_back), or, where there are too few, the last tenth of each.
    """
    begins, ends = documents.borders[:-1], documents.borders[1:]
    held = held_back(documents.borders)
    if held.any():
        return Part(documents, begins[~held], ends[~held]), Part(
            documents, begins[held], ends[held]
        )
    cuts = ends - (ends - begins) // 10
    if len(ends) == 1:
        cuts = ends - last_tenth(int(ends[0]))
    return Part(documents, begins, cuts), Part(documents, cuts, ends)


def last_tenth(tokens: int) -> int:
    """Of one text: at least one to read and one to predict."""
    return max(2, tokens // 10)
