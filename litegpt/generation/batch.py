"""Rows of ids that grow side by side, and the model that reads them."""

from collections.abc import Sequence

import numpy as np

from litegpt.generation.prompt_cache import PromptCache
from litegpt.models import GPTModel
from litegpt.models.decoding import DecodingStep

_ROOM = 1024  # new ids per row for which there is room at first


class Batch:
    """`first` and then `append(ids)` give the logits (B, V) of what follows each row.

    Prompts may differ in length: rows end at the same column of `text` (B, columns), row b begins
    at column starts[b], and what the model sees of it at begins[b]. Equal prompts are read once.
    A row longer than max_seq_len: "slide" goes on with the last max_seq_len ids, all of which are
    read anew for each id, since their positions change; "halve" with the last half of them, which
    are read anew once in so many ids.

    kept: a PromptCache to read on from, for one row only.
    """

    def __init__(
        self,
        model: GPTModel,
        prompts: Sequence[np.ndarray],
        new: int,
        use_cache: bool = True,
        on_overflow: str = "slide",
        kept: PromptCache | None = None,
        ahead: int = 0,
    ) -> None:
        self.model, self.limit = model, model.max_seq_len
        self._steady = model.config.steady_positions  # so many can be in the cache
        self._halves = on_overflow == "halve"
        lengths = np.array([len(prompt) for prompt in prompts])
        rows, self.end = len(prompts), int(lengths.max())
        self.text = np.zeros((rows, self.end + min(new, _ROOM)), np.int64)
        for row, prompt in enumerate(prompts):
            self.text[row, self.end - len(prompt) : self.end] = prompt
        self.starts = self.end - lengths
        self.begins = np.maximum(self.starts, self.end - self.limit)
        capacity = min(self._steady, min(self.end, self.limit) + max(new - 1, 0) + ahead)
        use_cache = use_cache and self.end - int(self.begins.min()) <= self._steady
        self._cached = np.arange(rows if use_cache else 0)  # the rows that are in the cache
        self.kept = kept = kept if use_cache else None
        if kept is None:
            self.cache = model.new_cache(len(self._cached), capacity)
        else:
            self._kept = kept.begin(self.row_window(0), capacity)
            self.cache = kept.kv
        self._step = DecodingStep(model, self.cache)
        self._plan()

    def _plan(self) -> None:
        """Up to which column a step of all rows is all that there is to do."""
        full, room = int(self.begins.min()) + self._steady, self.text.shape[1]
        self._plain_until = min(full, room) if len(self._cached) == len(self.text) else 0

    def row(self, row: int) -> np.ndarray:
        """A row's ids (T,) so far, its prompt first."""
        return self.text[row, self.starts[row] : self.end]

    def row_window(self, row: int) -> np.ndarray:
        """The last of a row's ids, as many as the model looks at."""
        return self.text[row, self.begins[row] : self.end]

    def first(self) -> np.ndarray:
        """Reads the prompts: logits (B, V)."""
        if self.kept is not None:
            return self.model.next_logits(self.row_window(0)[self._kept :], self.cache)
        return self._read(np.arange(len(self.text)), self.end, in_cache=bool(self._cached.size))

    def append(self, ids: np.ndarray) -> np.ndarray:
        """Adds an id to each row, (B,) -> logits (B, V), which the next call may overwrite."""
        end = self.end
        if end < self._plain_until:
            self.text[:, end] = ids
            self.end = end + 1
            return self._step(ids)
        self.note(ids)
        full = np.flatnonzero(self.end - self.begins > self.limit)
        if full.size and self._halves:
            self._halve(full)
        elif full.size:
            self.begins[full] = self.end - self.limit
            self._leave_cache(full)
        self._leave_cache(np.flatnonzero(self.end - self.begins > self._steady))
        self._plan()
        if len(self._cached) == len(ids):
            return self._step(ids)
        logits = np.empty((len(ids), self.model.vocab_size), np.float32)
        if self._cached.size:
            logits[self._cached] = self._step(ids[self._cached])
        others = np.setdiff1d(np.arange(len(ids)), self._cached)
        logits[others] = self._read(others, self.end, in_cache=False)
        return logits

    @property
    def room(self) -> int:
        """How many ids more the cache takes of the longest row; 0 once a row isn't in it."""
        if len(self._cached) < len(self.text):
            return 0
        return self._steady - (self.end - int(self.begins.min()))

    def note(self, ids: np.ndarray) -> None:
        """Adds an id to each row's text, unread."""
        if self.end == self.text.shape[1]:
            self.text = np.concatenate([self.text, np.zeros_like(self.text)], axis=1)
        self.text[:, self.end] = ids
        self.end += 1

    def close(self) -> None:
        """Leaves to the PromptCache what has been read."""
        if self.kept is not None:
            held = self.row_window(0) if self._cached.size else self.text[0, :0]
            self.kept.hold(held)

    def _halve(self, full: np.ndarray) -> None:
        """Forgets the first half of full rows; all but their last id is in the cache again."""
        self.begins[full] = self.end - max(self.limit // 2, 1)
        full = np.intersect1d(full, self._cached)
        self.cache.lengths[full] = 0
        if full.size and self.limit >= 4:
            self._read(full, self.end - 1, in_cache=True)

    def _leave_cache(self, rows: np.ndarray) -> None:
        """The cache goes on without these rows."""
        staying = np.flatnonzero(~np.isin(self._cached, rows))  # places in the cache
        if len(staying) == len(self._cached):
            return
        self._cached = self._cached[staying]
        if not staying.size:
            return
        smaller = self.model.new_cache(len(staying), self.cache.capacity)
        smaller.copy_rows(np.arange(len(staying)), self.cache, staying)
        self.cache = smaller
        self._step = DecodingStep(self.model, self.cache)

    def _read(self, rows: np.ndarray, end: int, in_cache: bool) -> np.ndarray:
        """Logits (n, V) after what rows (n,) show up to column end, rows of one length together.

        in_cache: their places in the cache, which has all rows, hold it afterwards.
        """
        alike: dict[bytes, list[int]] = {}  # what a row shows -> places in rows
        for place, row in enumerate(rows):
            shown = self.text[row, self.begins[row] : end]
            alike.setdefault(shown.tobytes(), []).append(place)
        by_length: dict[int, list[bytes]] = {}
        for shown_bytes in alike:
            by_length.setdefault(len(shown_bytes), []).append(shown_bytes)
        logits = np.empty((len(rows), self.model.vocab_size), np.float32)
        for group in by_length.values():
            ids = np.stack([np.frombuffer(shown, np.int64) for shown in group])  # (n, T)
            if len(group) == len(self.text):  # all rows, in their order
                return self.model.next_logits(ids, self.cache if in_cache else None)
            cache = self.model.new_cache(len(group), ids.shape[1]) if in_cache else None
            read = self.model.next_logits(ids, cache)
            for number, shown_bytes in enumerate(group):
                places = np.array(alike[shown_bytes])
                logits[places] = read[number]
                if cache is not None:
                    self.cache.copy_rows(rows[places], cache, np.full(len(places), number))
        return logits
