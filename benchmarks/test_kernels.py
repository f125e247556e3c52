"""Every kernel at the sizes of its case, on every rung; first checked, then timed."""

from functools import cache
from typing import Any

import pytest

from litegpt import kernels
from litegpt.cli.workloads import Workload, kernel_workload, model_workloads
from litegpt.kernels import limits
from litegpt.kernels.cases import CASES

_multiply_add_rate = cache(limits.multiply_add_rate)
_read_rate, _copy_rate = cache(limits.read_rate), cache(limits.copy_rate)
_LEAST = 1 << 20  # bytes below which a rate tells more of the call than of the memory

SIZES = [
    pytest.param(name, label, id=f"{name} {label}")
    for name, case in CASES.items()
    for label in case.timed
]


def limit_seconds(workload: Workload) -> float:
    """What the machine's best rung needs for a kernel's multiply-adds alone, or for its memory.

    Memory is read where a kernel computes, and else copied; little of it comes from the caches.
    """
    moved = max(_LEAST, round(workload.moved))
    with kernels.use_backend(kernels.available_backends()[-1]):
        if workload.unit == "GB/s":
            return workload.moved / _copy_rate(moved)
        multiplied = 1e9 * workload.amount / _multiply_add_rate(workload.precision)
        return max(multiplied, workload.moved / _read_rate(moved))


def _time(benchmark: Any, backend: str, workload: Workload) -> None:
    """Fails where the result is wrong; else times it, with its rate at the median time, and with
    the share of the limit that this is for a kernel."""
    assert not workload.check()
    benchmark.group = f"{workload.name} {workload.size}"
    benchmark(workload.call)
    if benchmark.stats is not None:  # None under --benchmark-disable
        rate = workload.amount / benchmark.stats.stats.median
        benchmark.extra_info.update(backend=backend, rate=rate, unit=workload.unit)
        if workload.moved and kernels.available_backends() != ["numpy"]:
            share = limit_seconds(workload) / benchmark.stats.stats.median
            benchmark.extra_info["share"] = share


@pytest.mark.benchmark(max_time=0.3, min_rounds=3)
@pytest.mark.parametrize(("name", "label"), SIZES)
def test_kernel(benchmark: Any, backend: str, name: str, label: str) -> None:
    case = CASES[name]
    _time(benchmark, backend, kernel_workload(case, label, case.timed[label]))


@pytest.mark.benchmark(max_time=0.3, min_rounds=3)
@pytest.mark.parametrize("name", ["forward", "training step", "generate"])
def test_model(benchmark: Any, backend: str, name: str) -> None:
    _time(benchmark, backend, next(row for row in model_workloads() if row.name == name))
