"""A safetensors file: which tensors it holds, and each of them when asked for."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from litegpt.formats.errors import ModelFormatError

_READABLE = ("F32", "F16")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_LISTED = 20  # problems that a message spells out

Shapes = Mapping[str, tuple[int, ...]]


class WeightsFile:
    """Names and shapes of the tensors in a file; the tensors are read one by one."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ModelFormatError(f"{path}: no such file{_pickled(path.parent)}")
        self.path = path
        try:
            self._file = safe_open(path, framework="numpy")
            slices = {name: self._file.get_slice(name) for name in self._file.keys()}
        except SafetensorError as error:
            raise ModelFormatError(f"{path}: not a whole safetensors file ({error})") from error
        self.shapes: Shapes = {name: tuple(s.get_shape()) for name, s in slices.items()}
        self._types = {name: s.get_dtype() for name, s in slices.items()}

    def check(self, expected: Shapes, optional: Shapes) -> None:
        """ModelFormatError listing all tensors missing, unexpected, misshapen, or of other types.

        Nothing but the file's header has been read then.
        """
        known = {**expected, **optional}
        problems = [f"missing {name}" for name in expected if name not in self.shapes]
        for name, shape in self.shapes.items():
            if name not in known:
                problems.append(f"unexpected {name}")
            elif shape != known[name]:
                problems.append(f"{name} has shape {shape}, not {known[name]}")
            elif self._types[name] not in _READABLE:
                allowed = " or ".join(_READABLE)
                problems.append(f"{name} has type {self._types[name]}, not {allowed}")
        if problems:
            more = f"; and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
            raise ModelFormatError(f"{self.path}: " + "; ".join(problems[:_LISTED]) + more)

    def read(self, name: str) -> np.ndarray:
        """One tensor, in the type that it has in the file."""
        return self._file.get_tensor(name)


def _pickled(directory: Path) -> str:
    """What to do where there are only pickled weights, which can run any code when opened."""
    if not directory.is_dir():
        return ""
    names = sorted(p.name for p in directory.iterdir() if p.suffix in _PICKLES)
    if not names:
        return ""
    return (
        f"; {names[0]} looks like a pickle, which isn't opened: load it with the library that "
        f"wrote it and save it as safetensors"
    )
