"""What a user waits for, and what memory it takes: a program that opens a model and writes.

The program is a contender's, in Python, and runs in a process of its own each time. It finds in
sys.argv the file, the prompt, how many tokens to write and the number of threads, and leaves what
it wrote in `text`.
"""

import json
import os
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np

from contenders import Task, inputs

PROMPT = "The capital of France is"
_REPORT = """
import json
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({"text": text, "kilobytes": int(status["VmHWM"].split()[0])}), flush=True)
"""


def first_token(program: str) -> Task:
    """Seconds from the program's start to its first token; how it ends is nobody's wait."""
    return Task(
        lambda: _run(program, 1).seconds,
        lambda: _characters(_run(program, 1).text),
        measures=True,
    )


def memory(program: str, new: int) -> Task:
    """The most resident memory (MB) of a program that writes `new` tokens."""
    return Task(lambda: _run(program, new).megabytes, measures=True)


class _Run(NamedTuple):
    seconds: float  # until it had written
    text: str
    megabytes: float  # the most memory that it had


def _run(program: str, new: int) -> _Run:
    arguments = [str(inputs.smollm2()), PROMPT, str(new), os.environ["OMP_NUM_THREADS"]]
    command = [sys.executable, "-c", program + _REPORT, *arguments]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # compiled once, as when installed
    start = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        report = process.stdout.readline()
        seconds = time.perf_counter() - start
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    said = json.loads(report)
    return _Run(seconds, said["text"], said["kilobytes"] * 1024 / 1e6)


def _characters(text: str) -> np.ndarray:
    """A text as an answer that can be compared: its code points."""
    return np.array([ord(character) for character in text], np.float64)
