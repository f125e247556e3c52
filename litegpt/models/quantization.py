"""A model's weights in fewer bits, for inference."""

import mmap
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np

from litegpt.kernels.reference.quantized import check_weights, packed_shape
from litegpt.kernels.reference.weight_formats import weight_format
from litegpt.nn.embedding import Embedding
from litegpt.nn.frozen import FrozenParameter
from litegpt.nn.linear import Linear
from litegpt.nn.parameter import Parameter

if TYPE_CHECKING:
    from litegpt.models.gpt import GPTModel

_ALIGNMENT = 64  # bytes: a cache line; every packed matrix is a multiple of it


@dataclass(frozen=True)
class Packing:
    """The format of a parameter to be, and what makes it in the memory that it gets."""

    format: str
    pack: Callable[[np.ndarray], FrozenParameter]


def packable(model: "GPTModel") -> dict[str, tuple[Parameter, bool]]:
    """Name -> (weights of a dense layer or a table, whether a row is an output: (N, K))."""
    layers = [m for m in model.modules() if isinstance(m, Linear | Embedding)]
    tables = {id(m.weight): isinstance(m, Embedding) or m.transposed for m in layers}
    return {n: (p, tables[id(p)]) for n, p in model.named_parameters() if id(p) in tables}


def quantize(model: "GPTModel", format: str, done: Collection[str] = ()) -> None:
    """See GPTModel.quantize; those done are passed over. What is refused changes nothing."""
    form = weight_format(format)
    packings = {}
    for name, (weight, table) in packable(model).items():
        if name in done:
            continue
        weight.check_trainable()
        try:
            check_weights(weight.data, form)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        packings[name] = Packing(format, _rounding(weight.data, format, table))
    freeze(model, packings)
    for parameter in model.parameters():
        if not isinstance(parameter, FrozenParameter):
            parameter.data = parameter.data.copy()  # else a mapped file stays in memory for it


def _rounding(
    weight: np.ndarray, format: str, table: bool
) -> Callable[[np.ndarray], FrozenParameter]:
    return lambda room: FrozenParameter.of(weight, format, table, room)


def freeze(
    model: "GPTModel",
    packings: Mapping[str, Packing],
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Puts frozen parameters in the place of those named; calls meanwhile before packing them.

    While that runs, a thread asks the operating system for the memory, which takes as long as
    packing does.
    """
    weights = packable(model)
    shapes = {}
    for name, packing in packings.items():
        weight, table = weights[name]
        inputs, outputs = weight.shape[::-1] if table else weight.shape
        shapes[name] = packed_shape(weight_format(packing.format), inputs, outputs)
    # All in one piece of memory: the operating system gives it in large pages, without which a
    # stream of weights is a third slower.
    needed = sum(rows * width for rows, width in shapes.values())
    memory = np.empty(needed + _ALIGNMENT, np.uint8)
    if meanwhile is not None:
        pages = memory[:: mmap.PAGESIZE]
        asking = Thread(target=pages.fill, args=(0,))  # NumPy lets other threads run
        asking.start()
        try:
            meanwhile()
        finally:
            asking.join()
    start = -memory.ctypes.data % _ALIGNMENT
    layers = [m for m in model.modules() if isinstance(m, Linear | Embedding)]
    for name, (rows, width) in shapes.items():
        frozen = packings[name].pack(memory[start : start + rows * width].reshape(rows, width))
        start += rows * width
        for layer in layers:
            if layer.weight is weights[name][0]:
                layer.weight = frozen
        del weights[name]  # and its memory, if nobody else has it
    if packings:
        model.freeze("*")
