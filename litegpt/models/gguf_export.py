"""A model written as a GGUF file, in the names of llama.cpp."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from litegpt.formats.gguf_types import TYPE_NAMED, TensorType, decode, encode
from litegpt.formats.gguf_write import GgufTensor, write_gguf
from litegpt.models.config import GPTConfig
from litegpt.models.family import Arrays, GgufFamily, Tensor
from litegpt.models.pretrained import ARCHITECTURES, OWN_ENTRY, fixed_arrays, gguf_options

if TYPE_CHECKING:
    from litegpt.models.gpt import GPTModel

# dtype -> the type of matrices, that of the two tables of tokens, general.file_type of llama.cpp.
# Tables keep eight bits, as in the files of others: rounding them costs most, and saves little.
GGUF_DTYPES = {
    "float32": ("F32", "F32", 0),
    "float16": ("F16", "F16", 1),
    "q8": ("Q8_0", "Q8_0", 7),
    "q5": ("Q5_1", "Q8_0", 9),
    "q4": ("Q4_0", "Q8_0", 2),
    "q4_0": ("Q4_0", "Q8_0", 2),
}
_TABLES = ("token_embd.weight", "output.weight")
_POSITIONS = "position_embd.weight"  # which llama.cpp adds in float32


@dataclass(frozen=True)
class _Outline:
    """What a file will say, as it is read."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, GgufTensor]

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    @property
    def unread(self) -> Mapping[str, str]:
        return {}

    def read(self, name: str) -> np.ndarray:
        tensor = self.tensors[name]
        return decode(tensor.blocks(), tensor.form).reshape(tensor.shape)


def save_gguf(
    model: "GPTModel", path: Path, dtype: str = "float16", tokenizer: Mapping[str, Any] = {}
) -> None:
    """Writes a GGUF file; tokenizer are its entries tokenizer.*, an empty vocabulary by default.

    dtype is "float32", "float16", "q8" (Q8_0), "q5" (Q5_1), "q4" or "q4_0" (both Q4_0), the tables
    being Q8_0 below that; matrices whose rows aren't whole groups of 32 stay float16, vectors
    float32. Another dtype, parts that no architecture has, and weights that the type can't hold:
    ValueError, and what was there stays.
    """
    if dtype not in GGUF_DTYPES:
        raise ValueError(f"dtype {dtype!r} is unknown; allowed: {', '.join(GGUF_DTYPES)}")
    config = model.config
    family = architecture_of(config)
    arrays: Arrays = {**fixed_arrays(model), **model.state_dict()}
    tensors = {
        t.name: GgufTensor(t.shape, form := _form(t, dtype), _blocks(t, arrays, form))
        for t in family.tensors(config)
        if not t.repeat
    }
    for name, array in family.extra_tensors(config).items():
        form = TYPE_NAMED["F32"]
        tensors[name] = GgufTensor(array.shape, form, lambda a=array, f=form: encode(a, f))  # type: ignore[misc]
    metadata = {
        "general.architecture": family.architecture,
        "general.file_type": GGUF_DTYPES[dtype][2],
        "general.quantization_version": 2,
        **family.to_metadata(config),
        **(tokenizer or {"tokenizer.ggml.model": "none"}),
    }
    said = asdict(GPTConfig(**gguf_options(family, _Outline(path, metadata, tensors))))
    own = {name: value for name, value in asdict(config).items() if value != said[name]}
    if own:
        metadata[OWN_ENTRY] = json.dumps(own)
    write_gguf(path, metadata, tensors)


def architecture_of(config: GPTConfig) -> GgufFamily:
    """The architecture that a model of this configuration is written as; ValueError if none."""
    for family in ARCHITECTURES.values():
        if family.expresses(config):
            return family
    raise ValueError(
        f"no GGUF architecture ({', '.join(ARCHITECTURES)}) has norm {config.norm!r} with "
        f"position {config.position!r} and activation {config.activation!r}: this can't be written"
    )


def _form(tensor: Tensor, dtype: str) -> TensorType:
    matrices, tables, _ = GGUF_DTYPES[dtype]
    if len(tensor.shape) == 1 or tensor.name == _POSITIONS:
        return TYPE_NAMED["F32"]
    form = TYPE_NAMED[tables if tensor.name in _TABLES else matrices]
    return TYPE_NAMED["F16"] if tensor.shape[-1] % form.group else form


def _blocks(tensor: Tensor, arrays: Arrays, form: TensorType) -> Callable[[], np.ndarray]:
    def blocks() -> np.ndarray:
        if tensor.parameter not in arrays:
            return encode(np.zeros(tensor.shape, np.float32), form)
        rows = tensor.to_file(tensor.part(arrays[tensor.parameter]))
        try:
            return encode(np.ascontiguousarray(rows), form)
        except ValueError as error:
            raise ValueError(f"{tensor.name}: {error}") from None

    return blocks
