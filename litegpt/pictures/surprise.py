"""A text whose tokens are tinted by how much they surprised the model that read them."""

import math
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from litegpt.pictures.page import Html, element, page, section, table
from litegpt.pictures.tokens import label, one_line, pieces, printable
from litegpt.text import Tokenizer
from litegpt.text.extras import import_extra

LEVELS = 8
_HALF = 4.0  # bits at which half of the colour is reached: 1 in 16
_MOST_PIECES = 200_000  # on a page; browsers become slow
_CONTEXT = 24  # characters before a token where the most surprising ones are listed


class Surprise(NamedTuple):
    """Whole characters, and -log2 of their probability after all before them; NaN if unknown."""

    text: str
    bits: float


def surprises(tokenizer: Tokenizer, ids: np.ndarray, logprobs: np.ndarray) -> list[Surprise]:
    """A text (T,) in pieces, with natural-log probabilities (T,) of its ids.

    Tokens that share a character make one piece, whose bits are their sum.
    """
    bits = np.asarray(logprobs, np.float64) / -math.log(2)
    return [
        Surprise(piece.text, float(bits[piece.first : piece.end].sum()))
        for piece in pieces(tokenizer, ids)
    ]


def level(bits: float) -> int:
    """0 (as foreseen, or unknown) to LEVELS: steps of 1 - 2^(-bits / 4)."""
    return 0 if math.isnan(bits) else round(LEVELS * (1 - 2 ** (-max(bits, 0.0) / _HALF)))


def most_surprising(text: list[Surprise], count: int = 10) -> list[tuple[Surprise, str]]:
    """The pieces with the most bits, each with what stands before it."""
    known = [place for place, piece in enumerate(text) if not math.isnan(piece.bits)]
    known.sort(key=lambda place: -text[place].bits)
    return [(text[place], _before(text, place)) for place in known[:count]]


def _before(text: list[Surprise], place: int) -> str:
    """The last characters before a piece."""
    found = ""
    while place and len(found) < _CONTEXT:
        place -= 1
        found = text[place].text + found
    return found[-_CONTEXT:]


def score_page(text: list[Surprise], title: str, facts: str) -> str:
    """A page of the text, tinted; a token under the mouse says its bits.

    ValueError beyond 200,000 pieces.
    """
    if len(text) > _MOST_PIECES:
        raise ValueError(
            f"the text has {len(text):,} tokens; a page shows {_MOST_PIECES:,} at most"
        )
    legend = [
        element("span", f" {bits} ", class_=f"s{level(bits)}") for bits in (0, 1, 2, 4, 8, 16, 32)
    ]
    rows = [
        (f"{piece.bits:.1f}", _tinted(Surprise(label(piece.text), piece.bits)), one_line(before))
        for piece, before in most_surprising(text)
    ]
    return page(
        title,
        element("p", facts, class_="quiet"),
        element("p", "Bits of surprise: ", *legend, class_="legend"),
        element("pre", *map(_tinted, text), class_="tinted"),
        section("Most surprising", table(rows, ("bits", "token", "after"))),
        style=_STYLE,
    )


def _tinted(piece: Surprise) -> Html:
    """A span; a line end gets a sign, so that its tint has a place."""
    shown = piece.text.replace("\n", "⏎\n")
    if math.isnan(piece.bits):
        return element("span", shown, title="nothing stands before it")
    words = f"{piece.bits:.2f} bits: {_percent(2**-piece.bits)}"
    return element("span", shown, class_=f"s{level(piece.bits)}", title=words)


def _percent(p: float) -> str:
    return f"{100 * p:.2g} %" if p < 0.1 else f"{100 * p:.0f} %"


def print_tinted(text: Iterable[Surprise]) -> None:
    """The text in the terminal's colours, on stdout; MissingExtraError without rich."""
    console_module = import_extra("rich.console", "cli", "a tinted text")
    styles = [import_extra("rich.style", "cli", "").Style.parse(style) for style in _TERMINAL]
    made: Any = import_extra("rich.text", "cli", "").Text()
    for piece in text:
        made.append(printable(piece.text), styles[level(piece.bits)])
    # Asked for, so that a pipe or file gets it too; what those can show nobody says.
    colors = "auto" if sys.stdout.isatty() else "256"
    console = console_module.Console(force_terminal=True, color_system=colors)
    console.print(made, soft_wrap=True)


# Ground and letters together, so that they can be read in light and in dark terminals.
_TERMINAL = ["none"] + [
    f"{letters} on {ground}"
    for letters, ground in (
        ("#000000", "#fff3c4"),
        ("#000000", "#ffe39a"),
        ("#000000", "#ffcf73"),
        ("#000000", "#ffb454"),
        ("#000000", "#ff963f"),
        ("#000000", "#f57532"),
        ("#ffffff", "#cf4520"),
        ("#ffffff", "#a32314"),
    )
]

_STYLE = """
:root { --tint: 214, 84, 20; --strongest: 0.85; }
@media (prefers-color-scheme: dark) { :root { --tint: 245, 110, 40; --strongest: 0.6; } }
.tinted { line-height: 1.6; font-size: 0.95rem; background: none; padding: 0; }
.tinted span, td span, .legend span { border-radius: 3px; }
td span { unicode-bidi: isolate; }
.tinted span:hover { outline: 1px solid var(--text); }
.legend span { padding: 0 0.35rem; }
""" + "".join(
    f".s{n} {{ background: rgba(var(--tint), calc({n / LEVELS:g} * var(--strongest))); }}\n"
    for n in range(1, LEVELS + 1)
)
