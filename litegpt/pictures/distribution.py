"""The distribution of the next token, and what each rule of sampling takes away from it."""

import unicodedata
from dataclasses import dataclass

import numpy as np

from litegpt.kernels.reference.sampling import ranked, refusal
from litegpt.pictures.tokens import token_label
from litegpt.text import Tokenizer

FILTERS = ("top-k", "top-p", "min-p")
_EIGHTHS = " ▏▎▍▌▋▊▉"
_LABEL = 16  # characters of a token


@dataclass(frozen=True)
class NextToken:
    """ids (V,), the most probable first, and three probabilities of each.

    model: by the model itself. warm: after temperature. drawn: with which it is drawn in the end,
    0 for those that a filter removed. left: how many stay after top-k, top-p and min-p in turn.
    """

    ids: np.ndarray
    model: np.ndarray
    warm: np.ndarray
    drawn: np.ndarray
    left: tuple[int, int, int]

    @classmethod
    def of(
        cls, logits: np.ndarray, temperature: float, top_k: int, top_p: float, min_p: float
    ) -> "NextToken":
        """Of logits (V,), with what kernels.sample takes (0, 1.0 and 0.0: no filter).

        Temperature 0 leaves the first alone. Logits that can't be sampled from: ValueError.
        """
        if not np.isfinite(logits.max()):
            raise refusal(0)
        scores = logits.astype(np.float64) - logits.max()
        model = _shares(scores)
        if temperature == 0:
            order, left = np.argsort(-scores, kind="stable"), (1, 1, 1)
            warm = np.zeros(len(scores))
            warm[order[0]] = 1
        else:
            scores = scores / temperature
            order, left = ranked(scores, top_k or len(scores), top_p, min_p)
            warm = _shares(scores)
        drawn = warm[order]
        drawn[left[-1] :] = 0
        return cls(order, model[order], warm[order], drawn / drawn.sum(), left)

    def removed_by(self, place: int) -> str:
        """The filter that removed the token of this place; "" if it stays."""
        return next(
            (name for name, left in zip(FILTERS, self.left, strict=True) if place >= left), ""
        )


def _shares(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores)
    return weights / weights.sum()


def bars(found: NextToken, tokenizer: Tokenizer, rows: int, width: int) -> list[str]:
    """The likeliest tokens as lines of at most `width` characters, and what the others have.

    A bar is as long as the probability after temperature; solid if the token can be drawn, else
    light, with the filter that removed it.
    """
    shown = min(rows, len(found.ids))
    head = f"{'token':<{_LABEL}}{'model':>8}{'at T':>8}{'drawn':>8}  "
    room = max(8, width - len(head) - 8)
    longest = max(found.warm[0], 1e-300)
    lines = [head.rstrip()]
    for place in range(shown):
        removed = found.removed_by(place)
        length = room * found.warm[place] / longest
        bar = "░" * max(1, round(length)) if removed else _solid(length)
        cells = [_label(tokenizer, int(found.ids[place]))]
        cells += [f"{_percent(p):>8}" for p in (found.model[place], found.warm[place])]
        cells.append(f"{'-' if removed else _percent(found.drawn[place]):>8}")
        lines.append(f"{''.join(cells)}  {bar} {removed}".rstrip())
    if rest := len(found.ids) - shown:
        cells = [f"{rest:,} more".ljust(_LABEL)]
        cells += [f"{_percent(p[shown:].sum()):>8}" for p in (found.model, found.warm, found.drawn)]
        lines.append("".join(cells))
    return lines


def _solid(length: float) -> str:
    eighths = max(1, round(8 * length))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _label(tokenizer: Tokenizer, token_id: int) -> str:
    """A token in as many columns of a terminal as its place has."""
    if token_id >= tokenizer.vocab_size:  # of a model whose table is padded
        return f"#{token_id}".ljust(_LABEL)
    label = token_label(tokenizer, token_id)
    if _columns(label) >= _LABEL:
        while _columns(label) > _LABEL - 2:
            label = label[:-1]
        label += "…"
    return label + " " * (_LABEL - _columns(label))


def _columns(text: str) -> int:
    """Columns in a terminal: two for wide characters (Chinese, emoji), none for combining ones."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def _percent(p: float) -> str:
    return f"{100 * p:.2f} %" if p < 0.1 else f"{100 * p:.1f} %"
