"""The rungs that benchmarks loop over; the rate and the share of the limit beside each time."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from litegpt import kernels

RUNGS = [kernels.backend()] if os.environ.get("LITEGPT_BACKEND") else kernels.available_backends()


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.hasplugin("benchmark"):
        raise pytest.UsageError("benchmarks need pytest-benchmark: pip install -e '.[bench]'")


@pytest.fixture(params=RUNGS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """The rung that is being timed."""
    with kernels.use_backend(request.param):
        yield request.param


def pytest_report_header() -> str:
    return f"litegpt rungs: {', '.join(RUNGS)}; threads: {kernels.num_threads()}"


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_benchmark_group_stats() -> Any:
    """In the table on the terminal, a benchmark's name is its rate and the share of the limit."""
    groups = yield
    for _, benchmarks in groups:
        for row in benchmarks:
            info = row["extra_info"]
            if "rate" in info:
                row["name"] = f"{info['backend']}: {info['rate']:,.4g} {info['unit']}"
            if "share" in info:
                row["name"] += f", {info['share']:.0%} of the limit"
    return groups
