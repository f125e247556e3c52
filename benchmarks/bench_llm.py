"""Six benchmarks of the whole: attention, block, forward, generation, training step, memory.

    python benchmarks/bench_llm.py             # tables
    python benchmarks/bench_llm.py memory      # one of them
    python benchmarks/bench_llm.py --markdown  # for docs/performance.md: one table of times
    QUICK=1 python benchmarks/bench_llm.py     # fewer sizes, fewer samples
    pytest benchmarks/bench_llm.py             # by pytest-benchmark

Every backend that this machine has takes part, and PyTorch where it is installed, with the same
weights and inputs; what they compute is compared before anything is timed.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from contenders import Task
from llm_work import MODELS, Work, all_work
from peers import markdown
from resident import TORCH, made_model, resident

import litegpt
from litegpt import GPTModel

QUICK = os.environ.get("QUICK", "0") not in ("", "0")
MEMORY = "memory"
_LEAST = 2e-3  # seconds in a sample: short calls are repeated within it


def contenders() -> list[str]:
    """The backends, slowest first, or the one that LITEGPT_BACKEND names; and PyTorch."""
    forced = os.environ.get("LITEGPT_BACKEND")
    ours = [litegpt.backend()] if forced else litegpt.available_backends()
    return [*ours, TORCH] if find_spec("torch") else ours


@contextmanager
def taking_part(contender: str) -> Iterator[None]:
    """Puts a backend to use, or PyTorch on as many threads."""
    if contender == TORCH:
        import torch

        torch.set_num_threads(litegpt.num_threads())
        yield
    else:
        with litegpt.use_backend(contender):
            yield


def checked_task(work: Work, contender: str) -> Task:
    """A contender's task; AssertionError where it computes something else than the numpy rung."""
    make = work.torch if contender == TORCH else work.ours
    work.check(make().answer())  # type: ignore[misc]
    return make()


def seconds(work: Work, samples: int) -> dict[str, float]:
    """The median time of each contender; they take turns."""
    from litegpt.cli.bench import settle

    tasks, calls = {}, {}
    for contender in contenders():
        with taking_part(contender):
            tasks[contender] = task = checked_task(work, contender)
            task.run()
            calls[contender] = max(1, round(_LEAST / _sample(task, 1)))
    times: dict[str, list[float]] = {contender: [] for contender in tasks}
    for _ in range(samples):
        for contender, task in tasks.items():
            settle()
            with taking_part(contender):
                task.run()
                times[contender].append(_sample(task, calls[contender]))
    return {contender: statistics.median(taken) for contender, taken in times.items()}


def _sample(task: Task, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        task.run()
    return (time.perf_counter() - start) / calls


def speed_rows(works: list[Work]) -> list[list[str]]:
    """Milliseconds of each contender, and the rate of the best backend."""
    rows = []
    for work in works:
        taken = seconds(work, 3 if QUICK else 7)
        best = [taken[name] for name in taken if name != TORCH][-1]
        cells = [f"{1e3 * s:.3f}" for s in taken.values()]
        rows.append([work.name, work.size, *cells, f"{work.amount / best:,.0f} tokens/s"])
    return rows


def memory_table() -> tuple[list[str], list[list[str]]]:
    """The sizes of models: header and rows. All compiled backends keep the same arrays."""
    measured = [c for c in contenders() if c in ("numpy", litegpt.backend(), TORCH)]
    rows = []
    for name in MODELS:
        model = GPTModel(*MODELS[name], dropout=0.0, seed=0)
        found = [size for who in measured for size in resident(name, who)]
        sizes = [f"{size / 1e6:,.2f}" for size in (model.nbytes, *found)]
        rows.append([name, f"{model.get_num_parameters():,}", *sizes])
    columns = [f"{who} {when}" for who in measured for when in ("made", "generating")]
    return ["size", "parameters", "weights", *columns], rows


def show(header: list[str], rows: list[list[str]], words: int, as_markdown: bool) -> None:
    """Prints a table; the first columns hold words, others numbers."""
    from litegpt.cli.output import print_table

    if not as_markdown:
        print_table(header, rows, words)
        return
    rule = ["---"] * words + ["---:"] * (len(header) - words)
    print("", *map(markdown, [header, rule, *rows]), sep="\n")


def main() -> None:
    from litegpt.cli.info import processor

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="attention ... memory (all)")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    arguments = parser.parse_args()
    wanted = arguments.names
    works = all_work(QUICK)
    if unknown := set(wanted) - {*works, MEMORY}:
        parser.error(f"{min(unknown)!r} is none of: {', '.join([*works, MEMORY])}")
    print(f"litegpt {litegpt.__version__} on {processor()}, {litegpt.num_threads()} threads")
    titles = wanted or [*works, MEMORY]
    timed = [title for title in titles if title != MEMORY]
    tables = [timed] if arguments.markdown and timed else [[title] for title in timed]
    for together in tables:
        print(f"\n{', '.join(together)}, ms")
        rows = [row for title in together for row in speed_rows(works[title])]
        show(["work", "size", *contenders(), "rate"], rows, 2, arguments.markdown)
    if MEMORY in titles:
        print("\nmemory, MB: weights, and what a process grows by: model made, generating")
        show(*memory_table(), 1, arguments.markdown)


if __name__ == "__main__":
    main()
    sys.exit()

import pytest  # noqa: E402

WORK = [
    pytest.param(work, id=f"{work.name} {work.size}")
    for works in all_work(QUICK).values()
    for work in works
]
quickly = pytest.mark.benchmark(max_time=0.05 if QUICK else 0.3, min_rounds=3)


@quickly
@pytest.mark.parametrize("contender", contenders())
@pytest.mark.parametrize("work", WORK)
def test_speed(benchmark: Any, work: Work, contender: str) -> None:
    with taking_part(contender):
        benchmark.group = f"{work.name} {work.size}"
        benchmark(checked_task(work, contender).run)
    if benchmark.stats is not None:  # None under --benchmark-disable
        rate = work.amount / benchmark.stats.stats.median
        benchmark.extra_info.update(backend=contender, rate=rate, unit="tokens/s")


@quickly
@pytest.mark.parametrize("contender", contenders())
@pytest.mark.parametrize("name", MODELS)
def test_memory(benchmark: Any, name: str, contender: str) -> None:
    """Making a model is timed; beside it stand the bytes that it takes in a new process."""
    made, generating = resident(name, contender)
    benchmark.group = f"memory {name}"
    with taking_part(contender):
        benchmark(made_model, name, contender)
    parameters = GPTModel(*MODELS[name], dropout=0.0, seed=0).get_num_parameters()
    assert generating >= made >= 0.9 * 4 * parameters - 2**20  # small ones find room that is there
    facts = {"parameters": parameters, "generating": generating}
    benchmark.extra_info.update(backend=contender, rate=made, unit="bytes", **facts)
