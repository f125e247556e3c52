"""`litegpt attention`: a page, or one line that says why there is none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_the_page_is_made(litegpt: Callable[..., Any], trained: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = litegpt("attention", "To be,", "--model", trained, "--out", page)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{page}: open it in a browser\n"
    written = page.read_text("utf-8")
    assert written.startswith("<!DOCTYPE html>") and "1 layers, 2 heads each, 6 tokens" in written


@pytest.mark.parametrize(("text", "out", "named"), [
    ("To be, or not", "page.html", ["TEXT", "13 tokens", "8 at most"]),
    ("", "page.html", ["TEXT", "a token or more"]),
    ("xyz?!", "page.html", ["TEXT", "doesn't know the character"]),
    ("To", "none/page.html", ["none", "No such file"]),
])  # fmt: skip
def test_refusals(
    litegpt: Callable[..., Any],
    refused: Callable[..., None],
    trained: Path,
    tmp_path: Path,
    text: str,
    out: str,
    named: list[str],
) -> None:
    refused(litegpt("attention", text, "--model", trained, "--out", tmp_path / out), named)
    assert not list(tmp_path.iterdir())
