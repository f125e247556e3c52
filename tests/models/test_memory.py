"""The memory that is foretold against the memory that a process really takes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litegpt import GPTModel, TrainConfig, kernels
from litegpt.models.memory import generation_memory
from litegpt.training import OPTIMIZERS
from litegpt.training.optimizers import MOMENTS

GPT = {"vocab_size": 2000, "max_seq_len": 256, "num_layers": 4, "num_heads": 4, "hidden_dim": 256}
LLAMA = {"norm": "rmsnorm", "position": "rotary", "activation": "swiglu", "num_kv_heads": 2}

# What a fresh process takes at the most while it trains, beside what it takes to begin with.
MEASURE = """
import json, sys
import numpy as np
from litegpt import GPTModel, LoRAConfig, TrainConfig, add_lora
from litegpt.training import OPTIMIZERS
from litegpt.training.forecast import memory_of_run

def memory(field):
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(lines[field].split()[0]) * 1024

shape, rows, length, lora, settings = json.loads(sys.argv[1])
before = memory("VmRSS")
model = GPTModel(**shape, dropout=0.1, seed=0)
if lora:
    add_lora(model, LoRAConfig(r=lora), seed=0)
config = TrainConfig(batch_size=rows, **settings)
optimizer = OPTIMIZERS[config.optimizer](model.named_parameters(), config)
ids = np.random.default_rng(0).integers(0, shape["vocab_size"], (rows, length))
for step in range(2):
    model.zero_grad()
    model.loss_and_backward(ids, ids, seed=step, recompute=config.recompute)
    optimizer.grad_norm()
    optimizer.step()
print(memory("VmHWM") - before, memory_of_run(model, length, config).total)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it is Linux that tells")
@pytest.mark.skipif(kernels.native_error is not None, reason="it is about the compiled kernels")
@pytest.mark.parametrize("shape, rows, length, lora, settings", [
    (GPT, 8, 192, 0, {}),
    (GPT, 8, 192, 0, {"recompute": True}),
    (GPT | LLAMA, 8, 192, 8, {}),
])  # fmt: skip
def test_a_run_takes_what_was_foretold(
    shape: dict[str, Any], rows: int, length: int, lora: int, settings: dict[str, Any]
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "LITEGPT_BACKEND"}
    environment["LITEGPT_NUM_THREADS"] = "2"  # on 64 what each has for itself is a fifth of this
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps([shape, rows, length, lora, settings])],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        cwd=Path(kernels.__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    taken, foretold = map(int, done.stdout.split())
    assert taken == pytest.approx(foretold, rel=0.15)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_the_moments_that_are_counted_are_those_that_are_kept(kind: str) -> None:
    model = GPTModel(50, 16, 2, 2, 8, seed=0)
    optimizer = OPTIMIZERS[kind](model.named_parameters(), TrainConfig(optimizer=kind))
    kept = sum(array.size for name, array in optimizer.state_dict().items() if name != "steps")
    assert kept == sum(MOMENTS[kind](name, p) * p.size for name, p in model.named_parameters())


@pytest.mark.parametrize("format", [None, "q8"])
def test_generation(format: str | None) -> None:
    """To the byte: weights with their packed copies, and the cache."""
    model = GPTModel(**(GPT | LLAMA | {"vocab_size": 2003}), seed=0).eval()
    if format:
        model.quantize(format)
    foretold = generation_memory(model, 256, rows=3)
    tables = sum(  # of rotary positions, which are neither
        value.nbytes
        for module in model.modules()
        for name, value in vars(module).items()
        if isinstance(value, np.ndarray) and name != "packed"
    )
    with model.packed_weights():
        assert model.nbytes - tables // GPT["num_layers"] == foretold.weights
    assert model.new_cache(3).nbytes == foretold.cache
