"""Speculative decoding by prompt lookup: what came after the same ids before may come again.

Leviathan et al., 2022 (arXiv:2211.17192), with the text itself in place of a small model. A guess
of several ids is read in one pass, which costs little more than reading one where weights are
what takes the time; each id of it counts only if it is what would have been chosen anyway. So the
tokens are the same as without, greedy or sampled (bit for bit on compiled kernels, whose logits
don't depend on how many positions are read together).
"""

import numpy as np

from litegpt.generation.batch import Batch

_MATCHES = (3, 2)  # ids that have to be the same, the better first


class Lookahead:
    """A Batch of one row whose `append` reads up to `count` guessed ids beyond the given one."""

    def __init__(self, batch: Batch, count: int) -> None:
        self._batch, self._count = batch, count
        self._guess: list[int] = []  # read already, and not yet chosen
        self._logits = np.empty((1, 0, 0), np.float32)  # after each id of the last pass
        self._place = 0

    def first(self) -> np.ndarray:
        return self._batch.first()

    def append(self, ids: np.ndarray) -> np.ndarray:
        """As Batch.append: ids (1,) -> logits (1, V)."""
        batch = self._batch
        if self._guess and self._guess[0] == ids[0]:
            batch.note(ids)
            del self._guess[0]
            self._place += 1
            return self._logits[:, self._place]
        self.forget()
        text = np.append(batch.row_window(0), ids)
        room = min(self._count, batch.room - 1)  # beside the id that is given
        self._guess = continuation(text, room) if room > 0 else []
        if not self._guess:
            return batch.append(ids)
        batch.note(ids)
        self._place = 0
        self._logits = batch.model.next_logits([*ids, *self._guess], batch.cache, every=True)
        return self._logits[:, 0]  # (1, 1 + guessed, V) -> (1, V)

    def forget(self) -> None:
        """Takes the guess that wasn't chosen out of the cache again."""
        self._batch.cache.lengths -= len(self._guess)
        self._guess = []

    def close(self) -> None:
        self.forget()
        self._batch.close()


def continuation(text: np.ndarray, count: int) -> list[int]:
    """Up to count ids that followed when text (T,) last held the ids it ends with; perhaps none."""
    for size in _MATCHES:
        if len(text) <= size:
            continue
        earlier = np.lib.stride_tricks.sliding_window_view(text[:-1], size)  # (T - n, n)
        ends = np.flatnonzero((earlier == text[-size:]).all(axis=1)) + size
        if ends.size:
            whole = ends[ends + count <= len(text)]
            end = int(whole[-1] if whole.size else ends[0])
            return text[end : end + count].tolist()
    return []
