"""Links from a page to files of the project that aren't pages become the names of these files."""

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
LINK = re.compile(r"\[([^\]]*)\]\(((?!https?:|#)[^)#\s]+)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    folder = (DOCS / page.file.src_uri).parent

    def plain(found: re.Match[str]) -> str:
        target = (folder / found[2]).resolve()
        if target.is_relative_to(DOCS) or not target.exists():
            return found[0]  # a page, or a mistake that the build shall report
        name = target.relative_to(ROOT).as_posix()
        end_of_it = f"/{name}".endswith("/" + found[1].strip("`"))
        return f"`{name}`" if end_of_it else f"{found[1]} (`{name}`)"

    return LINK.sub(plain, markdown)
