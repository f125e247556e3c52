"""Every kernel at the sizes of its case, on every rung; first checked, then timed."""

from typing import Any

import pytest

from litegpt.cli.workloads import Workload, kernel_workload, model_workloads
from litegpt.kernels.cases import CASES

SIZES = [
    pytest.param(name, label, id=f"{name} {label}")
    for name, case in CASES.items()
    for label in case.timed
]


def _time(benchmark: Any, backend: str, workload: Workload) -> None:
    """Fails where the result is wrong; else times it, with its rate at the median time."""
    assert not workload.check()
    benchmark.group = f"{workload.name} {workload.size}"
    benchmark(workload.call)
    if benchmark.stats is not None:  # None under --benchmark-disable
        rate = workload.amount / benchmark.stats.stats.median
        benchmark.extra_info.update(backend=backend, rate=rate, unit=workload.unit)


@pytest.mark.benchmark(max_time=0.3, min_rounds=3)
@pytest.mark.parametrize(("name", "label"), SIZES)
def test_kernel(benchmark: Any, backend: str, name: str, label: str) -> None:
    case = CASES[name]
    _time(benchmark, backend, kernel_workload(case, label, case.timed[label]))


@pytest.mark.benchmark(max_time=0.3, min_rounds=3)
@pytest.mark.parametrize("name", ["forward", "training step", "generate"])
def test_model(benchmark: Any, backend: str, name: str) -> None:
    _time(benchmark, backend, next(row for row in model_workloads() if row.name == name))
