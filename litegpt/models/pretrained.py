"""Models on disk, in the names and shapes of the families that others read too.

config.json holds the family's own fields. What they can't say of a GPTModel (that it has no
biases where the family has, say) stands beside them in the object "litegpt", so that a round trip
is exact.
"""

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litegpt.formats import (
    CONFIG,
    WEIGHTS,
    JsonFields,
    ModelFormatError,
    read_json,
    write_checkpoint,
)
from litegpt.models import gpt2, llama
from litegpt.models.config import GPTConfig
from litegpt.models.family import Family, FamilyWeights, write_tensors
from litegpt.nn.position import PositionalEncoding

if TYPE_CHECKING:
    import numpy as np

    from litegpt.models.gpt import GPTModel

FAMILIES: dict[str, Family] = {family.MODEL_TYPE: family for family in (gpt2, llama)}

_OWN = "litegpt"  # the object of our own fields


def family_of(config: GPTConfig) -> Family:
    """The family that a model of this configuration is saved as; ValueError if there is none."""
    for family in FAMILIES.values():
        if family.expresses(config):
            return family
    raise ValueError(
        f"no weight family ({', '.join(FAMILIES)}) has norm {config.norm!r} with position "
        f"{config.position!r}, activation {config.activation!r} and "
        f"{config.num_kv_heads} key/value heads of {config.num_heads}: this can't be saved"
    )


def save(model: "GPTModel", directory: Path) -> None:
    """See GPTModel.save_pretrained."""
    family = family_of(model.config)
    written = family.to_fields(model.config)
    understood = family.from_fields(JsonFields(Path(CONFIG), written))
    said = asdict(GPTConfig(**understood))
    own = {name: value for name, value in asdict(model.config).items() if value != said[name]}
    arrays = {**_fixed(model), **model.state_dict()}
    tensors = write_tensors(family.tensors(model.config), arrays)
    write_checkpoint(directory, written | ({_OWN: own} if own else {}), tensors)


def read_config(directory: Path) -> tuple[Family, GPTConfig]:
    """The family and configuration of a model's directory; ModelFormatError naming the field."""
    written = read_json(directory / CONFIG)
    family = written.choice("model_type", FAMILIES)
    own = written.section(_OWN)
    allowed = [field.name for field in fields(GPTConfig)]
    for name in own.fields:
        if name not in allowed:
            raise ModelFormatError(f"{own.path}: {_OWN}.{name} is no field of GPTConfig")
    options: dict[str, Any] = family.from_fields(written)
    try:
        config = replace(GPTConfig(**options), **own.fields)
    except ValueError as error:
        if isinstance(error, ModelFormatError):
            raise
        raise ModelFormatError(f"{written.path}: {error}") from error
    if not family.expresses(config):
        raise ModelFormatError(f"{written.path}: {_OWN} asks for what {family.MODEL_TYPE} has not")
    return family, config


def load(make: "type[GPTModel]", directory: Path) -> "GPTModel":
    """See GPTModel.from_pretrained."""
    if not directory.is_dir():
        missing = "not a directory" if directory.exists() else "no such directory"
        raise ModelFormatError(f"{directory}: {missing}")
    family, config = read_config(directory)
    weights = FamilyWeights(directory / WEIGHTS, family, config)
    model = make.from_config(replace(config, init_std=0.0))  # zeros: nothing is drawn
    model.config = config
    weights.read_into(model.state_dict(), _fixed(model))
    return model.eval()


def _fixed(model: "GPTModel") -> "dict[str, np.ndarray]":
    """The arrays that families keep as parameters, and this model doesn't."""
    position = model.position_encoding
    if isinstance(position, PositionalEncoding):
        return {"position_encoding.weight": position.table}
    return {}
