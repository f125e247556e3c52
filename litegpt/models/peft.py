"""LoRA adapters of a model, and their files in the format of the library PEFT.

A directory: adapter_config.json, and adapter_model.safetensors, where a layer that Hugging Face
calls NAME has the tensors base_model.model.NAME.lora_A.weight (r, K) and .lora_B.weight (N, r).
(github.com/huggingface/peft, docs/source/developer_guides/checkpoint.md)
"""

import json
import math
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from litegpt.formats import (
    ModelFormatError,
    SafetensorsFile,
    check_tensors,
    read_json,
    save_tensors,
    write_together,
)
from litegpt.models import pretrained
from litegpt.nn.lora import LoRALinear, LowRank
from litegpt.nn.random import Seed, generator

if TYPE_CHECKING:
    from litegpt.models.config import GPTConfig
    from litegpt.models.gpt import GPTModel

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ALL_LINEAR = "all-linear"  # PEFT's word for every dense layer but the head
_PREFIX = "base_model.model."
_HEAD = "lm_head"
_NOT_READ = (  # fields of adapter_config.json that stand for more than LoRA
    "use_dora",
    "use_qalora",
    "lora_bias",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
)


@dataclass(frozen=True, kw_only=True)
class LoRAConfig:
    """Which dense layers are adapted, and how; a value that makes no sense: ValueError.

    r is the rank of what is added, which counts alpha / r times; dropout is that of an adapter's
    input. targets are the layers' names, or ends of them, in the model's files: q_proj, mlp.c_proj,
    or "all-linear" for all but the head.
    """

    r: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = (ALL_LINEAR,)

    def __post_init__(self) -> None:
        if not isinstance(self.r, int | np.integer) or self.r < 1:
            raise ValueError(f"r must be an integer of 1 or more, not {self.r!r}")
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"alpha must be a positive number, not {self.alpha!r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1, not {self.dropout!r}")
        if isinstance(self.targets, str) or not self.targets:
            raise ValueError(f"targets must be a list of names, not {self.targets!r}")


@dataclass(frozen=True)
class _Projection:
    """A dense layer of the files: its name there, and its place among ours."""

    name: str  # model.layers.0.self_attn.q_proj
    path: str  # blocks.0.attention.qkv
    inputs: int
    columns: tuple[int, int]
    transposed: bool  # there (out, in)

    @property
    def outputs(self) -> int:
        return self.columns[1] - self.columns[0]

    def is_called(self, target: str) -> bool:
        if target == ALL_LINEAR:
            return self.name != _HEAD
        return f".{self.name}".endswith(f".{target}")


def _projections(config: "GPTConfig") -> list[_Projection]:
    """Every dense layer, in the order of the family's files."""
    found = []
    for tensor in pretrained.family_of(config).tensors(config):
        name, _, kind = tensor.name.rpartition(".")
        inside = tensor.parameter.startswith("blocks.") and len(tensor.shape) == 2
        if kind != "weight" or not (inside or name == _HEAD):
            continue
        inputs, outputs = tensor.shape[::-1] if tensor.transposed else tensor.shape
        if name == _HEAD:
            path, (outputs, inputs) = "head", (config.vocab_size, config.hidden_dim)
        else:
            path = tensor.parameter.removesuffix(".weight")
        columns = tensor.columns or (0, outputs)
        found.append(_Projection(name, path, inputs, columns, tensor.transposed))
    return found


def _part(model: "GPTModel", path: str) -> tuple[Any, str]:
    """The module that has the layer, and the layer's name in it."""
    *outer, name = path.split(".")
    part: Any = model
    for step in outer:
        part = part[int(step)] if isinstance(part, list) else getattr(part, step)
    return part, name


def _adapted(model: "GPTModel") -> dict[_Projection, LowRank]:
    """The adapted layers and their adapters, in the order of the files."""
    found: dict[_Projection, LowRank] = {}
    if not has_adapters(model):
        return found
    for projection in _projections(model.config):
        parent, name = _part(model, projection.path)
        layer = getattr(parent, name)
        for adapter in layer.adapters if isinstance(layer, LoRALinear) else ():
            if adapter.columns == projection.columns:
                found[projection] = adapter
    return found


def has_adapters(model: "GPTModel") -> bool:
    return any(isinstance(module, LoRALinear) for module in model.modules())


def _attach(model: "GPTModel", adapters: Iterable[tuple[_Projection, LowRank]]) -> None:
    model.freeze("*")
    for projection, adapter in adapters:
        parent, name = _part(model, projection.path)
        if not isinstance(getattr(parent, name), LoRALinear):
            setattr(parent, name, LoRALinear.of(getattr(parent, name)))
        getattr(parent, name).adapters.append(adapter)
    model.train(model.training)  # the new parts are in the model's mode


def _check_plain(model: "GPTModel") -> None:
    if has_adapters(model):
        raise ValueError("the model has LoRA adapters already: merge them, or load it again")


def add_lora(model: "GPTModel", config: LoRAConfig | None = None, seed: Seed = None) -> None:
    """Freezes the model and puts new adapters beside its layers: those alone are trained then.

    At first they add nothing. The model may be one kept for inference (see GPTModel.quantize).
    ValueError for a target that no layer is called, and for a model that has adapters.
    """
    config = config or LoRAConfig()
    _check_plain(model)
    every = _projections(model.config)
    for target in config.targets:
        if not any(p.is_called(target) for p in every):
            names = sorted({p.name.rpartition(".")[2] for p in every})
            raise ValueError(
                f"targets: no dense layer is called {target!r}; there are "
                f"{', '.join(names)}, or {ALL_LINEAR} for all but {_HEAD}"
            )
    chosen = [p for p in every if any(p.is_called(target) for target in config.targets)]
    if model.config.tie_embeddings and any(p.name == _HEAD for p in chosen):
        raise ValueError(f"targets: {_HEAD} is the embedding's table, and can't be adapted alone")
    rng = generator(seed)
    scale = config.alpha / config.r
    _attach(model, [
        (p, LowRank(p.inputs, p.columns, config.r, scale, config.dropout, rng)) for p in chosen
    ])  # fmt: skip


