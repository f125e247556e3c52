"""The command line as its users have it: a process of its own."""

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from litegpt import kernels

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]


def _command(arguments: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-m", "litegpt", *map(str, arguments)]


def _environment(changes: dict[str, str]) -> dict[str, str]:
    """This process's environment, in which subprocesses import the litegpt under test."""
    package = str(Path(kernels.__file__).parents[2])
    first = changes.pop("PYTHONPATH", None)
    paths = os.pathsep.join(filter(None, [first, package, os.environ.get("PYTHONPATH")]))
    quiet = "ignore::RuntimeWarning"  # that LiteGPT runs on NumPy, where it does
    return os.environ | {"PYTHONPATH": paths, "PYTHONWARNINGS": quiet} | changes


@pytest.fixture(scope="session")
def litegpt() -> Run:
    """Runs `python -m litegpt ARGUMENTS` to its end.

    redirect is for the shell (`>&-`), other keywords are environment variables.
    """

    def run(
        *arguments: object, redirect: str = "", **changes: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-c", f'exec "$@" {redirect}', "sh", *_command(arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            env=_environment(changes),
        )

    return run


@pytest.fixture
def start(ctrl_c: None) -> Iterator[Start]:
    """Starts `python -m litegpt ARGUMENTS`; what still runs at the end of the test is killed.

    Its output goes to pipes, or to the file descriptor of a terminal. before: a program that
    starts it.
    """
    processes: list[subprocess.Popen[str]] = []

    def launch(
        *arguments: object,
        terminal: int = subprocess.PIPE,
        stdin: int | None = None,
        before: Sequence[str] = (),
        **changes: str,
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*before, *_command(arguments)],
            stdin=stdin,
            stdout=terminal,
            stderr=terminal,
            text=True,
            env=_environment(changes),
        )
        processes.append(process)
        return process

    yield launch
    for process in processes:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()


@pytest.fixture
def terminal(start: Start) -> Callable[..., str]:
    """Runs `python -m litegpt ARGUMENTS` in a terminal to its end and returns what that shows.

    typed: what is typed in it, all at once.
    """

    def run(*arguments: object, typed: str = "", **changes: str) -> str:
        ours, theirs = pty.openpty()
        changes = {"TERM": "xterm", "COLUMNS": "120"} | changes
        process = start(*arguments, terminal=theirs, stdin=theirs, **changes)
        os.close(theirs)
        os.write(ours, typed.encode())
        shown = b""
        with open(ours, "rb", buffering=0) as screen, contextlib.suppress(OSError):
            while piece := screen.read(4096):  # OSError: nobody holds the terminal any more
                shown += piece
        assert process.wait(120) == 0, shown.decode()
        return shown.decode()

    return run


@pytest.fixture(scope="session")
def refused() -> Callable[[subprocess.CompletedProcess[str], list[str]], None]:
    """Asserts one line on stderr that names what is wrong, nothing else, and exit code 2."""

    def check(done: subprocess.CompletedProcess[str], named: list[str]) -> None:
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("litegpt: error: ")
        assert done.stderr.count("\n") == 1
        for word in named:
            assert word in done.stderr
        assert done.stdout == ""

    return check


@pytest.fixture(scope="session")
def small() -> list[str]:
    """Flags of a run that takes no time."""
    return (
        "--num-layers 1 --num-heads 2 --hidden-dim 8 --max-seq-len 8 --batch-size 4 "
        "--max-steps 12 --warmup-steps 2 --eval-interval 5 --eval-steps 2"
    ).split()


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of 1,290 characters, 17 different ones."""
    path = tmp_path_factory.mktemp("text") / "hamlet.txt"
    path.write_text("To be, or not to be, that is the question:\n" * 30)
    return path


@pytest.fixture(scope="session")
def trained(
    litegpt: Run, text_file: Path, small: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The directory of a small model trained on text_file; not to be written to."""
    directory = tmp_path_factory.mktemp("trained") / "model"
    done = litegpt("train", text_file, "--out", directory, *small)
    assert done.returncode == 0, done.stderr
    return directory
