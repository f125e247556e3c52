"""`litegpt report`, from the outside."""

from html import unescape


def test_a_page_about_a_run(litegpt, trained, tmp_path) -> None:
    page = tmp_path / "page.html"
    done = litegpt("report", trained, "--out", page)
    assert done.returncode == 0, done.stderr
    first, *_, last = done.stdout.splitlines()
    assert first.startswith("Nothing was learned: guessing evenly among 17 tokens has a loss of ")
    assert last == f"{page}: open it in a browser"
    shown = page.read_text("utf-8")
    assert shown.startswith("<!DOCTYPE html>") and shown.endswith("</html>\n")
    assert first in unescape(shown) and shown.count("<svg") == 4


def test_what_is_no_run(litegpt, refused, tmp_path) -> None:
    refused(litegpt("report", tmp_path), [str(tmp_path), "holds no run"])
    (tmp_path / "log.jsonl").write_text("what?\n")
    refused(litegpt("report", tmp_path), ["log.jsonl: line 1", "JSON object"])


def test_a_page_that_cannot_be_written(litegpt, refused, trained, tmp_path) -> None:
    page = tmp_path / "absent" / "page.html"
    refused(litegpt("report", trained, "--out", page), [str(page.parent), "No such file"])
