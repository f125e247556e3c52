"""Blocks of codes in a GGUF file, taken over into a model as they are."""

import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable

import numpy as np

from litegpt.formats import GgufFile, ModelFormatError
from litegpt.formats.quant import FORMATS, GGUF_FORMATS, from_gguf, stored_alike
from litegpt.kernels.reference.linear import PANEL
from litegpt.models.family import Tensor
from litegpt.models.quantization import Packing, Places
from litegpt.nn.frozen import FrozenParameter

# formats in which blocks stay, unless another is asked for
KEPT = [name for name, form in FORMATS.items() if form.codes is not None]
_Piece = tuple[str, Tensor]  # with its name in the file


def packings(
    file: GgufFile,
    tensors: Iterable[_Piece],
    weights: Collection[str],
    kept: Collection[str],
) -> tuple[dict[str, Packing], set[str]]:
    """Parameter -> how it is packed, for those of `weights` whose blocks a kept format can hold.

    And the types of blocks that aren't.
    """
    parts: dict[str, list[_Piece]] = defaultdict(list)
    for name, tensor in tensors:
        if name in file.tensors and tensor.parameter in weights and not tensor.repeat:
            parts[tensor.parameter].append((name, tensor))
    found, others = {}, set()
    for parameter, pieces in parts.items():
        types = {file.tensors[name].form for name, _ in pieces}
        held = [GGUF_FORMATS.get(form.name, ()) for form in types]
        formats = [name for name in kept if all(name in of_type for of_type in held)]
        if formats:
            smallest = min(formats, key=lambda name: FORMATS[name].block_bytes)
            found[parameter] = _packing(file, pieces, smallest)
        else:
            others |= {form.name for form in types if form.group > 1}
    return found, others


def warn_of_decoded(file: GgufFile, types: Collection[str]) -> None:
    """Says which weights take more memory than their file, and what to do about it."""
    if types:
        allowed = " or ".join(f'"{name}"' for name in KEPT)
        warnings.warn(
            f"{file.path}: weights in {', '.join(sorted(types))} become float32; "
            f"dtype={allowed} rounds them anew",
            RuntimeWarning,
            stacklevel=4,
        )


def _packing(file: GgufFile, pieces: list[_Piece], form: str) -> Packing:
    pieces = sorted(pieces, key=lambda piece: piece[1].columns or (0, 0))
    inputs, transposed = pieces[0][1].shape[-1], not pieces[0][1].transposed
    places = _places(file, pieces, form)
    if places is not None:
        outputs = sum(tensor.shape[0] for _, tensor in pieces)
        return Packing(
            form, lambda room: FrozenParameter(room, form, inputs, outputs, transposed), places
        )

    def pack(room: np.ndarray) -> FrozenParameter:
        rows = []
        for name, tensor in pieces:
            try:
                blocks = from_gguf(file.blocks(name), file.tensors[name].form.name, form)
            except ValueError as error:
                raise ModelFormatError(f"{file.path}: {name}: {error}") from error
            rows.append(tensor.from_file(blocks))
        return FrozenParameter.of_blocks(rows, form, inputs, transposed, room)

    return Packing(form, pack)


def _places(file: GgufFile, pieces: list[_Piece], form: str) -> Places | None:
    """Where the rows lie, unless their blocks are stored otherwise than in that format."""
    if not all(stored_alike(file.tensors[name].form.name, form) for name, _ in pieces):
        return None
    rows = []
    for name, tensor in pieces:
        place = file.tensors[name]
        width = place.nbytes // tensor.shape[0]
        rows.append(tensor.from_file(np.arange(place.start, place.start + place.nbytes, width)))
    rows.append(np.full(-sum(map(len, rows)) % PANEL, -1))
    panels = np.concatenate(rows).reshape(-1, PANEL)
    groups = place.shape[-1] // place.form.group
    return Places(panels, np.full(len(panels), groups))
