"""A whole training run beside PyTorch's: the same losses within the noise of seeds, and the speed.

    pip install -e '.[peers]'
    python benchmarks/curves.py                    300 steps of 10 M parameters, two seeds
    python benchmarks/curves.py --steps 30         a try
    python benchmarks/curves.py --precision bfloat16    LiteGPT's products, and a third run by
                                                   PyTorch under torch.autocast

nanoGPT's shape for Shakespeare's characters: 6 layers, 384 wide, 256 positions; 8 windows a step.
With a seed both begin with the same weights, read the same windows and have the same learning
rates; another seed changes the first two. They take turns, step by step, each in a process of its
own that is stopped while others compute.
"""

import argparse
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from contenders import AUTOCAST, LITEGPT
from contenders.worker import Worker

from litegpt import backend
from litegpt.cli.info import processor
from litegpt.kernels.reference.linear import PRECISIONS
from litegpt.kernels.threads import default_threads

MODEL, ROWS = "nanogpt-10m", 8
NAMES = {"float32": (LITEGPT, "PyTorch"), "bfloat16": (LITEGPT, "PyTorch", AUTOCAST)}
_MEANS = 6  # of the losses in so many equal parts of the run

Losses = dict[tuple[str, int], list[float]]  # of every step, by contender and seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="LiteGPT's")
    arguments = parser.parse_args()
    precision: str = arguments.precision
    losses: Losses = {}
    seconds: dict[str, list[float]] = {name: [] for name in NAMES[precision]}
    for seed in range(1, arguments.seeds + 1):
        run(seed, arguments.steps, precision, arguments.threads, losses, seconds)
    print(f"{processor()}, {backend()}, {arguments.threads} threads, LiteGPT in {precision}\n")
    print("\n".join(table(losses)))
    print("\n".join(summary(losses, seconds)))


def run(
    seed: int,
    steps: int,
    precision: str,
    threads: int,
    losses: Losses,
    seconds: dict[str, list[float]],
) -> None:
    """The contenders' runs of a seed, added to losses and seconds of all steps."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        workers = {
            name: stack.enter_context(Worker(name, Path(folder), threads)) for name in seconds
        }
        for name, worker in workers.items():
            options = {"model": MODEL, "seed": seed, "rows": ROWS, "steps": steps}
            own = {"precision": precision} if name == LITEGPT else {}
            worker.prepare("run", options | own)
            losses[name, seed] = []
        for _ in range(steps):
            for name, worker in workers.items():
                loss, taken = worker.value()
                losses[name, seed].append(loss)
                seconds[name].append(taken)


def means(course: list[float]) -> np.ndarray:
    """The mean loss of each part of a run."""
    return np.array([part.mean() for part in np.array_split(np.array(course), _MEANS)])


def table(losses: Losses) -> list[str]:
    """Lines of Markdown: a row for each run."""
    steps = len(next(iter(losses.values())))
    ends = [part[-1] + 1 for part in np.array_split(np.arange(steps), _MEANS)]
    lines = [
        "| mean loss up to step | " + " | ".join(map(str, ends)) + " |",
        "|---|" + "---|" * _MEANS,
    ]
    for (name, seed), course in losses.items():
        cells = " | ".join(f"{mean:.4f}" for mean in means(course))
        lines.append(f"| {name}, seed {seed} | {cells} |")
    return lines


def summary(losses: Losses, seconds: dict[str, list[float]]) -> list[str]:
    """How far the others are from LiteGPT, how far seeds are, and the ratios of the speeds."""
    ours, *others = seconds
    seeds = sorted({seed for _, seed in losses})
    lines = [""]
    for theirs in others:
        between = max(
            float(np.abs(means(losses[ours, seed]) - means(losses[theirs, seed])).max())
            for seed in seeds
        )
        lines.append(f"largest difference between {ours} and {theirs}, same seed: {between:.4f}")
    if len(seeds) > 1:
        noise = max(
            float(np.ptp([means(losses[name, seed]) for seed in seeds], axis=0).max())
            for name in seconds
        )
        lines.append(f"largest difference between seeds, same system: {noise:.4f}")
    times = {name: statistics.median(taken) for name, taken in seconds.items()}
    lines += [f"{name}: {1000 * time:.1f} ms a step (median)" for name, time in times.items()]
    lines += [
        f"{ours} is {times[theirs] / times[ours]:.2f} x as fast as {theirs}" for theirs in others
    ]
    return lines


if __name__ == "__main__":
    main()
