"""What a process grows by when it makes a model, and when that generates: real resident bytes.

`python benchmarks/resident.py SIZE BACKEND` (or PyTorch in place of a backend).
"""

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

from contenders import inputs
from llm_work import MODELS

import litegpt
from litegpt import GPTModel

TORCH = "PyTorch"


def resident(name: str, contender: str) -> tuple[int, int]:
    """Bytes with the model made, and once 20 tokens were generated, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, name, contender],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    made, generating = map(int, done.stdout.split())
    return made, generating


def made_model(name: str, contender: str) -> Callable[[int], object]:
    """A model's generation from five tokens; nothing else that was made for it stays."""
    model = GPTModel(*MODELS[name], dropout=0.0, seed=0).eval()
    prompt = inputs.tokens(1, 5, model.vocab_size)
    if contender != TORCH:
        return lambda new: model.generate(prompt, new, seed=0)
    import torch
    from contenders.default_gpt import GPT

    gpt = GPT(model)
    return lambda new: gpt.generate(torch.from_numpy(prompt), new, 1.0)


def _resident() -> int:
    """Bytes; what the C library holds back of memory that was freed doesn't count."""
    with suppress(AttributeError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(name: str, contender: str) -> None:
    with nullcontext() if contender == TORCH else litegpt.use_backend(contender):
        made_model("Tiny", contender)(5)  # everything is imported, threads are there
        before = _resident()
        generate = made_model(name, contender)
        made = _resident()
        generate(20)
        print(made - before, _resident() - before)


if __name__ == "__main__":
    main(*sys.argv[1:])
