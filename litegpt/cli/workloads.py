"""What `litegpt bench` times: every kernel at the sizes of its case, and one model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from litegpt import kernels
from litegpt.kernels.cases import CASES, Case
from litegpt.models import GPTModel
from litegpt.training import AdamW

# The model whose generation is compared from version to version (vocab_size ... ffn_dim).
MODEL = (500, 128, 4, 4, 64, 256)
GENERATION_WANTED = 3320.0  # tokens/s


@dataclass(frozen=True)
class Workload:
    """A call to be timed, and what one call of it amounts to."""

    name: str
    size: str
    call: Callable[[], object]
    amount: float  # of unit * seconds
    unit: str
    check: Callable[[], str]  # "", or how the current rung's result is wrong
    wanted_ratio: float | None = None  # compiled over NumPy
    wanted_rate: float | None = None  # in unit
    moved: float = 0.0  # bytes, at least
    precision: str = "float32"  # of its products


def kernel_workloads(quick: bool) -> Iterator[Workload]:
    """Each kernel of the contract; quick takes the first size of each alone."""
    for case in CASES.values():
        sizes = list(case.timed.items())
        for place, (label, size) in enumerate(sizes[:1] if quick else sizes):
            yield kernel_workload(case, label, size, case.wanted if place == 0 else None)


def kernel_workload(case: Case, label: str, size: Any, wanted: float | None = None) -> Workload:
    """One kernel at one size, in GFLOP/s where it computes and in GB/s where it moves memory."""
    arguments = case.arguments(size)
    with np.errstate(all="ignore"):
        outputs = case.run(kernels, arguments)
    moved = case.bytes_moved(arguments, outputs)
    if case.flops:
        amount, unit = case.flops(arguments), "GFLOP/s"
    else:
        amount, unit = moved, "GB/s"
    # what is updated in place goes on from call to call, and has its own copy here
    own = {key: arguments[key].copy() for key in case.updates if arguments[key] is not None}

    def call() -> None:
        getattr(kernels, case.kernel)(**(arguments | own))

    def check() -> str:
        with np.errstate(all="ignore"):
            return case.disagreement(arguments, case.run(kernels, arguments))

    rate = amount * 1e-9
    precision = arguments.get("precision", "float32")
    return Workload(case.kernel, label, call, rate, unit, check, wanted, None, moved, precision)


def model_workloads() -> Iterator[Workload]:
    """Forward, training step and generation of a small model."""
    model = GPTModel(*MODEL, dropout=0.0, seed=0)
    rng = np.random.default_rng(0)
    ids = rng.integers(0, model.vocab_size, (4, 64))
    targets = np.roll(ids, -1, axis=1)
    with kernels.use_backend("numpy"):
        expected = model.compute_loss(ids, targets)

    def loss_differs() -> str:
        loss = model.compute_loss(ids, targets)
        return "" if abs(loss - expected) < 1e-4 else f"the loss is {loss}, on NumPy {expected}"

    trained = GPTModel(*MODEL, dropout=0.0, seed=0)
    optimizer = AdamW(trained.named_parameters(), 1e-4)

    def training_step() -> None:
        trained.loss_and_backward(ids, targets)
        optimizer.step()
        trained.zero_grad()

    model.eval()
    row = partial(Workload, check=loss_differs, unit="tokens/s")
    yield row("forward", "B=4 T=64", partial(model.forward, ids), float(ids.size))
    yield row("training step", "B=4 T=64", training_step, float(ids.size))
    generate = partial(model.generate, ids[:1, :5], 50, seed=0)
    yield row("generate", "50 from 5", generate, 50.0, wanted_rate=GENERATION_WANTED)
