"""What more machines would give: computed from steps measured here and a network's figures.

    python benchmarks/scaling.py                 the tables of docs/scaling.md
    python benchmarks/scaling.py --cpu-time      one thread by its processor time: on a busy machine

A training step is run on this machine, with a watch in the place of the other ranks: it notes when
each bucket of gradients is complete. Then, for a number of nodes like this one, the buckets are
sent one after the other over a link of so many Gbit/s, while backward goes on, and the step is over
when the last has come. For nodes that compute faster, every measured time is divided (--faster).
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from litegpt import AdamW, GPTModel, kernels
from litegpt.nn import Parameter
from litegpt.training.parallel import BUCKET, groups

NODES = (8, 64, 512)
USED = 0.9  # share of a link's nominal rate that a program gets
LATENCY = {10: 25e-6, 100: 3e-6}  # seconds for a message: TCP over Ethernet; InfiniBand or RoCE
PASSES = 5  # of which the medians count


@dataclass(frozen=True)
class Work:
    """A model and what one node reads of it in a step."""

    name: str
    shape: dict[str, int]
    rows: int
    length: int


WORKS = (
    Work(
        "10 M",
        {"vocab_size": 65, "num_layers": 6, "num_heads": 6, "hidden_dim": 384},
        rows=8,
        length=256,
    ),
    Work(
        "GPT-2 124M",
        {"vocab_size": 50257, "num_layers": 12, "num_heads": 12, "hidden_dim": 768},
        rows=4,
        length=256,
    ),
)


@dataclass(frozen=True)
class Timeline:
    """A step on one node: seconds from its start until each bucket is complete, and how many bytes
    it has; until backward's end; and what the optimizer takes after it."""

    ready: tuple[float, ...]
    bytes: tuple[int, ...]
    backward: float
    optimizer: float

    @property
    def step(self) -> float:
        return self.backward + self.optimizer


def allreduce(size: int, nodes: int, gbit: float, latency: float) -> float:
    """Seconds to sum `size` bytes over nodes.

    Reduce-scatter and allgather by halves: 2 log2 n messages, 2 (n-1)/n of the bytes through each
    link (Rabenseifner, 2004; what MPICH does with long messages).
    """
    if nodes == 1:
        return 0.0
    rate = USED * gbit * 1e9 / 8  # bytes a second
    return 2 * math.ceil(math.log2(nodes)) * latency + 2 * (nodes - 1) / nodes * size / rate


def step_seconds(one: Timeline, nodes: int, gbit: float, latency: float, hidden: bool) -> float:
    """A step of so many nodes; hidden: buckets travel while backward computes, or only after it."""
    free = 0.0 if hidden else one.backward  # when the link is free
    for ready, size in zip(one.ready, one.bytes, strict=True):
        free = max(free, ready) + allreduce(size, nodes, gbit, latency)
    return max(one.backward, free) + one.optimizer


def measure(work: Work, clock: Callable[[], float]) -> Timeline:
    """The medians of some steps of a model with random weights, reading random ids."""
    model = GPTModel(
        **work.shape, max_seq_len=work.length, dropout=0.0, tie_embeddings=True, seed=0
    )
    optimizer = AdamW(model.named_parameters(), 1e-4)
    rng = np.random.default_rng(0)
    ids = rng.integers(0, work.shape["vocab_size"], (work.rows, work.length + 1))
    buckets = groups(list(model.parameters())[::-1], BUCKET)
    missing: list[set[Parameter]] = []
    ready: list[float] = []

    def completed(parameters: Iterable[Parameter]) -> None:
        for bucket in missing:
            bucket.difference_update(parameters)
        while len(ready) < len(buckets) and not missing[len(ready)]:
            ready.append(clock() - start)

    steps: list[list[float]] = []
    for _ in range(1 + PASSES):
        missing, ready = [set(bucket) for bucket in buckets], []
        model.zero_grad()
        start = clock()
        model.loss_and_backward(ids[:, :-1], ids[:, 1:], when_complete=completed)
        backward = clock() - start
        ready += [backward] * (len(buckets) - len(ready))
        optimizer.grad_norm()
        optimizer.step()
        steps.append([*ready, backward, clock() - start - backward])
    *times, backward, update = (
        statistics.median(column) for column in zip(*steps[1:], strict=True)
    )
    sizes = tuple(sum(4 * p.size for p in bucket) for bucket in buckets)
    return Timeline(tuple(times), sizes, backward, update)


def faster(one: Timeline, times: float) -> Timeline:
    """The same step on a node that computes so many times as fast."""
    ready = tuple(second / times for second in one.ready)
    return Timeline(ready, one.bytes, one.backward / times, one.optimizer / times)


def table(work: Work, measured: Timeline, speeds: Sequence[float]) -> list[str]:
    """Lines of Markdown."""
    tokens = work.rows * work.length
    total = sum(measured.bytes)
    early = sum(
        size for ready, size in zip(measured.ready, measured.bytes, strict=True)
        if ready < measured.backward
    )  # fmt: skip
    lines = [
        f"### {work.name}: {total / 4e6:.1f} M parameters, {work.rows} x {work.length} tokens",
        "",
        f"A step takes {measured.step:.3f} s here, {tokens / measured.step:,.0f} tokens/s: "
        f"{measured.backward:.3f} s forward and backward, {measured.optimizer:.3f} s optimizer. "
        f"{total / 1e6:.1f} MB of gradients in {len(measured.bytes)} messages, "
        f"{early / total:.0%} of them complete before backward ends, the first after "
        f"{measured.ready[0] / measured.backward:.0%} of it.",
        "",
        "| node | network | " + " | ".join(f"{n} nodes" for n in NODES) + " |",
        "|---|---|" + "---|" * len(NODES),
    ]
    for times in speeds:
        one = faster(measured, times)
        node = "like this" if times == 1 else f"{times:g} x as fast"
        for gbit, latency in LATENCY.items():
            cells = []
            for nodes in NODES:
                gains = [
                    nodes * one.step / step_seconds(one, nodes, gbit, latency, hidden)
                    for hidden in (False, True)
                ]
                rate = gains[0] * tokens / one.step
                cells.append(f"{gains[0]:,.1f} to {gains[1]:,.1f} x, {rate:,.0f} tokens/s")
            lines.append(f"| {node} | {gbit} Gbit/s | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpu-time", action="store_true", help="one thread, by processor time")
    parser.add_argument(
        "--faster", type=float, nargs="+", default=[1, 32], help="nodes this many times as fast"
    )
    arguments = parser.parse_args()
    if arguments.cpu_time:
        kernels.set_num_threads(1)
    clock = time.thread_time if arguments.cpu_time else time.perf_counter
    print(f"{kernels.num_threads()} threads, rung {kernels.backend()}")
    for work in WORKS:
        print("", *table(work, measure(work, clock), arguments.faster), sep="\n")


if __name__ == "__main__":
    main()
