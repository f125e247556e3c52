"""What the documents promise: their links lead somewhere, the name is ours."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXTS = sorted([*ROOT.glob("*.md"), ROOT / "csrc/README.md", *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: str(text.relative_to(ROOT)))
def test_links_lead_somewhere(text: Path) -> None:
    targets = LINK.findall(text.read_text("utf-8"))
    assert not [target for target in targets if not (text.parent / target).exists()]


def test_no_text_installs_the_package_of_somebody_else() -> None:
    folders = ("litegpt", "docs", "tests", "benchmarks", "examples", "csrc", ".github", ".ci")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*") if file.is_file()]
    wrong = re.compile(rb"pip install (?:-\S+ )*['\"]?litegpt(?![-\w])")
    texts = (".py", ".pyx", ".md", ".toml", ".yml", ".yaml", ".c", ".h", "")
    named = [*ROOT.glob("*.*"), ROOT / "Makefile", *files]
    guilty = [
        str(file.relative_to(ROOT))
        for file in named
        if file.is_file() and file.suffix in texts and wrong.search(file.read_bytes())
    ]
    assert not guilty
