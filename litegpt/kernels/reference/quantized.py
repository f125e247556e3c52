"""Dense layers whose weights are stored in fewer bits, for inference.

Packing interleaves the blocks of 32 outputs unit by unit (see weight_formats), so that a vector
takes the same unit of many outputs, and one row of activations reads the weights as one stream.
"""

import math
import os
from typing import IO

import numpy as np

from litegpt.kernels.reference.embedding import check_ids
from litegpt.kernels.reference.linear import PANEL, finish, linear
from litegpt.kernels.reference.weight_formats import WeightFormat, add_products, weight_format

FARTHEST_ROW = 1 << 60  # bytes into a file


def _rows(array: np.ndarray, axes: int) -> np.ndarray:
    """The axes from number `axes` on as one, which may be of length 0."""
    return array.reshape(*array.shape[:axes], math.prod(array.shape[axes:]))


def check_weights(weight: np.ndarray, form: WeightFormat) -> None:
    """ValueError naming the first weight that isn't finite or that the format can't hold."""
    most = np.maximum(weight.max(initial=0), -weight.min(initial=0))  # NaN if there is one
    if not most <= form.largest:
        wrong = np.argwhere(~(np.abs(weight) <= form.largest))
        place = tuple(int(i) for i in wrong[0])
        raise ValueError(
            f"weight at {place} is {weight[place]}; {form.name} holds finite numbers up to "
            f"{form.largest:.6g}"
        )


def quantize(weight: np.ndarray, format: str, transposed: bool = False) -> np.ndarray:
    """Weights in another format: (K, N), or (N, K) when transposed -> blocks (N, groups, bytes).

    A weight that isn't finite, or that the format can't hold: ValueError naming it.
    """
    form = weight_format(format)
    check_weights(weight, form)
    rows = weight if transposed else weight.T  # (N, K)
    outputs, inputs = rows.shape
    padded = np.zeros((outputs, form.groups(inputs) * form.group), np.float32)
    padded[:, :inputs] = rows
    return form.encode(padded.reshape(outputs, form.groups(inputs), form.group))


def dequantize(blocks: np.ndarray, format: str, inputs: int) -> np.ndarray:
    """The weights that blocks stand for: (N, groups, bytes) -> (N, K), in float32."""
    return _rows(weight_format(format).decode(blocks), 1)[:, :inputs]


