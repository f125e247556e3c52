"""LiteGPT against what people would use in its place, and against the machine's limits.

    pip install -e '.[peers]'
    python benchmarks/peers.py                     the whole table, in Markdown
    python benchmarks/peers.py --only "decode, float32"
    python benchmarks/peers.py --json

Each row is run by LiteGPT, by every peer that is installed and by the limit in alternation, each in
a process of its own, once the peers' answers agree with LiteGPT's. Figures are medians. The limit
is the time in which this machine does nothing but read (or copy) the memory that must be read and
do the multiply-adds that must be done.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import numpy as np
from contenders import CONTENDERS, LIMIT, LITEGPT, PEERS
from contenders.worker import ContenderError, Worker
from rows import ROWS, Figures, Row

from litegpt import __version__, backend
from litegpt.cli.info import processor
from litegpt.kernels.threads import default_threads

_LEAST = 0.02  # seconds in a sample: short calls are repeated within it
_PACKAGES = {  # on the package index, by contender
    "PyTorch": "torch",
    "transformers": "transformers",
    "llama.cpp": "llama-cpp-python",
    "CTranslate2": "ctranslate2",
}


class Contest:
    """Measures rows, in processes that are started when first needed; a context manager."""

    def __init__(self, folder: Path, threads: int, repetitions: int) -> None:
        self._settings = (folder, threads)
        self._repetitions = repetitions
        self._workers: dict[str, Worker] = {}
        self._stack = ExitStack()
        self.not_measured: dict[str, list[str]] = {}  # contender and reason -> rows

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def measure(self, row: Row) -> Figures:
        """Medians of alternating samples; None for those that can't, or that disagree."""
        seconds = self._medians(row, self._prepared(row))
        names = [LITEGPT, *row.peers, *([LIMIT] if row.limit else [])]
        return {name: row.figure(seconds[name]) if name in seconds else None for name in names}

    def machine(self) -> list[float] | None:
        """Bytes/s read from memory, operations/s on float32, on bfloat16 and on 8-bit codes; None
        without compiled kernels."""
        rates = []
        kinds = {"read": 2.0**30, "flops": 2e10, "bfloat16": 4e10, "q8": 8e10}
        for kind, amount in kinds.items():
            row = Row(kind, "", {}, "machine/s", (), (), amount, {kind: amount})
            try:
                self._prepare(row, LIMIT)
            except ContenderError:
                return None
            rates.append(row.figure(self._medians(row, [LIMIT])[LIMIT]))
        return rates

    def _worker(self, name: str) -> Worker:
        if name not in self._workers:
            if missing := CONTENDERS[name].missing():
                raise ContenderError(f"not installed ({', '.join(missing)})")
            self._workers[name] = self._stack.enter_context(Worker(name, *self._settings))
        return self._workers[name]

    def _prepare(self, row: Row, name: str) -> np.ndarray | None:
        if name == LIMIT:
            return self._worker(name).prepare("limit", row.limit)
        options = row.options | row.own if name == LITEGPT else row.options
        return self._worker(name).prepare(row.task, options)

    def _prepared(self, row: Row) -> list[str]:
        """Who can run the row, and agrees with the first that can."""
        ready, expected = [], None
        for name in (LITEGPT, *row.peers, *([LIMIT] if row.limit else [])):
            try:
                answer = self._prepare(row, name)
                if answer is not None and expected is not None:
                    check(answer, expected, row.tolerance)
            except ContenderError as error:
                self.not_measured.setdefault(f"{name}: {error}", []).append(row.name)
                continue
            ready.append(name)
            expected = answer if expected is None else expected
        return ready

    def _medians(self, row: Row, names: Sequence[str]) -> dict[str, float]:
        workers = {name: self._workers[name] for name in names}
        calls = {name: _calls(worker) if row.is_time else 1 for name, worker in workers.items()}
        samples: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(self._repetitions):
            for name, worker in workers.items():
                samples[name].append(worker.measure(calls[name]))
        for worker in workers.values():
            worker.forget()
        return {name: statistics.median(taken) for name, taken in samples.items()}


