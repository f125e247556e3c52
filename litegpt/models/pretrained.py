"""Models on disk, in the names and shapes of the families that others read too.

config.json holds the family's own fields. What they can't say of a GPTModel (that it has no
biases where the family has, say) stands beside them in the object "litegpt", so that a round trip
is exact.
"""

from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from litegpt.formats import (
    CONFIG,
    GgufFile,
    JsonFields,
    ModelFormatError,
    open_weights,
    parse_json,
    read_json,
    refuse_pickle,
    write_checkpoint,
)
from litegpt.kernels.reference.weight_formats import FORMATS
from litegpt.models import bigcode, gpt2, gpt2_gguf, hub, llama, llama_gguf
from litegpt.models.config import GPTConfig
from litegpt.models.family import Family, GgufContents, GgufFamily, NamedWeights, write_tensors
from litegpt.models.gguf_blocks import KEPT, packings, warn_of_decoded
from litegpt.models.quantization import freeze, packable, quantize
from litegpt.nn.lora import LoRALinear
from litegpt.nn.position import PositionalEncoding

if TYPE_CHECKING:
    from litegpt.models.gpt import GPTModel

_FAMILIES: tuple[Family, ...] = (gpt2, llama, bigcode)
FAMILIES = {name: family for family in _FAMILIES for name in family.MODEL_TYPES}
ARCHITECTURES: dict[str, GgufFamily] = {
    family.architecture: family for family in (gpt2_gguf.GPT2, llama_gguf.LLAMA, llama_gguf.QWEN2)
}

_OWN = "litegpt"  # the object of our own fields
OWN_ENTRY = "litegpt.config"  # and the metadata that has it as text
_LONGEST_OWN = 1 << 16
_EMBEDDING = "token_embd.weight"
_TOKENS = "tokenizer.ggml.tokens"


def family_of(config: GPTConfig) -> Family:
    """The family that a model of this configuration is saved as; ValueError if there is none."""
    for family in _FAMILIES:
        if family.expresses(config):
            return family
    names = ", ".join(family.MODEL_TYPES[0] for family in _FAMILIES)
    raise ValueError(
        f"no weight family ({names}) has norm {config.norm!r} with position "
        f"{config.position!r}, activation {config.activation!r} and "
        f"{config.num_kv_heads} key/value heads of {config.num_heads}: this can't be saved"
    )


def save(model: "GPTModel", directory: Path) -> None:
    """See GPTModel.save_pretrained."""
    if any(isinstance(module, LoRALinear) for module in model.modules()):
        raise ValueError("the model has LoRA adapters: save them (save_lora), or merge them first")
    family = family_of(model.config)
    written = family.to_fields(model.config)
    understood = family.from_fields(JsonFields(Path(CONFIG), written))
    said = asdict(GPTConfig(**understood))
    own = {name: value for name, value in asdict(model.config).items() if value != said[name]}
    arrays = {**fixed_arrays(model), **model.state_dict()}
    tensors = write_tensors(family.tensors(model.config), arrays)
    write_checkpoint(directory, written | ({_OWN: own} if own else {}), tensors)


def read_config(path: Path) -> tuple[Family, GPTConfig]:
    """The family and configuration of a model's directory, or of its config.json.

    ModelFormatError names the field that is wrong.
    """
    written = read_json(path / CONFIG if path.is_dir() else path)
    family = written.choice("model_type", FAMILIES)
    return family, _config(family, family.from_fields(written), written.section(_OWN))


def read_metadata(file: GgufFile) -> tuple[GgufFamily, GPTConfig]:
    """The same of a GGUF file."""
    written = JsonFields(file.path, file.metadata)
    family = written.choice("general.architecture", ARCHITECTURES)
    own = JsonFields(file.path, {})
    if OWN_ENTRY in file.metadata:
        text = file.metadata[OWN_ENTRY]
        if not isinstance(text, str) or len(text) > _LONGEST_OWN:
            raise written.refuse(OWN_ENTRY, f"a JSON object as text, of up to {_LONGEST_OWN} bytes")
        own = JsonFields(file.path, parse_json(f"{file.path}: {OWN_ENTRY}", text).fields)
    config = _config(family, gguf_options(family, file), own)
    for name, array in family.extra_tensors(config).items():
        if name in file.shapes and not (
            file.shapes[name] == array.shape
            and np.allclose(file.read(name), array, rtol=1e-3, atol=0)
        ):
            raise ModelFormatError(f"{file.path}: {name} contradicts the configuration")
    tokens = file.metadata.counts.get(_TOKENS, 0)
    if tokens > config.vocab_size:  # before a list of that length is made
        raise ModelFormatError(
            f"{file.path}: {_TOKENS} has {tokens} tokens, {_EMBEDDING} {config.vocab_size}"
        )
    return family, config