def pack_quantized(blocks: np.ndarray, format: str, packed: np.ndarray | None = None) -> np.ndarray:
    """Blocks in the order in which activations meet them, zeros filling up the last 32 outputs.

    (N, groups, bytes) -> (ceil(N / 32), groups * 32 * bytes), written into `packed` if that is
    given. Of each group of 32 outputs, the first units of all 32 come first, then their second
    units, and so on.
    """
    form = weight_format(format)
    outputs, groups, block_bytes = blocks.shape
    if block_bytes != form.block_bytes:
        raise ValueError(f"blocks of {format} must have {form.block_bytes} bytes: {blocks.shape}")
    panels = -(-outputs // PANEL)
    padded = np.zeros((panels * PANEL, groups, block_bytes), np.uint8)
    padded[:outputs] = blocks
    padded = padded.reshape(panels, PANEL, groups, block_bytes)
    units = np.split(padded, np.cumsum(form.units)[:-1], axis=-1)
    interleaved = [_rows(unit.swapaxes(1, 2), 2) for unit in units]
    panels_in_order = _rows(np.concatenate(interleaved, axis=-1), 1)
    if packed is None:
        return panels_in_order
    _check_packed(packed, form, groups * form.group, outputs)
    packed[...] = panels_in_order
    return packed


def unpack_quantized(packed: np.ndarray, format: str, outputs: int) -> np.ndarray:
    """The blocks that pack_quantized was given."""
    form = weight_format(format)
    panels = packed.shape[0]
    groups = packed.shape[1] // (PANEL * form.block_bytes)
    grouped = packed.reshape(panels, groups, PANEL * form.block_bytes)
    units = np.split(grouped, PANEL * np.cumsum(form.units)[:-1], axis=-1)
    turned = [
        unit.reshape(panels, groups, PANEL, width).swapaxes(1, 2)
        for unit, width in zip(units, form.units, strict=True)
    ]
    blocks = np.concatenate(turned, axis=-1)  # (panels, 32, groups, bytes)
    return blocks.reshape(panels * PANEL, groups, form.block_bytes)[:outputs]


def packed_shape(form: WeightFormat, inputs: int, outputs: int) -> tuple[int, int]:
    """The shape of what pack_quantized returns for K inputs and N outputs."""
    return -(-outputs // PANEL), form.groups(inputs) * PANEL * form.block_bytes


def _check_packed(packed: np.ndarray, form: WeightFormat, inputs: int, outputs: int) -> None:
    shape = packed_shape(form, inputs, outputs)
    if packed.shape != shape:
        raise ValueError(f"packed must have shape {shape}, not {packed.shape}")


def read_quantized(
    file: IO[bytes], rows: np.ndarray, groups: np.ndarray, format: str, packed: np.ndarray
) -> None:
    """pack_quantized of blocks that lie in a file, of any number of weights in one call.

    rows (panels, 32) int64 says where in the file the blocks of each output begin (-1: there is no
    such output, nor any after it in the panel), groups (panels,) int64 how many these are. packed
    (bytes,) takes panel after panel. A file that ends before, or can't be read: OSError.
    """
    form = weight_format(format)
    check_panels(rows, groups, form, packed)
    end = 0
    for places, count in zip(rows, groups.tolist(), strict=True):
        begins = places[places >= 0]
        width = count * form.block_bytes
        blocks = np.zeros((PANEL, width), np.uint8)
        if begins.size:
            first = int(begins.min())
            data = _read(file, first, int(begins.max()) - first + width)
            blocks[: len(begins)] = data[(begins - first)[:, None] + np.arange(width)]
        start, end = end, end + blocks.size
        blocks = blocks.reshape(PANEL, count, form.block_bytes)
        packed[start:end] = pack_quantized(blocks, format).reshape(-1)


def _read(file: IO[bytes], start: int, count: int) -> np.ndarray:
    data = b""
    while len(data) < count:
        more = os.pread(file.fileno(), count - len(data), start + len(data))
        if not more:
            raise not_read()
        data += more
    return np.frombuffer(data, np.uint8)


def not_read() -> OSError:
    return OSError("the file ends within a row of blocks, or can't be read")


def check_panels(
    rows: np.ndarray, groups: np.ndarray, form: WeightFormat, packed: np.ndarray
) -> None:
    """ValueError if these don't fit each other, or name places that no file has."""
    if groups.ndim != 1 or groups.min(initial=1) < 1 or groups.max(initial=1) > packed.size:
        raise ValueError(f"groups must have shape (panels,), and be at least 1: {groups.shape}")
    if rows.shape != (len(groups), PANEL):
        raise ValueError(f"rows must have shape ({len(groups)}, {PANEL}), not {rows.shape}")
    absent = rows < 0
    if rows.max(initial=0) > FARTHEST_ROW or (absent[:, :-1] > absent[:, 1:]).any():
        raise ValueError(f"rows must be places up to {FARTHEST_ROW}, with -1 only after them")
    wanted = int(groups.sum()) * PANEL * form.block_bytes
    if packed.shape != (wanted,):
        raise ValueError(f"packed must have shape ({wanted},), not {packed.shape}")
    if not packed.flags.writeable:
        raise ValueError("packed is read-only")


def linear_quantized(
    x: np.ndarray,
    packed: np.ndarray,
    format: str,
    outputs: int,
    bias: np.ndarray | None = None,
    residual: np.ndarray | None = None,
    activation: str | None = None,
) -> np.ndarray:
    """linear, with the weights that pack_quantized made; outputs is N.

    Formats of numbers equal linear with the rounded weights. In formats of codes x is rounded too
    (activation_codes), and every output adds its groups in ascending order.
    """
    form, inputs = weight_format(format), x.shape[-1]
    _check_packed(packed, form, inputs, outputs)
    blocks = unpack_quantized(packed, format, outputs)
    if form.codes is None:
        return linear(x, dequantize(blocks, format, inputs).T, bias, residual, activation)
    rows = math.prod(x.shape[:-1])
    y = np.zeros((rows, outputs), x.dtype)
    add_products(y, x.reshape(rows, inputs), form.codes(blocks))
    return finish(y.reshape(*x.shape[:-1], outputs), bias, residual, activation)


def embedding_quantized(
    ids: np.ndarray, packed: np.ndarray, format: str, inputs: int, outputs: int
) -> np.ndarray:
    """Rows of a table (V, C) that is stored as the weights of a head: (...) int64 -> (..., C).

    inputs is C and outputs V. An id outside 0..V-1: IndexError naming the id and its place in the
    flattened ids.
    """
    _check_packed(packed, weight_format(format), inputs, outputs)
    check_ids(ids, outputs)
    panels, place = np.unique(ids // PANEL, return_inverse=True)  # those that hold a row
    blocks = unpack_quantized(packed[panels], format, len(panels) * PANEL)
    blocks = blocks[place.reshape(-1) * PANEL + ids.reshape(-1) % PANEL]
    return dequantize(blocks, format, inputs).reshape(*ids.shape, inputs)
