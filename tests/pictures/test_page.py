"""Pages: what they show is what was given, whatever was given."""

import base64
import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litegpt.pictures.page import Html, element, escape, join, page, section, table, write_page

HOSTILE = [
    "</pre></title></style><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\" onmouseover='alert(1)' x=`",
    "&lt;script&gt; &amp;#60;",
    "<!-- --><![CDATA[ ]]><?php ?>",
]


class Reader(HTMLParser):
    """What a browser would make of a page: its elements, their attributes, its text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)


def read(markup: str) -> Reader:
    reader = Reader()
    reader.feed(markup)
    reader.close()
    assert not reader.open
    return reader


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_is_shown_and_never_obeyed(text: str) -> None:
    plain = read(page("t", element("p", "x", title="x"), section("s"), table([("x", "x")])))
    hostile = read(
        page(text, element("p", text, title=text), section(text), table([(text, text)], (text,)))
    )
    tags = [tag for tag, _ in hostile.elements if tag not in ("thead", "tr", "th")]
    assert tags == [tag for tag, _ in plain.elements if tag not in ("thead", "tr", "th")]
    assert hostile.text.count(text) == 7  # title, h1, p, h2, th, th, td
    (paragraph,) = [attributes for tag, attributes in hostile.elements if tag == "p"]
    assert paragraph == {"title": text}


@given(st.text())
def test_any_text_survives_or_is_replaced(text: str) -> None:
    shown = "".join(read(str(element("p", text))).text)
    assert len(shown) == len(text)
    shown.encode()  # no half of a surrogate pair
    assert all(a == b or b == "\ufffd" for a, b in zip(text, shown, strict=True))


def test_direction_marks_and_control_characters_are_replaced() -> None:
    assert (
        escape("a\u202eb\u2066c\x00d\x1b\ud800\te\n") == "a\ufffdb\ufffdc\ufffdd\ufffd\ufffd\te\n"
    )


def test_markup_stays_markup_and_is_escaped_once() -> None:
    inner = element("b", "1 < 2")
    assert inner == "<b>1 &lt; 2</b>"
    assert element("p", inner, " & ", 3) == "<p><b>1 &lt; 2</b> &amp; 3</p>"
    assert join(inner, "<") == "<b>1 &lt; 2</b>&lt;"
    assert isinstance(inner + "<", Html) and inner + "<" == "<b>1 &lt; 2</b>&lt;"


def test_attributes() -> None:
    assert (
        element("td", class_="a b", stroke_width=1.5, hidden=True, open=False, id=None)
        == '<td class="a b" stroke-width="1.5" hidden></td>'
    )
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'
    with pytest.raises(ValueError, match="can't name an attribute"):
        element("td", **{"x onclick": 1})


def test_a_page_may_load_nothing_and_run_its_own_script_only() -> None:
    def policy(document: str) -> str:
        (found,) = [a["content"] for tag, a in read(document).elements if "http-equiv" in a]
        return found

    assert policy(page("t")).startswith("default-src 'none';")
    assert "script" not in policy(page("t"))
    digest = base64.b64encode(hashlib.sha256(b"1 < 2;").digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy(page("t", script="1 < 2;"))
    assert "1 < 2;" in page("t", script="1 < 2;")
    assert "http" not in page("t").replace("http-equiv", "")


@pytest.mark.parametrize("text", HOSTILE)
def test_data_stays_data(text: str) -> None:
    class Scripts(Reader):
        def handle_data(self, data: str) -> None:
            if self.open and self.open[-1] == "script":
                self.text.append(data)

    reader = Scripts()
    reader.feed(page("t", data={"text": text + "\ud800"}))
    assert [json.loads(held) for held in reader.text] == [{"text": text + "\ud800"}]
    with pytest.raises(ValueError, match="JSON compliant"):
        page("t", data=float("nan"))


def test_a_page_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text("before")
    write_page(path, page("é \ud800"))
    assert "<title>é \ufffd</title>" in path.read_text("utf-8")
    assert list(tmp_path.iterdir()) == [path]
    for wrong, named in ((tmp_path / "none" / "a.html", tmp_path / "none"), (tmp_path, tmp_path)):
        with pytest.raises(OSError) as caught:
            write_page(wrong, page("t"))
        assert caught.value.filename in (named, str(named))
    assert list(tmp_path.iterdir()) == [path]
