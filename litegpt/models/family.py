"""What a weight family says of its files, and how weights pass between them and a GPTModel."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from litegpt.formats import JsonFields, ModelFormatError, Weights, check_tensors
from litegpt.models.config import GPTConfig
from litegpt.nn.frozen import FrozenParameter
from litegpt.nn.parameter import Parameter


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file, and where its numbers are in the model.

    They are the parameter, or its `columns` (start, stop) of the last axis, `transposed` or not.
    A parameter that the model doesn't have stands for constants: zeros, or the fixed positions.
    An `optional` tensor may be absent then. A `repeat` says again what another tensor says: it may
    be absent, and isn't written. `interleaved` is the number of heads whose rows alternate between
    their two halves, for rotary positions of that order.
    """

    name: str
    parameter: str
    shape: tuple[int, ...]
    columns: tuple[int, int] | None = None
    transposed: bool = False
    repeat: bool = False
    optional: bool = False
    interleaved: int = 0

    def part(self, parameter: np.ndarray) -> np.ndarray:
        """The view of the parameter that has this tensor's shape and order."""
        part = parameter if self.columns is None else parameter[..., slice(*self.columns)]
        return part.T if self.transposed else part

    @property
    def is_whole(self) -> bool:
        """Whether it is the parameter, as it is."""
        return self.columns is None and not self.transposed

    def from_file(self, rows: np.ndarray) -> np.ndarray:
        """The file's rows (anything along the first axis) in the model's order."""
        if not self.interleaved:
            return rows
        pairs = rows.reshape(self.interleaved, -1, 2, *rows.shape[1:])  # (H, D/2, 2, ...)
        return pairs.swapaxes(1, 2).reshape(rows.shape)

    def to_file(self, rows: np.ndarray) -> np.ndarray:
        """The model's rows in the file's order."""
        if not self.interleaved:
            return rows
        halves = rows.reshape(self.interleaved, 2, -1, *rows.shape[1:])  # (H, 2, D/2, ...)
        return halves.swapaxes(1, 2).reshape(rows.shape)


def head_tensor(config: GPTConfig) -> Tensor:
    """The head, which all families call by this name; a tied one is the embedding's table."""
    table = (config.vocab_size, config.hidden_dim)
    if config.tie_embeddings:
        return Tensor("lm_head.weight", "token_embedding.weight", table, repeat=True)
    return Tensor("lm_head.weight", "head.weight", table, transposed=True)


class Naming(Protocol):
    """What a kind of file calls a model's tensors."""

    def tensors(self, config: GPTConfig) -> list[Tensor]:
        """The tensors of a file for this configuration."""

    def own_name(self, name: str) -> str | None:
        """The name among `tensors` that a name in a file stands for; None: of no importance."""


class Family(Naming, Protocol):
    """Hugging Face's files of a family: the modules gpt2 and llama."""

    MODEL_TYPES: tuple[str, ...]  # in config.json; the first is the one written

    def expresses(self, config: GPTConfig) -> bool:
        """Whether the family's models are made of these parts."""

    def to_fields(self, config: GPTConfig) -> dict[str, Any]:
        """The fields of config.json."""

    def from_fields(self, fields: JsonFields) -> dict[str, Any]:
        """The fields of GPTConfig; ModelFormatError for what GPTModel can't do."""


class GgufContents(Weights, Protocol):
    """A GGUF file, or one that is to be written."""

    @property
    def metadata(self) -> Mapping[str, Any]: ...


class GgufFamily(Naming, Protocol):
    """GGUF files of an architecture: in the modules gpt2_gguf and llama_gguf."""

    @property
    def architecture(self) -> str:
        """In the metadata."""

    def expresses(self, config: GPTConfig) -> bool:
        """Whether the architecture's models are made of these parts."""

    def to_metadata(self, config: GPTConfig) -> dict[str, Any]:
        """The entries that describe a model."""

    def extra_tensors(self, config: GPTConfig) -> dict[str, np.ndarray]:
        """Tensors that say something of the configuration."""

    def from_file(self, file: GgufContents) -> dict[str, Any]:
        """The fields of GPTConfig; ModelFormatError for what GPTModel can't do."""


_MOST_MISSING = 4096  # tensors that are looked for one by one

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


def _required(naming: Naming, config: GPTConfig) -> int:
    """How many tensors a file must have, whatever the number of layers."""
    shallow = (replace(config, num_layers=layers) for layers in (1, 2))
    of_one, of_two = (
        sum(not (tensor.repeat or tensor.optional) for tensor in naming.tensors(config))
        for config in shallow
    )
    return of_one + (config.num_layers - 1) * (of_two - of_one)


class NamedWeights:
    """A model's weights by the names of its files, checked against a configuration."""

    def __init__(self, source: Weights, naming: Naming, config: GPTConfig) -> None:
        self._source = source
        found = len(source.shapes)
        if config.num_layers > found or _required(naming, config) - found > _MOST_MISSING:
            raise ModelFormatError(
                f"{source.path}: {found} tensors are too few for {config.num_layers} layers"
            )
        in_file: dict[str, str] = {}  # the naming's names -> the file's
        ignored = set()
        for name in source.shapes:
            own = naming.own_name(name)
            if own is None:
                ignored.add(name)
            else:
                in_file.setdefault(own, name)
        self.tensors = [(in_file.get(t.name, t.name), t) for t in naming.tensors(config)]
        free = {name: t.shape for name, t in self.tensors if t.repeat or t.optional}
        required = {name: t.shape for name, t in self.tensors if name not in free}
        check_tensors(source, required, free, ignored)

    def read_into(self, parameters: Mapping[str, Parameter], fixed: Arrays, share: bool) -> None:
        """Fills the parameters; ModelFormatError if what is constant in the model differs.

        Frozen ones have theirs. With share, a tensor that is all of a parameter as it stands
        becomes its data.
        """
        for name, tensor in self.tensors:
            parameter = parameters.get(tensor.parameter)
            if name not in self._source.shapes or isinstance(parameter, FrozenParameter):
                continue
            array = tensor.from_file(self._source.read(name))
            if parameter is not None and not tensor.repeat:
                if share and tensor.is_whole and array.flags.writeable:
                    parameter.data = array
                else:
                    tensor.part(parameter.data)[...] = array
                continue
            known = fixed.get(tensor.parameter) if parameter is None else parameter.data
            constant = np.zeros(()) if known is None else tensor.part(known)
            if not np.allclose(array, constant, rtol=0, atol=1e-6):
                raise ModelFormatError(
                    f"{self._source.path}: {name} contradicts the configuration, by which it "
                    f"equals {'zero' if known is None else tensor.parameter}"
                )


def number_as_written(fields: JsonFields, name: str) -> float:
    """A number kept as float32, as the shortest decimal that it comes from: 1e-5, not 9.99e-6."""
    with np.errstate(over="ignore"):  # infinity, which nothing allows
        return float(str(np.float32(fields.number(name))))
