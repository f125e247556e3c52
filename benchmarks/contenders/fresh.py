"""What a user waits for, and what memory it takes: a program that opens a model and writes.

The program is a contender's, in Python, and runs in a process of its own each time. It finds in
sys.argv the file, the prompt, how many tokens to write and the number of threads, and leaves what
it wrote in `text`.
"""

import json
import os
import subprocess
import sys

import numpy as np

from contenders import Task, inputs

PROMPT = "The capital of France is"
_REPORT = """
import json
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({"text": text, "kilobytes": int(status["VmHWM"].split()[0])}))
"""


def first_token(program: str) -> Task:
    """The whole program up to its first token."""
    return Task(lambda: _run(program, 1), lambda: _characters(_run(program, 1)[0]))


def memory(program: str, new: int) -> Task:
    """The most resident memory (MB) of a program that writes `new` tokens."""
    return Task(lambda: _run(program, new)[1], measures=True)


def _run(program: str, new: int) -> tuple[str, float]:
    """What it wrote, and the most memory that it had, in MB."""
    arguments = [str(inputs.smollm2()), PROMPT, str(new), os.environ["OMP_NUM_THREADS"]]
    done = subprocess.run(
        [sys.executable, "-c", program + _REPORT, *arguments],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},  # compiled once, as when installed
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout)
    return said["text"], said["kilobytes"] * 1024 / 1e6


def _characters(text: str) -> np.ndarray:
    """A text as an answer that can be compared: its code points."""
    return np.array([ord(character) for character in text], np.float64)
