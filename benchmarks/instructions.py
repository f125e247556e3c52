"""Instructions of a decode step and of a training step, counted by callgrind: they repeat.

    python benchmarks/instructions.py

Each workload runs with few and with many steps, on one thread; the difference, divided by the
steps, leaves out whatever happens once. valgrind knows no AVX-512, so the rung is avx2 at most.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from litegpt import AdamW, GPTModel

MODEL = (500, 128, 4, 4, 64, 256)  # vocab_size, max_seq_len, layers, heads, hidden_dim, ffn_dim
STEPS = {"decode": (20, 120), "training": (2, 6)}  # few and many
PARTS = {"_native": "kernels", "numpy": "NumPy", "python": "Python"}  # the rest: the C library


def work(name: str, steps: int) -> None:
    """What callgrind sees."""
    model = GPTModel(*MODEL, dropout=0.0, seed=0)
    ids = np.random.default_rng(0).integers(0, model.vocab_size, (4, 64))
    if name == "decode":
        model.eval().generate(ids[:1, :5], steps, seed=0)
        return
    optimizer = AdamW(model.named_parameters(), 1e-4)
    for _ in range(steps):
        model.loss_and_backward(ids, np.roll(ids, -1, axis=1))
        optimizer.step()
        model.zero_grad()


def counted(name: str, steps: int) -> Counter[str]:
    """Instructions of a run by part."""
    settings = {"LITEGPT_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "callgrind.out")
        me = [sys.executable, __file__, name, str(steps)]
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *me]
        subprocess.run(tool, env=os.environ | settings, check=True, capture_output=True)
        show = ["callgrind_annotate", "--threshold=100", "--auto=no", "--show-percs=no", str(out)]
        table = subprocess.run(show, check=True, capture_output=True, text=True).stdout
    parts: Counter[str] = Counter()
    for count, library in re.findall(r"^ *([\d,]+) .*?(?:\[([^\]]*)\])?$", table, re.MULTILINE):
        found = (part for key, part in PARTS.items() if key in Path(library).name.lower())
        in_numpy = "numpy" in library and "_native" not in library
        part = "NumPy" if in_numpy else next(found, "C library")
        if library:
            parts[part] += int(count.replace(",", ""))
    return parts


def main() -> None:
    for name, (few, many) in STEPS.items():
        first, last = counted(name, few), counted(name, many)
        a_step = {part: (last[part] - first[part]) / (many - few) for part in last}
        total = sum(a_step.values())
        shares = ", ".join(
            f"{part} {instructions / total:.0%}"
            for part, instructions in sorted(a_step.items(), key=lambda item: -item[1])
        )
        print(f"{name} step: {total:,.0f} instructions ({shares})")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(sys.argv[1], int(sys.argv[2]))
    else:
        main()
