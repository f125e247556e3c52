"""What a training run can be told."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from math import inf

import numpy as np

from litegpt.kernels.reference.linear import PRECISIONS
from litegpt.nn.module import Module
from litegpt.training.optimizer import check_number
from litegpt.training.optimizers import OPTIMIZERS
from litegpt.training.schedule import SCHEDULES


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a run; a value that makes no sense: ValueError naming it and what is allowed.

    A step's gradients are those of batch_size windows, or of `accumulate` times as many, read one
    batch after the other. learning_rate rises over warmup_steps, then falls as schedule (of
    SCHEDULES) says to min_learning_rate at max_steps; decay_share is the part of these steps in
    which "wsd" falls. optimizer is one of OPTIMIZERS. grad_clip is the largest norm of all
    gradients together (0: no limit). recompute: see GPTModel.forward_train. freeze: patterns of
    parameters' names (`blocks.0.*`) that stay as they are. precision is that of products
    ("float32" or "bfloat16"): see Module.set_precision. The validation loss is taken every
    eval_interval steps and at the end, over eval_steps batches. A record of the run is made every
    log_interval steps. Everything random comes from seed.

    A run with checkpoints writes one every save_interval steps, and keeps keep_last of them and
    the best; where one can't be written, on_save_error is "stop" or "continue". The run ends
    early when `patience` evaluations in a row were no better than the best (0: it doesn't). With
    max_time, in seconds, max_steps doesn't count: the run has as many steps as fit, planned from
    the speed of the first ones. A loss that isn't finite, or a spike (it lies above the median of
    the last 50 losses by spike_factor times their median distance from it, and by one nat), stops
    the run before the weights are touched; with on_spike "rollback" it goes back to the last
    checkpoint and on with other data, max_rollbacks times; with "ignore" spikes don't matter.
    """

    batch_size: int = 12
    accumulate: int = 1
    max_steps: int = 2000
    learning_rate: float = 1e-3
    min_learning_rate: float = 1e-4
    warmup_steps: int = 100
    schedule: str = "cosine"
    decay_share: float = 0.2
    optimizer: str = "adamw"
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    grad_clip: float = 1.0
    recompute: bool = False
    precision: str = "float32"
    freeze: tuple[str, ...] = ()
    eval_interval: int = 250
    eval_steps: int = 20
    log_interval: int = 10
    save_interval: int = 250
    keep_last: int = 2
    on_save_error: str = "stop"
    patience: int = 0
    max_time: float = 0.0
    on_spike: str = "stop"
    spike_factor: float = 20.0
    max_rollbacks: int = 5
    seed: int = 1337

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), _LEAST.get(field.name, 0)
            if field.type is int and not (isinstance(value, int | np.integer) and value >= least):
                raise ValueError(
                    f"{field.name} must be an integer of {least} or more, not {value!r}"
                )
            if field.type is float:
                check_number(field.name, value, 1 if field.name in ("beta1", "beta2") else inf)
            if field.type is str and value not in CHOICES[field.name]:
                allowed = ", ".join(CHOICES[field.name])
                raise ValueError(f"{field.name} must be one of {allowed}, not {value!r}")
        if isinstance(self.freeze, str):
            raise ValueError(f"freeze must be a tuple of patterns, not {self.freeze!r}")
        if self.decay_share > 1:
            raise ValueError(f"decay_share must be from 0 to 1, not {self.decay_share!r}")
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(
                f"min_learning_rate {self.min_learning_rate} must not be above "
                f"learning_rate {self.learning_rate}"
            )

    def freeze_in(self, model: Module) -> None:
        """Freezes the parameters that `freeze` names; ValueError if that leaves none to train."""
        model.freeze(*self.freeze)
        if self.freeze and not any(parameter.trainable for parameter in model.parameters()):
            raise ValueError(f"freeze {', '.join(self.freeze)} leaves no parameter to train")


_LEAST = dict.fromkeys(
    (
        "batch_size",
        "accumulate",
        "max_steps",
        "eval_interval",
        "eval_steps",
        "log_interval",
        "save_interval",
        "keep_last",
    ),
    1,
)
CHOICES: dict[str, Collection[str]] = {
    "schedule": SCHEDULES,
    "optimizer": OPTIMIZERS,
    "precision": PRECISIONS,
    "on_save_error": ("stop", "continue"),
    "on_spike": ("stop", "rollback", "ignore"),
}
# What may differ when a run is resumed; all else decides what it learns.
MAY_CHANGE = frozenset(
    "max_steps max_time eval_interval eval_steps log_interval save_interval keep_last "
    "on_save_error patience recompute on_spike spike_factor max_rollbacks".split()
)
