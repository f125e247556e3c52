"""Memory and time of a training step of GPT-2 124M, by what is trained and how, as Markdown.

    python benchmarks/training_memory.py

Each row is a process of its own that takes two steps of 4 rows of 256 tokens on one thread. Memory
is its peak beside what it began with (VmHWM, so Linux only), and what `litegpt estimate` computes;
time is that of the second step, in seconds of processor time.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROWS, LENGTH = 4, 256
GPT2: dict[str, Any] = {"bias": True, "tie_embeddings": True}  # GPTModel's default sizes
CASES: dict[str, dict[str, Any]] = {
    "all weights, AdamW": {},
    "all weights, AdamW, `--recompute`": {"recompute": True},
    "all weights, Lion": {"optimizer": "lion"},
    "all weights, Muon": {"optimizer": "muon"},
    "LoRA, rank 8, all layers": {"lora": 8},
    "LoRA, `--recompute`": {"lora": 8, "recompute": True},
    "LoRA over q4 weights": {"lora": 8, "format": "q4"},
    "LoRA over q4 weights, `--recompute`": {"lora": 8, "format": "q4", "recompute": True},
}


def _bytes(field: str) -> int:
    """A field of what Linux says of this process, `VmRSS` or `VmHWM`."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) * 1024


def measure(lora: int = 0, format: str = "", **settings: Any) -> dict[str, float]:
    """Two steps, in this process."""
    from litegpt import GPTModel, LoRAConfig, TrainConfig, add_lora, set_num_threads
    from litegpt.training import OPTIMIZERS
    from litegpt.training.forecast import memory_of_run

    set_num_threads(1)
    before = _bytes("VmRSS")
    model = GPTModel(**GPT2, seed=0)
    if format:
        model.quantize(format)
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
    if lora:
        add_lora(model, LoRAConfig(r=lora), seed=0)
    model.train()
    config = TrainConfig(batch_size=ROWS, **settings)
    optimizer = OPTIMIZERS[config.optimizer](model.named_parameters(), config)
    ids = np.random.default_rng(0).integers(0, model.vocab_size, (ROWS, LENGTH))
    for step in range(2):
        start = time.thread_time()
        model.zero_grad()
        model.loss_and_backward(ids, ids, seed=step, recompute=config.recompute)
        optimizer.grad_norm()
        optimizer.step(1e-5)
        seconds = time.thread_time() - start
    foretold = memory_of_run(model, LENGTH, config).total
    return {"peak": _bytes("VmHWM") - before, "foretold": foretold, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", metavar="JSON", help="one row in this process (internal)")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(**json.loads(arguments.measure))))
        return
    print("| what is trained | peak, MB | computed, MB | step, s |")
    print("|---|---|---|---|")
    for name, settings in CASES.items():
        command = [sys.executable, __file__, "--measure", json.dumps(settings)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        got = json.loads(done.stdout)
        peak, foretold = got["peak"] / 1e6, got["foretold"] / 1e6
        print(f"| {name} | {peak:,.0f} | {foretold:,.0f} | {got['seconds']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
