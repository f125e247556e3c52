"""`litegpt score` and `litegpt sample-view`."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Litegpt = Callable[..., Any]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("line") / "line.txt"
    path.write_text("To be, or not to be\n")
    return path


def test_json_agrees_with_eval(litegpt: Litegpt, trained: Path, line: Path) -> None:
    scored = json.loads(litegpt("score", line, "--model", trained, "--json").stdout)
    evaluated = json.loads(litegpt("eval", line, "--model", trained, "--json").stdout)
    pieces = scored.pop("pieces")
    assert scored == evaluated
    assert "".join(piece["text"] for piece in pieces) == line.read_text()
    assert pieces[0]["bits"] is None
    nats = sum(piece["bits"] for piece in pieces[1:]) * math.log(2)
    assert nats == pytest.approx(scored["loss"] * 19, rel=1e-5)


def test_words_colors_and_page(litegpt: Litegpt, trained: Path, line: Path, tmp_path: Path) -> None:
    words = litegpt("score", line, "--model", trained).stdout.splitlines()
    assert "19 tokens scored" in words[0] and len(words) == 12
    bits = [float(row.split()[0]) for row in words[2:]]
    assert bits == sorted(bits, reverse=True)
    colored = litegpt("score", line, "--model", trained, "--color").stdout
    assert "\x1b[" in colored and colored.endswith(words[0] + "\n")
    page = tmp_path / "page.html"
    done = litegpt("score", line, "--model", trained, "--html", page)
    assert (done.returncode, done.stderr) == (0, "")
    assert page.read_text("utf-8").count("<span") > 19


def test_a_bar_on_a_terminal(terminal: Callable[..., str], trained: Path, line: Path) -> None:
    pytest.importorskip("rich", reason="the bar is rich's")
    for verb in ("score", "eval"):
        shown = terminal(verb, line, "--model", trained)
        assert "\x1b[" in shown and "19/19" in shown
        assert "19 tokens scored" in shown


def test_the_text_is_not_replaced_by_its_page(
    litegpt: Litegpt, refused: Callable[..., None], trained: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("To be")
    (tmp_path / "link.html").symlink_to(text)
    for page in (text, tmp_path / "link.html"):
        refused(litegpt("score", text, "--model", trained, "--html", page), [page.name, "the same"])
        assert text.read_text() == "To be"


def test_a_text_too_short(
    litegpt: Litegpt, refused: Callable[..., None], trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "one.txt").write_text("T")
    refused(litegpt("score", tmp_path / "one.txt", "--model", trained), ["one.txt", "two tokens"])


def test_sample_view(litegpt: Litegpt, trained: Path) -> None:
    flags = "--temperature 0.7 --top-k 3 --top-p 0.9 --min-p 0.01 --rows 5".split()
    done = litegpt("sample-view", "To be, or not\n", "--model", trained, *flags)
    assert (done.returncode, done.stderr) == (0, "")
    after, head, *rows, more, words = done.stdout.splitlines()
    assert (after, head.split()) == ("after To be, or not⏎", ["token", "model", "at", "T", "drawn"])
    assert len(rows) == 5 and rows[3].endswith("top-k") and rows[0].endswith("█")
    assert more.startswith("12 more")
    assert words.startswith("temperature 0.7 of 17 tokens; top-k 3 leaves 3 (")


@pytest.mark.parametrize(("flags", "named"), [
    (["--top-p", "0"], ["--top-p", "above 0"]), (["--rows", "0"], ["rows", "from 1 on"]),
])  # fmt: skip
def test_values_that_make_no_sense(
    litegpt: Litegpt, refused: Callable[..., None], trained: Path, flags: list[str],
    named: list[str],
) -> None:  # fmt: skip
    refused(litegpt("sample-view", "To", "--model", trained, *flags), named)
