"""A model's weights in fewer bits, for inference."""

import mmap
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from litegpt.formats import GgufFile
from litegpt.kernels.reference.linear import PANEL
from litegpt.kernels.reference.quantized import check_weights, packed_shape
from litegpt.kernels.reference.weight_formats import weight_format
from litegpt.nn.embedding import Embedding
from litegpt.nn.frozen import FrozenParameter
from litegpt.nn.linear import Linear
from litegpt.nn.parameter import Parameter

if TYPE_CHECKING:
    from litegpt.models.gpt import GPTModel

_ALIGNMENT = 64  # bytes: a cache line; every packed matrix is a multiple of it


class Places(NamedTuple):
    """Where blocks lie in a file, as kernels.read_quantized takes it."""

    rows: np.ndarray  # (panels, 32) int64
    groups: np.ndarray  # (panels,) int64


@dataclass(frozen=True)
class Packing:
    """The format of a parameter to be, and what makes it in the memory that it gets.

    With `places`, its blocks are read into that memory before.
    """

    format: str
    pack: Callable[[np.ndarray], FrozenParameter]
    places: Places | None = None


def packable(model: "GPTModel") -> dict[str, tuple[Parameter, bool]]:
    """Name -> (weights of a dense layer or a table, whether a row is an output: (N, K))."""
    layers = [m for m in model.modules() if isinstance(m, Linear | Embedding)]
    tables = {id(m.weight): isinstance(m, Embedding) or m.transposed for m in layers}
    return {n: (p, tables[id(p)]) for n, p in model.named_parameters() if id(p) in tables}


def quantize(model: "GPTModel", format: str, done: Collection[str] = ()) -> None:
    """See GPTModel.quantize; those done are passed over. What is refused changes nothing."""
    form = weight_format(format)
    packings, weights = {}, packable(model)
    for name, (weight, table) in weights.items():
        if name in done:
            continue
        weight.check_trainable()
        try:
            check_weights(weight.data, form)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        packings[name] = Packing(format, _rounding(weight.data, format, table))
    freeze(model, weights, packings)
    for parameter in model.parameters():
        if not isinstance(parameter, FrozenParameter):
            parameter.data = parameter.data.copy()  # else a mapped file stays in memory for it


def _rounding(
    weight: np.ndarray, format: str, table: bool
) -> Callable[[np.ndarray], FrozenParameter]:
    return lambda room: FrozenParameter.of(weight, format, table, room)


def freeze(
    model: "GPTModel",
    weights: dict[str, tuple[Parameter, bool]],
    packings: Mapping[str, Packing],
    file: GgufFile | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Puts frozen parameters in the place of those that have a packing.

    weights are those of `packable`, which end here; `file` is where the packings' places are.
    Reading from it needs a processor, but not Python: so it runs beside meanwhile, in a thread.
    """
    shapes = {}
    for name in sorted(packings, key=lambda name: _order(packings[name])):
        weight, table = weights[name]
        inputs, outputs = weight.shape[::-1] if table else weight.shape
        shapes[name] = packed_shape(weight_format(packings[name].format), inputs, outputs)
    # All in one piece of memory: the operating system gives it in large pages, without which a
    # stream of weights is a third slower.
    needed = sum(panels * width for panels, width in shapes.values())
    memory = np.empty(needed + _ALIGNMENT, np.uint8)
    memory = memory[-memory.ctypes.data % _ALIGNMENT :][:needed]
    reads, rest = _reads([packings[name] for name in shapes], memory)

    def fill() -> None:
        for places, format, room in reads:
            assert file is not None
            file.read_packed(*places, format, room)
        rest[:: mmap.PAGESIZE].fill(0)  # the operating system takes as long as packing does

    if meanwhile is None:
        fill()
    else:
        with _beside(fill):
            meanwhile()
    layers = defaultdict(list)  # by their weight
    for module in model.modules():
        if isinstance(module, Linear | Embedding):
            layers[id(module.weight)].append(module)
    start = 0
    for name, (panels, width) in shapes.items():
        room = memory[start : start + panels * width].reshape(panels, width)
        frozen = packings[name].pack(room)
        start += room.size
        for layer in layers[id(weights[name][0])]:
            layer.weight = frozen
        del weights[name]  # and its memory, if nobody else has it
    if packings:
        model.freeze("*")


def _order(packing: Packing) -> tuple[bool, str]:
    """What is read stands first, in memory too, and each format in one piece."""
    return packing.places is None, packing.format


def _reads(
    packings: list[Packing], memory: np.ndarray
) -> tuple[list[tuple[Places, str, np.ndarray]], np.ndarray]:
    """For each format the places of all that is read, and its memory; the memory that is left."""
    reads = []
    for (not_read, format), group in groupby(packings, _order):
        if not_read:
            break
        places = [packing.places for packing in group if packing.places is not None]
        joined = Places(*(np.concatenate(arrays) for arrays in zip(*places, strict=True)))
        size = int(joined.groups.sum()) * PANEL * weight_format(format).block_bytes
        reads.append((joined, format, memory[:size]))
        memory = memory[size:]
    return reads, memory


@contextmanager
def _beside(work: Callable[[], None]) -> Iterator[None]:
    """Does some work in a thread while the block runs; raises at its end what that raised."""
    errors = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    for error in errors:
        raise error
