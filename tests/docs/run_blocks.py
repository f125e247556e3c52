"""Runs the code blocks of one Markdown file, in order, in the current directory.

`python run_blocks.py FILE`. Blocks of ```python share one namespace, as if they were one program.
In blocks of ```console, lines after "$ " are run where they call litegpt, and what follows them is
what they must print ("..." stands for anything). A comment in the line before a block says what is
not for every machine or every day:

<!-- needs matplotlib -->          a package that may be absent
<!-- needs SmolLM2.gguf -->        a file: LITEGPT_SMOLLM2 names it
<!-- not run: takes an hour -->
<!-- prints otherwise: on another instruction set -->    it is run, and not compared
"""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

BLOCK = re.compile(
    r"(?:^<!-- (?P<note>.*?) -->\n)?^```(?P<kind>python|console)\n(?P<code>.*?)^```",
    re.DOTALL | re.MULTILINE,
)
_MODEL = "SmolLM2.gguf"


class Block(NamedTuple):
    kind: str
    code: str
    line: int  # of its first line in the file
    note: str


def blocks(text: str) -> list[Block]:
    return [
        Block(m["kind"], m["code"], 1 + text.count("\n", 0, m.start("code")), m["note"] or "")
        for m in BLOCK.finditer(text)
    ]


def left_out(note: str) -> str:
    """Why a block isn't run here; "" if it is."""
    if note.startswith("not run: "):
        return note.removeprefix("not run: ")
    if note.startswith("needs "):
        needed = note.removeprefix("needs ")
        model = os.environ.get("LITEGPT_SMOLLM2")
        if needed == _MODEL and model:
            Path(_MODEL).exists() or Path(_MODEL).symlink_to(model)
            return ""
        if needed != _MODEL and importlib.util.find_spec(needed):
            return ""
        return f"{needed} isn't here"
    return ""


def run_console(code: str, compare: bool = True) -> None:
    """Runs each command; AssertionError where it fails, or prints nothing or something else."""
    for command, expected in re.findall(r"^\$ (.*(?:\\\n.*)*)\n((?:(?!\$ ).*\n)*)", code, re.M):
        words = shlex.split(command, comments=True)
        if words[:1] != ["litegpt"]:
            continue
        done = subprocess.run(
            [sys.executable, "-m", "litegpt", *words[1:]],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        if not compare:
            expected = "..." if done.stdout.strip() else expected
        if expected.strip():
            pattern = ".*".join(map(re.escape, expected.strip().split("...")))
            assert re.fullmatch(pattern, done.stdout.strip(), re.DOTALL), (
                f"{command} printed\n{done.stdout}\nnot\n{expected}"
            )


def main(path: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(path.read_text("utf-8")):
        if why := left_out(block.note):
            print(f"{path.name}:{block.line} left out: {why}")
        elif block.kind == "console":
            run_console(block.code, not block.note.startswith("prints otherwise: "))
        else:  # the line numbers of a traceback are those of the file
            exec(compile("\n" * (block.line - 1) + block.code, str(path), "exec"), names)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
