"""How much memory training and generation take: computed from a model's shapes, nothing is run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from litegpt.kernels.reference.linear import PANEL
from litegpt.models.gpt import GPTModel
from litegpt.nn.block import TransformerBlock
from litegpt.nn.frozen import FrozenParameter
from litegpt.nn.linear import Linear
from litegpt.nn.lora import LoRALinear

PER_BLOCK = 100_000  # bytes that a block takes before it has numbers in it: Python's objects, pages
_FLOAT = 4  # bytes
_KEPT_MOST = 1 << 29  # bytes of freed arrays that csrc/blocks.c keeps for the next ones


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes at the fullest moment of a step, beside what Python and its libraries take."""

    weights: int
    gradients: int
    moments: int
    activations: int

    @property
    def total(self) -> int:
        return sum(asdict(self).values())


@dataclass(frozen=True)
class GenerationMemory:
    """Bytes while generating; weights with their packed copies."""

    weights: int
    cache: int

    @property
    def total(self) -> int:
        return sum(asdict(self).values())


def training_memory(
    model: GPTModel, rows: int, length: int, moments: Mapping[str, int], recompute: bool = False
) -> TrainingMemory:
    """Of a step that reads rows of `length` tokens at once.

    moments: how many arrays of its size the optimizer keeps of a parameter, by its name.
    """
    trained = {name: p for name, p in model.named_parameters() if p.trainable}
    return TrainingMemory(
        weights=_weights(model),
        gradients=_FLOAT * sum(p.size for p in trained.values()),
        moments=_FLOAT * sum(moments[name] * p.size for name, p in trained.items()),
        activations=_activations(model, rows, length, recompute),
    )


def _weights(model: GPTModel) -> int:
    return sum(
        p.nbytes if isinstance(p, FrozenParameter) else _FLOAT * p.size for p in model.parameters()
    )


def _activations(model: GPTModel, rows: int, length: int, recompute: bool) -> int:
    """Bytes at the fuller of two moments.

    The loss, when logits and their gradient stand beside all that backward needs; and backward of
    the last block, whose own arrays are all still there, while the memory of the logits is kept
    for the next ones.
    """
    config, token = model.config, _FLOAT * rows * length
    width, up = config.hidden_dim, model.blocks[-1].ffn.up.outputs
    kept = [_kept(block) for block in model.blocks]
    blocks = width * len(kept) if recompute else sum(kept)
    last = kept[-1] if recompute else 0
    logits = 2 * token * config.vocab_size
    loss = token * (blocks + width + _input(model.head)) + logits
    backward = token * (blocks + last + up + config.ffn_dim + 3 * width)
    return max(loss, backward + min(logits, _KEPT_MOST))


def _kept(block: TransformerBlock) -> int:
    """Floats per token that a block keeps for backward, its input among them."""
    attention, ffn = block.attention, block.ffn
    width = attention.hidden_dim
    projected = attention.qkv.outputs
    turned = (
        0 if attention.rotary is None else projected - attention.num_kv_heads * (attention.head_dim)
    )
    inputs = _input(attention.qkv) + _input(ffn.up)
    inputs += _input(ffn.down)  # attention's output is kept by attention itself
    residuals = 2 * width
    statistics = 4 + attention.num_heads
    return residuals + inputs + projected + turned + width + ffn.up.outputs + statistics


def _input(layer: Linear) -> int:
    """Floats per token that a dense layer keeps: its input, if a gradient needs it."""
    adapters = layer.adapters if isinstance(layer, LoRALinear) else []
    middles = sum(adapter.a.shape[1] for adapter in adapters)
    return middles + (layer.inputs if adapters or layer.weight.trainable else 0)


def generation_memory(model: GPTModel, positions: int, rows: int = 1) -> GenerationMemory:
    """Of generation with so many positions of so many rows in the cache."""
    config = model.config
    packed = sum(
        _FLOAT * layer.weight.size // layer.outputs * (-(-layer.outputs // PANEL) * PANEL)
        for layer in model.modules()
        if isinstance(layer, Linear) and not isinstance(layer.weight, FrozenParameter)
    )
    vectors = 2 * config.num_layers * rows * config.num_kv_heads * positions  # keys and values
    return GenerationMemory(
        weights=_weights(model) + packed, cache=_FLOAT * vectors * config.head_dim
    )