def gguf_options(family: GgufFamily, file: GgufContents) -> dict[str, Any]:
    """The fields of GPTConfig that a GGUF file says; the vocabulary's size is the table's."""
    if len(file.shapes.get(_EMBEDDING, ())) != 2:
        raise ModelFormatError(f"{file.path}: missing {_EMBEDDING} (V, C)")
    return family.from_file(file) | {"vocab_size": file.shapes[_EMBEDDING][0]}


def _config(family: Family | GgufFamily, options: dict[str, Any], own: JsonFields) -> GPTConfig:
    """What a family's fields say, and above them our own."""
    allowed = [field.name for field in fields(GPTConfig)]
    for name in own.fields:
        if name not in allowed:
            raise ModelFormatError(f"{own.path}: {_OWN}.{name} is no field of GPTConfig")
    try:
        config = replace(GPTConfig(**options), **own.fields)
    except ValueError as error:
        if isinstance(error, ModelFormatError):
            raise
        raise ModelFormatError(f"{own.path}: {error}") from error
    if not family.expresses(config):
        raise ModelFormatError(f"{own.path}: {_OWN} asks for what the family has not")
    return config


def load(make: "type[GPTModel]", path: Path, dtype: str | None, share: bool) -> "GPTModel":
    """See GPTModel.from_pretrained."""
    _check_dtype(dtype)
    path = hub.local(path)
    if path.is_file():
        return load_gguf(make, open_gguf(path), dtype)
    if not path.is_dir():
        raise ModelFormatError(f"{path}: no such directory or file")
    family, config = read_config(path)
    weights = NamedWeights(open_weights(path), family, config)
    model = _empty(make, config)
    weights.read_into(dict(model.named_parameters()), fixed_arrays(model), share)
    if dtype not in (None, "float32"):
        quantize(model, dtype)
    return model.eval()


def open_gguf(path: Path) -> GgufFile:
    """The file, if it isn't of a kind that is refused by its name."""
    refuse_pickle(path)
    return GgufFile(path)


def load_gguf(
    make: "type[GPTModel]",
    file: GgufFile,
    dtype: str | None,
    meanwhile: Callable[[], None] | None = None,
) -> "GPTModel":
    """The model of an open GGUF file: see GPTModel.from_pretrained; and meanwhile, freeze."""
    _check_dtype(dtype)
    family, config = read_metadata(file)
    weights = NamedWeights(file, family, config)
    model = _empty(make, config)
    kept = KEPT if dtype is None else {dtype}.intersection(KEPT)
    parameters = packable(model)
    packed, others = packings(file, weights.tensors, parameters, kept)
    if dtype is None:
        warn_of_decoded(file, others)
    freeze(model, parameters, packed, file, meanwhile)
    weights.read_into(dict(model.named_parameters()), fixed_arrays(model), share=False)
    if dtype not in (None, "float32"):
        quantize(model, dtype, packed)
    return model.eval()


def _check_dtype(dtype: str | None) -> None:
    """ValueError unless there is such a format: before anything is read."""
    if dtype is not None and dtype not in FORMATS:
        raise ValueError(f"dtype {dtype!r} is unknown; allowed: {', '.join(FORMATS)}")


def _empty(make: "type[GPTModel]", config: GPTConfig) -> "GPTModel":
    """A model of zeros, for which nothing is drawn, nor memory touched."""
    model = make.from_config(replace(config, init_std=0.0), seed=0)
    model.config = config
    return model


def fixed_arrays(model: "GPTModel") -> dict[str, np.ndarray]:
    """The arrays that families keep as parameters, and this model doesn't."""
    position = model.position_encoding
    if isinstance(position, PositionalEncoding):
        return {"position_encoding.weight": position.table}
    return {}
