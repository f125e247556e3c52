"""Tasks that a training step makes, whoever's it is."""

from collections.abc import Callable

import numpy as np

from contenders import Task, inputs

Step = Callable[[np.ndarray, np.ndarray, float], float]  # ids, targets, learning rate -> loss


def one_batch(step: Step, model: str, rows: int, length: int) -> Task:
    """The same batch again and again; the answer is its first three losses."""
    rate = inputs.OPTIMIZERS[model][0]
    ids, targets = inputs.batch(model, rows, length)

    def run() -> float:
        return step(ids, targets, rate)

    return Task(run, lambda: np.array([run() for _ in range(3)]))


def whole_run(step: Step, model: str, seed: int, rows: int, steps: int) -> Task:
    """A step of a run on tinyshakespeare, then the next."""
    course = inputs.course(model, seed, rows, steps)
    return Task(lambda: step(*next(course)))
