"""What a weight family says of its files, and how weights pass between them and a GPTModel."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from litegpt.formats import JsonFields, ModelFormatError, WeightsFile
from litegpt.models.config import GPTConfig


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file, and where its numbers are in the model.

    They are the parameter, or its `columns` (start, stop) of the last axis, `transposed` or not.
    A parameter that the model doesn't have stands for constants: zeros, or the fixed positions.
    A `repeat` says again what another tensor says: it may be absent, and isn't written.
    """

    name: str
    parameter: str
    shape: tuple[int, ...]
    columns: tuple[int, int] | None = None
    transposed: bool = False
    repeat: bool = False

    def part(self, parameter: np.ndarray) -> np.ndarray:
        """The view of the parameter that has this tensor's shape and order."""
        part = parameter if self.columns is None else parameter[..., slice(*self.columns)]
        return part.T if self.transposed else part


class Family(Protocol):
    """A module of litegpt.models: gpt2, llama."""

    MODEL_TYPE: str  # in config.json

    def expresses(self, config: GPTConfig) -> bool:
        """Whether the family's models are made of these parts."""

    def to_fields(self, config: GPTConfig) -> dict[str, Any]:
        """The fields of config.json."""

    def from_fields(self, fields: JsonFields) -> dict[str, Any]:
        """The fields of GPTConfig; ModelFormatError for what GPTModel can't do."""

    def tensors(self, config: GPTConfig) -> list[Tensor]:
        """The tensors of a file for this configuration."""

    def own_name(self, name: str) -> str | None:
        """The name among `tensors` that a name in a file stands for; None: of no importance."""


Arrays = Mapping[str, np.ndarray]  # by the names of the model's parameters


def write_tensors(tensors: Iterable[Tensor], arrays: Arrays) -> dict[str, np.ndarray]:
    """The file's tensors, contiguous; what the model doesn't have is zeros."""
    return {
        t.name: np.ascontiguousarray(t.part(arrays[t.parameter]))
        if t.parameter in arrays
        else np.zeros(t.shape, np.float32)
        for t in tensors
        if not t.repeat
    }


class FamilyWeights:
    """A weights file of a family, its names and shapes checked against a configuration."""

    def __init__(self, path: Path, family: Family, config: GPTConfig) -> None:
        self._file = WeightsFile(path)
        if config.num_layers > len(self._file.shapes):  # before a list of that length is made
            raise ModelFormatError(
                f"{path}: {len(self._file.shapes)} tensors are too few for "
                f"{config.num_layers} layers"
            )
        in_file: dict[str, str] = {}  # the family's names -> the file's
        ignored = {}
        for name, shape in self._file.shapes.items():
            own = family.own_name(name)
            if own is None:
                ignored[name] = shape
            else:
                in_file.setdefault(own, name)
        self._tensors = [(in_file.get(t.name, t.name), t) for t in family.tensors(config)]
        self._file.check(
            {name: t.shape for name, t in self._tensors if not t.repeat},
            ignored | {name: t.shape for name, t in self._tensors if t.repeat},
        )

    def read_into(self, parameters: Arrays, fixed: Arrays) -> None:
        """Fills the parameters; ModelFormatError if what is constant in the model differs."""
        for name, tensor in self._tensors:
            if tensor.repeat and name not in self._file.shapes:
                continue
            array = self._file.read(name)
            if tensor.parameter in parameters and not tensor.repeat:
                tensor.part(parameters[tensor.parameter])[...] = array
                continue
            known = {**fixed, **parameters}.get(tensor.parameter)
            constant = np.zeros(()) if known is None else tensor.part(known)
            if not np.allclose(array, constant, rtol=0, atol=1e-6):
                raise ModelFormatError(
                    f"{self._file.path}: {name} contradicts config.json, by which it equals "
                    f"{'zero' if known is None else tensor.parameter}"
                )
