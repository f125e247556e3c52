"""Optimizers by name, made as a run's settings ask."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

from litegpt.nn import Parameter
from litegpt.training.lion import Lion
from litegpt.training.muon import Muon, is_inner_matrix
from litegpt.training.optimizer import AdamW, Optimizer

if TYPE_CHECKING:
    from litegpt.training.config import TrainConfig

NamedParameters: TypeAlias = Iterable[tuple[str, Parameter]]


def _adamw(parameters: NamedParameters, config: "TrainConfig") -> Optimizer:
    return AdamW(
        parameters,
        config.learning_rate,
        config.beta1,
        config.beta2,
        weight_decay=config.weight_decay,
    )


def _lion(parameters: NamedParameters, config: "TrainConfig") -> Optimizer:
    return Lion(parameters, config.learning_rate, config.beta1, config.beta2, config.weight_decay)


def _muon(parameters: NamedParameters, config: "TrainConfig") -> Optimizer:
    return Muon(
        parameters,
        config.learning_rate,
        config.beta1,
        config.beta2,
        weight_decay=config.weight_decay,
    )


OPTIMIZERS: dict[str, Callable[[NamedParameters, "TrainConfig"], Optimizer]] = {
    "adamw": _adamw,
    "lion": _lion,
    "muon": _muon,
}

# How many arrays of its size an optimizer keeps of a parameter.
MOMENTS: dict[str, Callable[[str, Parameter], int]] = {
    "adamw": lambda name, parameter: 2,
    "lion": lambda name, parameter: 1,
    "muon": lambda name, parameter: 1 if is_inner_matrix(name, parameter) else 2,
}
