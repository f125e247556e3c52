"""A contender in a process of its own, stopped whenever it isn't its turn.

Thread pools of several libraries in one process fight for the cores, and some spin for a while
after their work. A stopped process does neither, so every library keeps its own settings.

Requests and replies are lines of JSON on the worker's stdin and stdout; answers are .npy files.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import IO, Any, Self

import numpy as np

from contenders import CONTENDERS, Task
from contenders.inputs import FOLDER

BENCHMARKS = Path(__file__).resolve().parents[1]


class ContenderError(Exception):
    """What a contender said instead of an answer, in one line."""


class Worker:
    """Starts a contender's process; use as a context manager."""

    def __init__(self, name: str, folder: Path, threads: int) -> None:
        self._answer = folder / f"{CONTENDERS[name].module}-answer.npy"
        self._log = folder / f"{CONTENDERS[name].module}.log"
        count = str(threads)
        settings = {
            FOLDER: str(folder),
            "PYTHONPATH": os.pathsep.join([str(BENCHMARKS), *filter(None, sys.path)]),
            "LITEGPT_NUM_THREADS": count,
            "OMP_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
            "OPENBLAS_NUM_THREADS": count,
            "HF_HUB_OFFLINE": "1",
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "contenders.worker", CONTENDERS[name].module],
                env=os.environ | settings,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def prepare(self, task: str, options: dict[str, Any]) -> np.ndarray | None:
        """Makes a task ready, in place of the one before; returns its answer, if it has one."""
        reply = self._ask({"prepare": task, "options": options, "answer": str(self._answer)})
        return np.load(self._answer) if reply["answered"] else None

    def measure(self, calls: int) -> float:
        """Seconds that a call takes, over several calls in a row; or what it measures itself."""
        return float(self._ask({"calls": calls})["measured"])

    def value(self) -> tuple[float, float]:
        """What the next call gives, a number, and the seconds that it takes."""
        reply = self._ask({"calls": 1})
        return float(reply["value"]), float(reply["measured"])

    def forget(self) -> None:
        """Frees the task's memory."""
        self._ask({"prepare": None})

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        assert process.stdin and process.stdout
        process.send_signal(signal.SIGCONT)
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise ContenderError(f"its process ended; {self._log} says more")
        process.send_signal(signal.SIGSTOP)
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise ContenderError(reply["error"])
        return reply

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._answer.unlink(missing_ok=True)


def serve(module: str, requests: IO[str], replies: IO[str]) -> None:
    """The worker's side."""
    task: Task | None = None
    for line in requests:
        request = json.loads(line)
        try:
            if "prepare" in request:
                task = None  # its memory first
                task, reply = _prepare(module, **request)
            else:
                assert task
                run = task.run
                reply = {"measured": run()} if task.measures else _timed(run, request["calls"])
        except Exception as error:
            said = " ".join(str(error).split())
            reply = {"error": f"{type(error).__name__}: {said}"}
        print(json.dumps(reply), file=replies, flush=True)


def _prepare(
    module: str, prepare: str | None, options: dict[str, Any] | None = None, answer: str = ""
) -> tuple[Task | None, dict[str, Any]]:
    if prepare is None:
        return None, {}
    task: Task = getattr(import_module(f"contenders.{module}"), prepare)(**(options or {}))
    if task.answer:
        np.save(answer, task.answer())
    return task, {"answered": task.answer is not None}


def _timed(run: Callable[[], object], calls: int) -> dict[str, Any]:
    """Seconds that a call takes, and what the last one gave if that's a number."""
    if calls > 1:
        run()  # caches and threads are warm for all but this one
    start = perf_counter()
    for _ in range(calls):
        given = run()
    timed: dict[str, Any] = {"measured": (perf_counter() - start) / calls}
    return timed | ({"value": given} if isinstance(given, float) else {})


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w") as replies:
        os.dup2(2, 1)  # whatever libraries print goes to the log
        serve(sys.argv[1], sys.stdin, replies)