def check(answer: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """ContenderError if two answers differ by more, relative to the size of what is expected."""
    if answer.shape != expected.shape:
        raise ContenderError(f"its answer is {answer.shape}, not {expected.shape}")
    answer, expected = (np.asarray(a, np.float64) for a in (answer, expected))
    difference = np.linalg.norm(answer - expected) / np.linalg.norm(expected)
    if not difference <= tolerance:  # nor NaN
        raise ContenderError(f"its answer differs by {difference:.2g}, allowed {tolerance:g}")


def _calls(worker: Worker) -> int:
    """How many calls make a sample; they warm up on the way."""
    seconds = worker.measure(1)
    if seconds < _LEAST:
        seconds = worker.measure(3)
    return max(1, round(_LEAST / seconds))


def as_json(row: Row, figures: Figures) -> dict[str, Any]:
    """A row as --json shows it; figures are in the row's unit."""
    return {
        "name": row.name,
        "unit": row.unit,
        "litegpt": figures[LITEGPT],
        "peers": {peer: figures[peer] for peer in row.peers},
        "limit": figures.get(LIMIT),
        "wanted": row.wanted_text(),
        "holds": row.holds(figures),
    }


HEADER = ["work", "unit", LITEGPT, *PEERS, "to the best", LIMIT, "share", "wanted", "holds"]


def cells(row: Row, figures: Figures) -> list[str]:
    """A row of the table, as HEADER names its columns."""
    ours, limit, best = figures[LITEGPT], figures.get(LIMIT), row.best_peer(figures)
    share = None
    if ours is not None and limit is not None:
        share = ours / limit if row.is_rate else limit / ours
    ratio = None if ours is None or best is None else ours / (figures[best] or 1.0)
    holds = {True: "yes", False: "NO", None: "unknown"}[row.holds(figures)]
    return [
        row.name,
        row.unit,
        "not available" if ours is None else _number(ours),
        *(_cell(peer, row, figures) for peer in PEERS),
        "" if ratio is None else f"{ratio:.2f} ×",
        "" if limit is None else _number(limit),
        "" if share is None else f"{share:.0%}",
        row.wanted_text(),
        holds,
    ]


def _cell(peer: str, row: Row, figures: Figures) -> str:
    if peer not in row.peers:
        return ""
    figure = figures[peer]
    return "not measured" if figure is None else _number(figure)


def _number(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


def markdown(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def versions() -> str:
    """LiteGPT's and the installed peers' versions."""
    found = [f"{LITEGPT} {__version__} ({backend()})"]
    for name, package in _PACKAGES.items():
        try:
            found.append(f"{name} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print a list of rows as JSON")
    parser.add_argument("--only", metavar="NAME", help="measure this row alone")
    parser.add_argument(
        "--threads", type=at_least_1, default=default_threads(), help="of everybody"
    )
    parser.add_argument("--repetitions", type=at_least_1, default=7, help="samples of each figure")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir(), "litegpt-peers"),
        help="where models are kept from run to run, 2 GB (default: %(default)s)",
    )
    arguments = parser.parse_args()
    rows = selected(arguments.only)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with Contest(arguments.folder, arguments.threads, arguments.repetitions) as contest:
        if arguments.json:
            print(json.dumps([as_json(row, contest.measure(row)) for row in rows], indent=2))
        else:
            print_table(rows, contest, arguments.threads)
    for reason, names in contest.not_measured.items():
        print(f"not measured: {reason} [{'; '.join(names)}]", file=sys.stderr)


def at_least_1(text: str) -> int:
    """What --threads and --repetitions take."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, not {text!r}")
    return int(text)


def selected(only: str | None) -> list[Row]:
    """All rows or the one of this name; SystemExit lists them if there is none."""
    if only is None:
        return ROWS
    found = [row for row in ROWS if row.name == only]
    if not found:
        names = "\n  ".join(row.name for row in ROWS)
        raise SystemExit(f"no row is called {only!r}; rows:\n  {names}")
    return found


def print_table(rows: Sequence[Row], contest: Contest, threads: int) -> None:
    """Each line as soon as it is measured."""
    machine = f"{processor()}, {threads} threads"
    if rates := contest.machine():
        reads, floats, halves, codes = (rate / 1e9 for rate in rates)
        machine += (
            f"; reads {reads:.1f} GB/s, {floats:.0f} GFLOP/s float32, {halves:.0f} bfloat16, "
            f"{codes:.0f} GOP/s 8-bit"
        )
    print(f"{machine}\n\n{versions()}\n")
    print(markdown(HEADER))
    print(markdown(["---", "---", *["---:"] * (len(PEERS) + 4), "---", "---"]))
    for row in rows:
        print(markdown(cells(row, contest.measure(row))), flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
