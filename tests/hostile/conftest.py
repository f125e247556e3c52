"""Programs that say how much memory they have held."""

import subprocess
import sys
from collections.abc import Callable

import pytest

# Not resource.getrusage: its figure for a process that another one started begins with that one's.
_PEAK = """
from pathlib import Path

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])  # KiB
"""


@pytest.fixture
def measured() -> Callable[..., list[str]]:
    """Runs a program that may call peak(); the words that it prints."""

    def run(program: str, *arguments: object) -> list[str]:
        command = [sys.executable, "-W", "ignore", "-c", _PEAK + program, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    return run
