"""What README and the documents show is what happens: their blocks are run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from litegpt import kernels
from litegpt.cli import command_parser

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TEXTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SHELL = re.compile(r"^```(?:sh|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^(?:\$ )?((?:[A-Z_]+=\S+ )*litegpt (?:.*\\\n)*.*)", re.MULTILINE)


def _name(text: Path) -> str:
    return str(text.relative_to(ROOT))


def _run(file: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    package = str(Path(kernels.__file__).parents[2])
    return subprocess.run(
        [sys.executable, HERE / "run_blocks.py", file],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": package, "PYTHONWARNINGS": "ignore::RuntimeWarning"},
    )


@pytest.mark.parametrize(
    "text",
    [text for text in TEXTS if re.search("^```(python|console)$", text.read_text("utf-8"), re.M)],
    ids=_name,
)
def test_every_block_runs(text: Path, tmp_path: Path) -> None:
    done = _run(text, tmp_path)
    assert done.returncode == 0, done.stderr
    print(done.stdout)  # which were left out, and why


def _commands() -> list[object]:
    """The litegpt commands of all blocks of shell."""
    return [
        pytest.param(command, id=f"{_name(text)}: {command[:60]}")
        for text in TEXTS
        for block in SHELL.findall(text.read_text("utf-8"))
        for command in COMMAND.findall(block)
    ]


@pytest.mark.parametrize("command", _commands())
def test_every_command_is_one(command: str) -> None:
    """Verbs and flags that are shown exist, also where the command itself isn't run."""
    words = shlex.split(command.replace("\\\n", " "), comments=True)
    arguments = words[words.index("litegpt") + 1 :]
    command_parser().parse_args(arguments)


def test_the_readme_has_code() -> None:
    assert "```python\n" in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize(("block", "problem"), [
    ("```python\nx = 1\n```\ntext\n```python\nassert x == 2\n```\n", 'md", line 6'),
    ("```console\n$ litegpt info --jsn\n```\n", "unrecognized arguments: --jsn"),
    ("```console\n$ litegpt --version\nlitegpt 0\n```\n", "litegpt --version printed"),
])  # fmt: skip
def test_a_wrong_block_is_found(block: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.md").write_text(block)
    done = _run(tmp_path / "wrong.md", tmp_path)
    assert done.returncode == 1 and problem in done.stderr


def test_what_runs_and_what_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "right.md").write_text(
        "```console\n$ make demo\n$ litegpt --version\nlitegpt ...\n```\n\n"
        "<!-- not run: takes an hour -->\n```python\n1 / 0\n```\n\n"
        "<!-- prints otherwise: tomorrow -->\n```console\n$ litegpt --version\nlitegpt 0\n```\n\n"
        "<!-- needs nosuchpackage -->\n```python\n1 / 0\n```\n"
    )
    done = _run(tmp_path / "right.md", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "right.md:9 left out: takes an hour\nright.md:20 left out: nosuchpackage isn't here\n"
    )
