"""A page: one HTML file that needs no network, in light and in dark.

Texts are never trusted: whatever isn't Html already is escaped on its way in.
"""

import base64
import errno
import hashlib
import json
import os
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Self

from litegpt.formats.files import write_together

_VOID = frozenset({"br", "col", "hr", "link", "meta", "wbr"})  # elements without an end
_NAME = re.compile(r"[a-zA-Z][-a-zA-Z0-9:]*")
_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"}
    # What HTML has no place for, and what would turn the reading direction of the text around it.
    | dict.fromkeys((*range(9), 11, 12, *range(14, 32), *range(127, 160)), "\ufffd")
    | dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\ufffd")
    | dict.fromkeys(range(0xD800, 0xE000), "\ufffd")  # half a surrogate pair
)


class Html(str):
    """Markup that is safe to put into a page as it is."""

    __slots__ = ()

    def __add__(self, other: str) -> Self:
        return type(self)(super().__add__(escape(other)))


def escape(text: object) -> Html:
    """The text as markup that shows it; Html stays as it is."""
    return text if isinstance(text, Html) else Html(str(text).translate(_ESCAPES))


def element(tag: str, *children: object, **attributes: object) -> Html:
    """<tag attributes>children</tag>, everything escaped that isn't Html.

    class_ and for_ are the attributes class and for, other underscores become hyphens. A value of
    None or False leaves an attribute out, True gives it without a value.
    """
    words = [tag]
    for name, value in attributes.items():
        name = name.rstrip("_").replace("_", "-")
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} can't name an attribute")
        if value is True:
            words.append(name)
        elif value is not None and value is not False:
            words.append(f'{name}="{escape(value)}"')
    opened = f"<{' '.join(words)}>"
    if tag in _VOID:
        return Html(opened)
    return Html(f"{opened}{''.join(map(escape, children))}</{tag}>")


def join(*parts: object) -> Html:
    """Parts one after the other, as one piece of markup."""
    return Html("".join(map(escape, parts)))


def table(rows: Sequence[tuple[object, ...]], head: tuple[object, ...] = ()) -> Html:
    """A table of rows; the first cell of each names it."""
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", c) for c in row[1:]))
        for row in rows
    ]
    top = element("thead", element("tr", *(element("th", cell, scope="col") for cell in head)))
    return element("table", top if head else "", element("tbody", *body))


def section(title: str, *content: object) -> Html:
    """A part of a page under its heading."""
    return element("section", element("h2", title), *content)


def page(title: str, *content: object, style: str = "", script: str = "", data: Any = None) -> str:
    """The whole document. style and script are ours, never made from texts.

    The script finds data, anything that JSON can say, texts too, by
    `JSON.parse(document.getElementById("data").textContent)`. The page's content security policy
    lets a browser load nothing from anywhere, and run no script but the one given, by its hash.
    """
    allowed = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        allowed += f"; script-src 'sha256-{digest}'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=allowed),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Html(_STYLE + style)),
    )
    body = element(
        "body",
        element("main", element("h1", title), *content),
        "" if data is None else element("script", _json(data), id="data", type="application/json"),
        element("script", Html(script)) if script else "",
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def write_page(path: Path, document: str) -> None:
    """Writes the document of a page, whole or not at all; an OSError names what is in the way."""
    path.parent.stat()
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))

    def write(partial: Path) -> None:
        partial.write_text(document, "utf-8")

    write_together({path: write})


def beside(name: str) -> str:
    """The content of a style or script that lies in this folder."""
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _json(data: Any) -> Html:
    """JSON in which nothing can end the element that it stands in; ValueError for NaN and inf."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(text)


# Colours of series tell apart with the common kinds of colour blindness (Okabe and Ito, 2008),
# darker on light ground and lighter on dark.
_STYLE = """
:root {
  --ground: #fff; --raised: #f5f6f8; --text: #1c2128; --quiet: #5b6470; --line: #d5d9df;
  --series-1: #0072b2; --series-2: #c04a00; --series-3: #00795a; --series-4: #9b4f88;
  --good: #00795a; --warn: #b35900;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14171c; --raised: #1d2229; --text: #e3e7ed; --quiet: #9aa4b2; --line: #353c47;
    --series-1: #56b4e9; --series-2: #f08c4a; --series-3: #2fc394; --series-4: #d590c3;
    --good: #2fc394; --warn: #f0a04a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif;
}
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0.5rem 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 0.75rem; }
p { margin: 0.5rem 0; }
a { color: var(--series-1); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 1rem 0.2rem 0; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; unicode-bidi: plaintext; }
tbody tr { border-top: 1px solid var(--line); }
tbody th { font-weight: 400; color: var(--quiet); }
thead th { font-weight: 600; }
pre, code, .text { font-family: ui-monospace, "DejaVu Sans Mono", "Liberation Mono", monospace;
  font-size: 0.875rem; }
pre { margin: 0.25rem 0; padding: 0.75rem 1rem; background: var(--raised); border-radius: 6px;
  white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: plaintext; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--quiet); font: 12px system-ui, "Segoe UI", "Liberation Sans", sans-serif; }
.quiet { color: var(--quiet); }
"""