def lora_facts(model: "GPTModel") -> dict[str, Any]:
    """What a model's adapters are, in PEFT's words; nothing for a model without any."""
    adapters = _adapted(model)
    if not adapters:
        return {}
    some = next(iter(adapters.values()))
    r = some.a.shape[1]
    return {
        "r": r,
        "lora_alpha": some.scale * r,
        "lora_dropout": some.dropout.p,
        "target_modules": _targets(adapters, _projections(model.config)),
    }


def save_lora(
    model: "GPTModel", directory: str | os.PathLike[str], base: str | None = None
) -> None:
    """Writes the adapters as PEFT does; both files are there whole, or as they were before.

    base says which model they belong to: a path, or a name on the hub. ValueError for a model
    without adapters.
    """
    directory, adapters = Path(directory), _adapted(model)
    if not adapters:
        raise ValueError("the model has no LoRA adapters to save")
    fields = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        **lora_facts(model),
        "bias": "none",
        "fan_in_fan_out": not any(projection.transposed for projection in adapters),
        "inference_mode": True,
    }
    text = json.dumps(fields, indent=2) + "\n"
    tensors = {}
    for projection, adapter in adapters.items():
        for name, array in zip(_tensor_names(projection), (adapter.a, adapter.b), strict=True):
            tensors[name] = np.ascontiguousarray(array.data.T)
    directory.mkdir(parents=True, exist_ok=True)
    write_together(
        {
            directory / ADAPTER_WEIGHTS: partial(save_tensors, tensors=tensors),
            directory / ADAPTER_CONFIG: partial(_write_text, text),
        }
    )


def _write_text(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


def _tensor_names(projection: _Projection) -> tuple[str, str]:
    name = f"{_PREFIX}{projection.name}"
    return f"{name}.lora_A.weight", f"{name}.lora_B.weight"


def _targets(adapted: Collection[_Projection], every: Sequence[_Projection]) -> list[str]:
    """The shortest ends of names that mean these layers, and no others."""
    targets = set()
    for projection in adapted:
        words = projection.name.split(".")
        ends = (".".join(words[start:]) for start in range(len(words) - 1, -1, -1))
        targets.add(next(e for e in ends if all(p in adapted for p in every if p.is_called(e))))
    return sorted(targets)


def load_lora(model: "GPTModel", directory: str | os.PathLike[str]) -> None:
    """Freezes the model and puts the adapters of PEFT's directory beside its layers, to be trained.

    A model that has the same adapters gets their weights. ModelFormatError (a ValueError) names
    the file, and what in it isn't LoRA's or doesn't fit the model.
    """
    adapters, read = _adapted(model), _read(model.config, Path(directory))
    if not adapters:
        _attach(model, read.items())
        return
    theirs = {projection: adapter.a.shape for projection, adapter in read.items()}
    if theirs != {projection: adapter.a.shape for projection, adapter in adapters.items()}:
        raise ModelFormatError(f"{directory}: holds other adapters than the model has")
    for projection, adapter in adapters.items():
        adapter.load_state_dict(read[projection].state_dict())


def _read(config: "GPTConfig", directory: Path) -> dict[_Projection, LowRank]:
    fields = read_json(directory / ADAPTER_CONFIG)
    fields.choice("peft_type", {"LORA": "LORA"})
    for name in _NOT_READ:
        if fields.fields.get(name):
            raise fields.refuse(name, "absent: that kind of adapter isn't read")
    fields.choice("bias", {"none": "none"}, "none")
    alpha, dropout = fields.number("lora_alpha", 8), fields.number("lora_dropout", 0.0)
    if dropout < 0:
        raise fields.refuse("lora_dropout", "a probability from 0 to 1")
    rank_stabilized = fields.flag("use_rslora", False)
    file = SafetensorsFile(directory / ADAPTER_WEIGHTS)
    expected: dict[str, tuple[int, ...]] = {}
    found = {}
    for projection in _projections(config):
        a, b = _tensor_names(projection)
        if a not in file.shapes and b not in file.shapes:
            continue
        shape = file.shapes.get(a, ())
        r = shape[0] if len(shape) == 2 and shape[0] else fields.integer("r", 8)
        expected |= {a: (r, projection.inputs), b: (projection.outputs, r)}
        found[projection] = a, b, r
    check_tensors(file, expected, {})
    if not found:
        raise ModelFormatError(f"{file.path}: holds no adapter of a layer that the model has")
    adapters = {}
    for projection, (a, b, r) in found.items():
        scale = alpha / (math.sqrt(r) if rank_stabilized else r)
        adapter = LowRank(projection.inputs, projection.columns, r, scale, dropout, 0)
        adapter.a.data, adapter.b.data = file.read(a).T, file.read(b).T
        adapters[projection] = adapter
    return adapters


def merge_lora(model: "GPTModel") -> None:
    """Adds the adapters into the weights, so that the model is a plain one, all of it trainable.

    ValueError for a model without adapters; RuntimeError where weights are kept for inference.
    """
    adapters = _adapted(model)
    if not adapters:
        raise ValueError("the model has no LoRA adapters to merge")
    for parameter in model.parameters():
        parameter.check_trainable()  # all of them, before the first is changed
    for path in {projection.path for projection in adapters}:
        parent, name = _part(model, path)
        setattr(parent, name, getattr(parent, name).merge())
    model.freeze("*", trainable=True)
