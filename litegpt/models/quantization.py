"""A model's weights in fewer bits, for inference."""

from typing import TYPE_CHECKING

import numpy as np

from litegpt.kernels.reference.quantized import check_weights, packed_shape
from litegpt.kernels.reference.weight_formats import weight_format
from litegpt.nn.embedding import Embedding
from litegpt.nn.frozen import FrozenParameter
from litegpt.nn.linear import Linear

if TYPE_CHECKING:
    from litegpt.models.gpt import GPTModel

_ALIGNMENT = 64  # bytes: a cache line; every packed matrix is a multiple of it


def quantize(model: "GPTModel", format: str) -> None:
    """See GPTModel.quantize. If anything is refused, the model is as it was."""
    form = weight_format(format)
    layers = [m for m in model.modules() if isinstance(m, Linear | Embedding)]
    tables = {id(m.weight): isinstance(m, Embedding) or m.transposed for m in layers}
    weights = [(name, p) for name, p in model.named_parameters() if id(p) in tables]
    for name, weight in weights:
        weight.check_trainable()
        try:
            check_weights(weight.data, form)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    shapes = []
    for _, weight in weights:
        inputs, outputs = weight.shape[::-1] if tables[id(weight)] else weight.shape
        shapes.append(packed_shape(form, inputs, outputs))
    # All in one piece of memory: the operating system gives it in large pages, without which a
    # stream of weights is a third slower.
    memory = np.empty(sum(rows * width for rows, width in shapes) + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    for (rows, width), (_, weight) in zip(shapes, weights, strict=True):
        room = memory[start : start + rows * width].reshape(rows, width)
        frozen = FrozenParameter.of(weight.data, format, tables[id(weight)], room)
        start += room.nbytes
        for layer in layers:
            if layer.weight is weight:
                layer.weight = frozen
