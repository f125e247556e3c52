"""What the documents promise: their code runs, their links lead somewhere, the name is ours."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def python_blocks() -> list[object]:
    return [
        pytest.param(block, id=f"{text.relative_to(ROOT)}-{number}")
        for text in TEXTS
        for number, block in enumerate(PYTHON_BLOCK.findall(text.read_text("utf-8")), 1)
    ]


@pytest.mark.parametrize("code", python_blocks())
def test_every_block_of_python_runs(code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_readme_has_code() -> None:
    assert PYTHON_BLOCK.search((ROOT / "README.md").read_text("utf-8"))


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
