"""`litegpt bench`: pure NumPy against the compiled kernels."""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import chain
from typing import Any

from litegpt import __version__, kernels
from litegpt.cli.errors import InputError, check_backend
from litegpt.cli.info import processor
from litegpt.cli.output import print_table, say, say_json
from litegpt.cli.workloads import Workload, kernel_workloads, model_workloads

_LEAST = 1e-2  # seconds in a sample: short calls are repeated, which leaves workers time to wake


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "bench",
        help="compare pure NumPy with the compiled kernels",
        description="Times every kernel and one small model on NumPy and on the compiled "
        "kernels in alternation, checks that both compute the same, and shows medians, their "
        "ratio, and how much work that is in a second. LITEGPT_BACKEND chooses another rung.",
    )
    parser.add_argument("--quick", action="store_true", help="one size of each, fewer samples")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    check_backend()
    backends = list(dict.fromkeys(["numpy", kernels.backend()]))
    rows = []
    for workload in chain(kernel_workloads(arguments.quick), model_workloads()):
        _status(f"{workload.name} {workload.size}")
        rows.append(measure(workload, backends, samples=3 if arguments.quick else 7))
    _status("")
    if arguments.json:
        facts = {"version": __version__, "processor": processor(), "backends": backends}
        say_json({**facts, "threads": kernels.num_threads(), "rows": rows})
        return 0
    say(f"litegpt {__version__} on {processor()}, {kernels.num_threads()} threads")
    if len(backends) == 1:
        because = kernels.native_error or "LITEGPT_BACKEND names numpy"
        say(f"only NumPy is measured: no compiled kernels ({because})")
    print_table(_header(backends), [_cells(row, backends) for row in rows], words=2)
    return 0


def measure(workload: Workload, backends: Sequence[str], samples: int) -> dict[str, Any]:
    """Medians of alternating samples on each backend, once each has been found right.

    A result that disagrees with the reference: InputError, since its time means nothing.
    """
    calls = {}
    for name in backends:
        with kernels.use_backend(name):
            if problem := workload.check():
                raise InputError(f"{name}: {workload.name} {workload.size} is wrong: {problem}")
            once = _sample(workload, 1)
            calls[name] = max(1, round(_LEAST / once))
    times: dict[str, list[float]] = {name: [] for name in backends}
    for _ in range(samples):
        for name in backends:
            settle()
            with kernels.use_backend(name):
                workload.call()
                times[name].append(_sample(workload, calls[name]))
    seconds = {name: statistics.median(taken) for name, taken in times.items()}
    ratio = seconds["numpy"] / seconds[backends[-1]] if len(backends) > 1 else None
    rate = workload.amount / seconds[backends[-1]]
    return {
        "name": workload.name,
        "size": workload.size,
        "seconds": seconds,
        "ratio": ratio,
        "rate": rate,
        "unit": workload.unit,
        "wanted_ratio": workload.wanted_ratio,
        "wanted_rate": workload.wanted_rate,
        "holds": _holds(workload, ratio, rate),
    }


def settle() -> None:
    """Waits while threads of this process spin, as a BLAS's do long after their work."""
    for _ in range(200):
        before = time.process_time()
        time.sleep(0.005)
        if time.process_time() - before < 0.001:
            return


def _sample(workload: Workload, calls: int) -> float:
    """Seconds for a call, over several calls in a row."""
    start = time.perf_counter()
    for _ in range(calls):
        workload.call()
    return (time.perf_counter() - start) / calls


def _holds(workload: Workload, ratio: float | None, rate: float) -> bool | None:
    """Whether what is wanted of the compiled kernels is reached; None where nothing is."""
    if ratio is None:
        return None
    if workload.wanted_ratio is not None:
        return ratio >= workload.wanted_ratio
    return None if workload.wanted_rate is None else rate >= workload.wanted_rate


def _status(text: str) -> None:
    """One line on a terminal that says what is being timed."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def _header(backends: Sequence[str]) -> list[str]:
    rungs = [f"{name} ms" for name in backends]
    ratio = ["ratio", "wanted"] if len(backends) > 1 else []
    return ["work", "size", *rungs, *ratio, "rate"]


def _cells(row: dict[str, Any], backends: Sequence[str]) -> list[str]:
    """A row of the table, as _header names its columns."""
    rate = f"{row['rate']:,.0f}" if row["rate"] >= 100 else f"{row['rate']:.3g}"
    cells = [row["name"], row["size"], *(f"{row['seconds'][b] * 1e3:.3f}" for b in backends)]
    if len(backends) > 1:
        wanted = ""
        if row["wanted_ratio"] is not None:
            wanted = f"{row['wanted_ratio']:g}x"
        elif row["wanted_rate"] is not None:
            wanted = f"{row['wanted_rate']:,.0f} {row['unit']}"
        if wanted:
            wanted = f"{wanted} {'yes' if row['holds'] else 'NO'}"
        cells += [f"{row['ratio']:.1f}x", wanted]
    return [*cells, f"{rate} {row['unit']}"]
