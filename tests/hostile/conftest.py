"""Programs that say how much memory they have held."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Not resource.getrusage: its figure for a process that another one started begins with that one's.
_PEAK = """
from pathlib import Path

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])  # KiB
"""

_REFUSALS = """
import sys
Model.from_pretrained(sys.argv[1])  # imports, and what they take
before, errors = peak(), []
for path in sys.argv[2:]:
    try:
        Model.from_pretrained(path)
        errors.append(f"read {path}")
    except ValueError as error:
        errors.append(f"{type(error).__name__}: {error}")
print(peak() - before, *errors, sep="\\n")
"""


@pytest.fixture
def measured() -> Callable[..., list[str]]:
    """Runs a program that may call peak(); the lines that it prints."""

    def run(program: str, *arguments: object) -> list[str]:
        command = [sys.executable, "-W", "ignore", "-c", _PEAK + program, *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.splitlines()

    return run


@pytest.fixture
def refusals(measured: Callable[..., list[str]]) -> Callable[..., tuple[int, list[str]]]:
    """The bytes that models of a class (as imported under the name Model) take, and what is raised
    for each; the first of them is sound, and isn't counted."""

    def run(imported: str, good: Path, *paths: Path) -> tuple[int, list[str]]:
        kilobytes, *errors = measured(imported + _REFUSALS, good, *paths)
        return int(kilobytes) * 1024, errors

    return run
