"""What a run will need: memory by a formula, time by a short measurement."""

import time
from collections.abc import Callable

import numpy as np

from litegpt.models import GPTModel
from litegpt.models.memory import TrainingMemory, training_memory
from litegpt.training.config import TrainConfig
from litegpt.training.data import Batch, rows_of
from litegpt.training.optimizers import MOMENTS


def memory_of_run(model: GPTModel, length: int, config: TrainConfig) -> TrainingMemory:
    """Of a run with these settings over rows of `length` tokens."""
    count = MOMENTS[config.optimizer]
    moments = {name: count(name, p) for name, p in model.named_parameters()}
    return training_memory(model, config.batch_size, length, moments, config.recompute)


def seconds_of_batch(
    model: GPTModel, batch: Batch, config: TrainConfig, least: float = 1.0
) -> float:
    """What gradients of batch_size rows take: the median of calls that go on for `least` seconds.

    The gradients are zero afterwards, and the weights have not been touched.
    """
    rows = rows_of(batch, slice(0, config.batch_size))
    was_training, precision = model.training, model.precision
    model.train().set_precision(config.precision)

    def run() -> None:
        model.loss_and_backward(**rows, seed=0, recompute=config.recompute)

    try:
        return median_seconds(run, least)
    finally:
        model.zero_grad()
        model.train(was_training).set_precision(precision)


def median_seconds(run: Callable[[], object], least: float) -> float:
    """Of one call: the median of calls that go on for `least` seconds, but for the first.

    The first, which takes memory from the system, counts only if it takes that long alone.
    """
    taken: list[float] = []
    while sum(taken[1:]) < least and not (taken and taken[0] >= 5 * least):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken[1:] or taken))
