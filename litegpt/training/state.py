"""Where a run stands: all of it but the arrays."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from statistics import median
from types import NoneType, UnionType
from typing import Any, Self, get_args, get_origin

import numpy as np

from litegpt.formats import JsonFields
from litegpt.models import GPTModel
from litegpt.models.peft import lora_facts
from litegpt.nn.frozen import FrozenParameter
from litegpt.training.config import MAY_CHANGE, TrainConfig

RECENT = 50  # losses that a new one is compared with
_ENOUGH = 20  # of them, before anything is called a spike
_LEAST_RISE = 1.0  # nats; what rises less does no harm
_BYTES = 1 << 13  # which any state fits into


class DivergenceError(FloatingPointError):
    """A loss or gradient that isn't finite any more, or a loss far above those before it."""


@dataclass
class RunState:
    """What a run has to know, beside weights and moments, to go on as if it never stopped.

    step counts whole steps; loss, lr and grad_norm are those of the last one. settled says
    whether the record and the evaluation that were due after it have been made. seconds is the
    time spent so far, planned_steps the end that was planned for planned_time (see TrainConfig's
    max_time), diverged why the step after this one wasn't taken. What a step draws at random
    follows from seed, step and rollbacks.
    """

    step: int = 0
    loss: float | None = None
    lr: float = 0.0
    grad_norm: float = 0.0
    settled: bool = True
    seconds: float = 0.0
    planned_steps: int | None = None
    planned_time: float = 0.0
    best_step: int | None = None
    best_loss: float | None = None
    evaluations_since_best: int = 0
    rollbacks: int = 0
    recent_losses: list[float] = field(default_factory=list)
    diverged: str | None = None

    def to_bytes(self) -> np.ndarray:
        """As JSON in an array (uint8) of always the same length, for other processes."""
        written = json.dumps(asdict(self)).encode()
        return np.frombuffer(bytearray(written.ljust(_BYTES)), np.uint8)

    @classmethod
    def from_fields(cls, run: JsonFields) -> Self:
        """As asdict gave it to a file; ModelFormatError naming the first field that can't be so."""
        found: dict[str, Any] = {}
        for one in fields(cls):
            found[one.name] = value = run.fields.get(one.name)
            if one.name not in run.fields or not _fits(value, one.type):
                kind = getattr(one.type, "__name__", one.type)
                raise run.refuse(one.name, f"of the kind {kind}")
        return cls(**found)

    @classmethod
    def from_bytes(cls, array: np.ndarray) -> Self:
        return cls(**json.loads(array.tobytes()))

    def last_step(self, config: TrainConfig) -> int | None:
        """The step at which the run ends; None until max_time has been turned into steps."""
        return self.planned_steps if config.max_time else config.max_steps

    def ended(self, config: TrainConfig) -> str | None:
        """Why there is nothing left to do, or None."""
        last, waited = self.last_step(config), self.evaluations_since_best
        if last is not None and self.step >= last:
            return f"all {self.step} steps are done"
        if config.patience and waited >= config.patience:
            return (
                f"the last {waited} evaluations were no better than that of step {self.best_step}"
            )
        return None

    def take_step(self, loss: float, lr: float, grad_norm: float) -> None:
        self.step += 1
        self.loss, self.lr, self.grad_norm = loss, lr, grad_norm
        self.settled = False
        self.recent_losses = [*self.recent_losses, loss][-RECENT:]

    def take_evaluation(self, loss: float) -> bool:
        """Whether the validation loss of this step is the best so far."""
        if isfinite(loss) and (self.best_loss is None or loss < self.best_loss):
            self.best_step, self.best_loss, self.evaluations_since_best = self.step, loss, 0
            return True
        self.evaluations_since_best += 1
        return False

    def check_step(self, loss: float, grad_norm: float, config: TrainConfig) -> None:
        """DivergenceError if a step of this loss and gradient must not be taken.

        It mustn't if one isn't finite, or if the loss lies above the median of the recent ones by
        spike_factor times their median distance from it, and by no less than one nat.
        """
        number, whose = self.step + 1, f"the weights stay those of step {self.step}"
        if not (isfinite(loss) and isfinite(grad_norm)):
            raise DivergenceError(
                f"step {number}: loss {loss}, gradient norm {grad_norm}; "
                f"{whose} (try a lower learning rate)"
            )
        if config.on_spike == "ignore" or len(self.recent_losses) < _ENOUGH:
            return
        usual = median(self.recent_losses)
        spread = median(abs(recent - usual) for recent in self.recent_losses)
        if loss > usual + max(config.spike_factor * spread, _LEAST_RISE):
            raise DivergenceError(
                f"step {number}: loss {loss:.4f}, where about {usual:.4f} was usual; "
                f"{whose} (try a lower learning rate, or another on_spike)"
            )


def _fits(value: Any, kind: Any) -> bool:
    """Whether what a JSON file says can be the value of a field that is annotated so."""
    if get_origin(kind) is UnionType:
        return any(_fits(value, one) for one in get_args(kind))
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_fits(one, *get_args(kind)) for one in value)
    if kind is NoneType:
        return value is None
    if kind is float:
        return (type(value) is float and isfinite(value)) or _fits(value, int)
    if kind is int:
        return type(value) is int and 0 <= value < 2**63
    return type(value) is kind


def describe(config: TrainConfig, model: GPTModel, data: str) -> dict[str, Any]:
    """What makes a run: another one with the same gives the same weights.

    frozen is a hash of the weights that aren't trained: adapters are of use to these alone.
    """
    frozen = hashlib.sha256()
    for parameter in model.parameters():
        if not parameter.trainable:
            kept = parameter.packed if isinstance(parameter, FrozenParameter) else parameter.data
            frozen.update(np.ascontiguousarray(kept).data.cast("B"))
    return {
        "settings": asdict(config),
        "model": asdict(model.config) | lora_facts(model),
        "frozen": frozen.hexdigest(),
        "data": data,
    }


def check_same_run(before: JsonFields, now: Mapping[str, Any], step: int) -> None:
    """ValueError listing what differs, if the run of a step can't go on as what is now described.

    Both are as describe has them.
    """
    now = json.loads(json.dumps(now))  # as it would come back from a file
    problems = []
    for section in ("settings", "model"):
        were = before.section(section).fields
        problems += [
            f"{name} {were.get(name)!r}, not {value!r}"
            for name, value in now[section].items()
            if name not in MAY_CHANGE and were.get(name) != value
        ]
    problems += [
        what
        for section, what in (
            ("data", "other data"),
            ("frozen", "other weights under those trained"),
        )
        if before.fields.get(section) != now[section]
    ]
    if problems:
        raise ValueError(f"the run of step {step} has " + ", ".join(problems))
