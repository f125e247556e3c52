"""The systems that benchmarks/peers.py compares: a file for each, a process for each.

A file has one function for each task that its system takes part in. It takes the row's options and
returns a Task. Inputs and weights are the same for everybody (inputs.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Task:
    """run is what is timed; answer shows that it is the right thing (None: nothing to compare).

    keeps is what has to live as long as the task. With `measures`, run returns the row's figure
    (its seconds, where that is what the row is about).
    """

    run: Callable[[], Any]
    answer: Callable[[], np.ndarray] | None = None
    keeps: object = None
    measures: bool = False


@dataclass(frozen=True)
class Contender:
    """A system: the module of this package that runs it, and the packages which that imports."""

    module: str
    packages: tuple[str, ...]

    def missing(self) -> list[str]:
        """The packages that aren't installed."""
        return [name for name in self.packages if find_spec(name) is None]


LITEGPT, LIMIT = "LiteGPT", "limit"
AUTOCAST = "PyTorch autocast"  # to bfloat16
CONTENDERS = {
    LITEGPT: Contender("ours", ("litegpt",)),
    LIMIT: Contender("machine", ("litegpt",)),
    "PyTorch": Contender("pytorch", ("torch", "safetensors")),
    AUTOCAST: Contender("autocast", ("torch", "safetensors")),
    "transformers": Contender("huggingface", ("torch", "transformers")),
    "llama.cpp": Contender("llamacpp", ("llama_cpp", "gguf", "safetensors")),
    "CTranslate2": Contender("ctranslate", ("ctranslate2", "transformers")),
}
PEERS = [name for name in CONTENDERS if name not in (LITEGPT, LIMIT)]
