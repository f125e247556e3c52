"""A whole training run beside PyTorch's: the same losses within the noise of seeds, and the speed.

    pip install -e '.[peers]'
    python benchmarks/curves.py                    300 steps of 10 M parameters, two seeds
    python benchmarks/curves.py --steps 30         a try

nanoGPT's shape for Shakespeare's characters: 6 layers, 384 wide, 256 positions; 8 windows a step.
With a seed both begin with the same weights, read the same windows and have the same learning
rates; another seed changes the first two. They take turns, step by step, each in a process of its
own that is stopped while the other computes.
"""

import argparse
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from contenders import LITEGPT
from contenders.worker import Worker

from litegpt import backend
from litegpt.cli.info import processor
from litegpt.kernels.threads import default_threads

MODEL, ROWS = "nanogpt-10m", 8
NAMES = (LITEGPT, "PyTorch")
_MEANS = 6  # of the losses in so many equal parts of the run

Losses = dict[tuple[str, int], list[float]]  # of every step, by contender and seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=default_threads())
    arguments = parser.parse_args()
    losses: Losses = {}
    seconds: dict[str, list[float]] = {name: [] for name in NAMES}
    for seed in range(1, arguments.seeds + 1):
        run(seed, arguments.steps, arguments.threads, losses, seconds)
    print(f"{processor()}, {backend()}, {arguments.threads} threads\n")
    print("\n".join(table(losses)))
    print("\n".join(summary(losses, seconds)))


def run(
    seed: int, steps: int, threads: int, losses: Losses, seconds: dict[str, list[float]]
) -> None:
    """Both contenders' runs of a seed, added to losses and seconds of all steps."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(name, Path(folder), threads)) for name in NAMES}
        for name, worker in workers.items():
            worker.prepare("run", {"model": MODEL, "seed": seed, "rows": ROWS, "steps": steps})
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
    """How far the two are apart, how far seeds are, and the ratio of their speeds."""
    ours, theirs = NAMES
    seeds = sorted({seed for _, seed in losses})
    between = max(
        float(np.abs(means(losses[ours, seed]) - means(losses[theirs, seed])).max())
        for seed in seeds
    )
    lines = [f"\nlargest difference between {ours} and {theirs}, same seed: {between:.4f}"]
    if len(seeds) > 1:
        noise = max(
            float(np.ptp([means(losses[name, seed]) for seed in seeds], axis=0).max())
            for name in NAMES
        )
        lines.append(f"largest difference between seeds, same system: {noise:.4f}")
    times = {name: statistics.median(taken) for name, taken in seconds.items()}
    lines += [f"{name}: {1000 * time:.1f} ms a step (median)" for name, time in times.items()]
    lines.append(f"{ours} is {times[theirs] / times[ours]:.2f} x as fast as {theirs}")
    return lines


if __name__ == "__main__":
    main()
