"""When generation ends: ids, strings, lengths, time, and the word of the caller."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from litegpt.generation.arguments import check_integer, listed, refuse
from litegpt.nn.arrays import is_number


@dataclass(frozen=True)
class Stopping:
    """When rows end.

    - `max_new_tokens`: no row gets more
    - `min_new_tokens`: none of stop_ids is chosen before a row has so many new ones
    - `stop_ids`: a row ends with the first of them
    - `max_time`: seconds after which no further step begins; None: no limit
    - `cancel`: a function without arguments, asked after every step: true ends them all
    """

    max_new_tokens: int = 50
    min_new_tokens: int = 0
    stop_ids: Sequence[int] = ()
    max_time: float | None = None
    cancel: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        check_integer("max_new_tokens", self.max_new_tokens, 0)
        check_integer("min_new_tokens", self.min_new_tokens, 0)
        object.__setattr__(self, "stop_ids", listed("stop_ids", "ids", self.stop_ids))
        if self.max_time is not None and not is_number(self.max_time, 0):
            raise refuse("max_time", "None or seconds, 0 or more", self.max_time)
        if self.cancel is not None and not callable(self.cancel):
            raise refuse("cancel", "None or a function without arguments", self.cancel)


class Ending:
    """Which rows have ended, and why, from step to step.

    also: a function of (row, id) that ends further rows. Unless it `watches`, it need not be told
    of the steps.
    """

    def __init__(
        self, stopping: Stopping, rows: int, also: Callable[[int, int], bool] | None = None
    ) -> None:
        self._stopping, self._also = stopping, also
        self._stop_ids = np.array(list(stopping.stop_ids), np.int64)
        self._began = time.monotonic()
        self._by_row = bool(self._stop_ids.size) or also is not None
        self.watches = self._by_row or stopping.cancel is not None or stopping.max_time is not None
        self._steps = 0 if self.watches else int(stopping.max_new_tokens)
        self.any = False  # whether some row has ended before the others
        self.ended = np.zeros(rows, bool)
        self.reasons = ["length"] * rows
        self._ended_after = np.full(rows, np.iinfo(np.int64).max)  # steps

    @property
    def lengths(self) -> np.ndarray:
        """How many new tokens each row has (B,), the one that ended it included."""
        return np.minimum(self._ended_after, self._steps)

    def after(self, ids: np.ndarray) -> bool:
        """Takes note of a step's ids (B,); true if no further step is wanted."""
        self._steps += 1
        if self._by_row:
            stops = np.isin(ids, self._stop_ids) & ~self.ended
            if self._also is not None:
                for row in np.flatnonzero(~self.ended & ~stops):
                    stops[row] = self._also(int(row), int(ids[row]))
            self._end(stops, "stop")
            if self.ended.all():
                return True
        limit, cancel = self._stopping.max_time, self._stopping.cancel
        if cancel is not None and cancel():
            self._end(~self.ended, "cancel")
        elif limit is not None and time.monotonic() - self._began >= limit:
            self._end(~self.ended, "time")
        else:
            return False
        return True

    def _end(self, rows: np.ndarray, reason: str) -> None:
        for row in np.flatnonzero(rows):
            self.any = self.ended[row] = True
            self._ended_after[row], self.reasons[row] = self._steps, reason


class StopStrings:
    """Passes on text up to the first of some strings, however it is cut into pieces.

    The first is the one that ends first, of several that end together the longest. What may be the
    beginning of one is held back until that is settled.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        allowed = "texts of one character or more"
        self.strings = tuple(listed("stop", allowed, strings))
        for string in self.strings:
            if not isinstance(string, str) or not string:
                raise refuse("stop", allowed, string)
        self.found = False
        self._held = ""

    def feed(self, piece: str) -> str:
        """The text that is settled by this piece; nothing after the end."""
        if self.found or not self.strings:
            return "" if self.found else piece
        text = self._held + piece
        places = [(place + len(s), place) for s in self.strings if (place := text.find(s)) >= 0]
        if places:
            self.found = True
            self._held = ""
            return text[: min(places)[1]]  # (end, beginning)
        keep = max(map(self._begun, [text] * len(self.strings), self.strings))
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back, when nothing more comes."""
        held, self._held = self._held, ""
        return held

    @staticmethod
    def _begun(text: str, string: str) -> int:
        """How many of the text's last characters begin the string."""
        longest = min(len(string) - 1, len(text))
        return next((n for n in range(longest, 0, -1) if text.endswith(string[:n])), 0)
