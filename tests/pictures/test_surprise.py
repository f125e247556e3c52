"""A text by its surprise: the bits are the model's, the tint follows them, the text stays text."""

import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litegpt import ByteTokenizer, TextModel
from litegpt.pictures import most_surprising, print_tinted, score_page, surprises, write_page
from litegpt.pictures.surprise import LEVELS, Surprise, level

TEXT = "<script>alert(1)</script>\nné & so\x1b[2J on"


def _scored(model: TextModel) -> list[Surprise]:
    [score] = model.score([TEXT])
    return surprises(model.tokenizer, score.ids, score.logprobs)


def test_bits_are_the_models(text_model: TextModel) -> None:
    ids = text_model.ids(TEXT)
    logits = text_model.model(ids)[0].astype(np.float64)  # (T, V)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    bits = -np.log2(p[np.arange(len(ids) - 1), ids[1:]])
    found = _scored(text_model)
    place = TEXT.index("é")
    assert math.isnan(found[0].bits)
    np.testing.assert_allclose(found[3].bits, bits[2], atol=1e-4)
    np.testing.assert_allclose(found[place].bits, bits[place - 1 : place + 1].sum(), atol=1e-4)
    assert "".join(piece.text for piece in found) == TEXT


def test_tint_grows_with_surprise() -> None:
    levels = [level(bits) for bits in (0.0, 0.5, 1, 2, 4, 8, 16, 40)]
    assert levels == sorted(levels) and levels[0] == 0 and levels[-1] == LEVELS
    assert level(4) == LEVELS // 2
    assert level(math.nan) == 0


def test_most_surprising_come_first_with_what_stands_before() -> None:
    text = [Surprise("a", math.nan), Surprise("b", 1.0), Surprise("c", 9.0), Surprise("d", 2.0)]
    assert most_surprising(text, 2) == [(text[2], "ab"), (text[3], "abc")]


class _Spans(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.spans: list[tuple[str, str]] = []  # class, text
        self._inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._inside = self._inside or ("class", "tinted") in attrs
        if self._inside and tag == "span":
            self.spans.append((dict(attrs).get("class") or "", ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "pre"

    def handle_data(self, data: str) -> None:
        if self._inside:
            name, text = self.spans[-1]
            self.spans[-1] = (name, text + data)


def test_the_page_is_the_text_tinted(text_model: TextModel) -> None:
    found = _scored(text_model)
    read = _Spans(score_page(found, "t", "facts"))
    assert "script" not in read.tags
    assert "".join(text for _, text in read.spans) == TEXT.replace("\n", "⏎\n").replace(
        "\x1b", "\ufffd"
    )
    assert [name for name, _ in read.spans[1:]] == [f"s{level(p.bits)}" for p in found[1:]]


def test_too_much_for_a_page() -> None:
    with pytest.raises(ValueError, match="200,001 tokens; a page shows 200,000 at most"):
        score_page([Surprise("a", 1.0)] * 200_001, "t", "")


def test_in_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich")
    print_tinted([Surprise("a\x1b[2J", 0.0), Surprise("b", 20.0), Surprise("[red]c", math.nan)])
    shown = capsys.readouterr().out
    assert re.fullmatch(r"a␛\[2J\x1b\[[\d;]+mb\x1b\[0m\[red\]c\n", shown), repr(shown)


def test_in_a_browser(browser: Any, text_model: TextModel, page_path: Path) -> None:
    found = _scored(text_model)
    write_page(page_path, score_page(found, TEXT, "facts"))
    grounds = {}
    for dark in (False, True):
        browser.open(page_path, dark)
        assert browser.run("document.querySelectorAll('script').length") == 0
        assert browser.run("document.querySelector('.tinted').textContent").startswith("<script>")
        most = f"s{max(level(piece.bits) for piece in found)}"
        grounds[dark] = browser.run(
            f"getComputedStyle(document.querySelector('.tinted .{most}')).backgroundColor"
        )
        assert re.fullmatch(r"rgba\(\d+, \d+, \d+, 0\.\d+\)", grounds[dark])
        assert browser.problems == [] and len(browser.requests) == 1
    assert grounds[False] != grounds[True]


def test_texts_from_right_to_left_run_so(browser: Any, page_path: Path) -> None:
    """Letters of a word stand in its own order, tokens of a word or not; so do lines beside it."""
    pieces = [Surprise(letter, 5.0) for letter in "שלום\nabc"]
    write_page(page_path, score_page(pieces, "t", "facts"))
    browser.open(page_path)
    lefts = browser.run(
        "[...document.querySelectorAll('.tinted span')].map(s => s.getBoundingClientRect().left)"
    )
    assert lefts[:4] == sorted(lefts[:4], reverse=True) and lefts[5:] == sorted(lefts[5:])


def test_a_narrow_window_breaks_no_number(browser: Any, page_path: Path) -> None:
    pieces = [Surprise("word ", 123.4) for _ in range(30)]
    write_page(page_path, score_page(pieces, "t", "facts"))
    browser.open(page_path, width=320)
    lines = browser.run(
        "[...document.querySelectorAll('th')].map(cell => {"
        "const words = document.createRange(); words.selectNodeContents(cell);"
        "return words.getClientRects().length })"
    )
    assert set(lines) == {1}


def test_a_byte_model_shows_broken_text() -> None:
    tokenizer = ByteTokenizer()
    found = surprises(tokenizer, np.array([0xF0, 0x9F, 0x41]), np.log([0.5, 0.25, 0.125]))
    assert found == [Surprise("\ufffdA", pytest.approx(6.0))]
