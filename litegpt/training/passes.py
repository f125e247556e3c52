"""Batches through a model, each rank reading its part."""

import math
from collections.abc import Callable, Iterable

import numpy as np

from litegpt.models import GPTModel
from litegpt.training.config import TrainConfig
from litegpt.training.data import Batch, rows_of
from litegpt.training.documents import IGNORED
from litegpt.training.parallel import Alone


def batch_gradients(
    model: GPTModel,
    batch: Batch,
    config: TrainConfig,
    ranks: Alone,
    rng: Callable[[int], np.random.Generator],
) -> float:
    """The batch's loss, and its gradients in the parameters, batch_size rows at a time.

    Every such micro-batch counts as much as it has targets: together, on all ranks, they are one
    large batch. rng gives what micro-batch 0, 1, ... draws its dropout from.
    """
    model.zero_grad()
    targets = batch[1]
    counted = _counted(targets)
    if not counted:
        raise ValueError("no target of a step's batch is to be counted")
    size = config.batch_size
    mine = range(len(targets) // size)[ranks.part(len(targets) // size)]
    loss = 0.0
    for number in mine:
        rows = slice(number * size, (number + 1) * size)
        share = _counted(targets[rows]) / counted
        if share:
            loss += share * model.loss_and_backward(
                **rows_of(batch, rows),
                scale=share,
                seed=rng(number),
                when_complete=ranks.completed if number == mine[-1] else None,
                recompute=config.recompute,
            )
    ranks.add_gradients()
    return ranks.total([loss])[0]


def validation_loss(model: GPTModel, batches: Iterable[Batch], ranks: Alone) -> float:
    """The mean loss of all targets of the batches, in nats, without dropout; NaN without any."""
    loss = counted = 0.0  # summed over all targets, and how many they are
    with model.evaluating():
        for batch in batches:
            mine = ranks.part(len(batch[1]))
            here = _counted(batch[1][mine])
            if here:
                loss += here * model.compute_loss(**rows_of(batch, mine))
                counted += here
    loss, counted = ranks.total([loss, counted])
    return loss / counted if counted else math.nan


def _counted(targets: np.ndarray) -> int:
    return int(np.count_nonzero(targets != IGNORED))
