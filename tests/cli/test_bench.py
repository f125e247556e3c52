"""`litegpt bench`: what it measures, and that it refuses to time what is wrong."""

from dataclasses import replace

import pytest

from litegpt import kernels
from litegpt.cli import bench
from litegpt.cli.errors import InputError
from litegpt.cli.workloads import kernel_workload, model_workloads
from litegpt.kernels.cases import CASES, Case


@pytest.fixture
def layernorm() -> Case:
    return CASES["layernorm"]


def test_a_row_says_time_ratio_and_rate(layernorm: Case) -> None:
    workload = kernel_workload(layernorm, "1x768", (1, 768), wanted=0.0)
    rungs = kernels.available_backends()
    row = bench.measure(workload, rungs, samples=3)
    assert list(row["seconds"]) == rungs
    assert row["unit"] == "GB/s"
    assert row["rate"] == pytest.approx(workload.amount / row["seconds"][rungs[-1]])
    if len(rungs) > 1:
        assert row["ratio"] == pytest.approx(row["seconds"]["numpy"] / row["seconds"][rungs[-1]])
        assert row["holds"] is True
    else:
        assert row["ratio"] is None and row["holds"] is None
    assert len(bench._cells(row, rungs)) == len(bench._header(rungs))


def test_what_is_wrong_is_not_timed(layernorm: Case) -> None:
    workload = kernel_workload(layernorm, "1x768", (1, 768))
    wrong = replace(workload, check=lambda: "output 0 is wrong")
    with pytest.raises(InputError, match="numpy: layernorm 1x768 is wrong: output 0"):
        bench.measure(wrong, ["numpy"], samples=3)


def test_a_wrong_output_is_found(layernorm: Case) -> None:
    arguments = layernorm.arguments((3, 65))
    outputs = layernorm.run(kernels, arguments)
    assert not layernorm.disagreement(arguments, outputs)
    for number, output in enumerate(outputs):
        wrong = [array.copy() for array in outputs]
        wrong[number].flat[-1] += 1e-3 * (1 + abs(output.flat[-1]))
        assert f"output {number}" in layernorm.disagreement(arguments, wrong)


def test_what_the_project_promises_is_asked_for() -> None:
    wanted = {case.kernel: case.wanted for case in CASES.values() if case.wanted}
    assert wanted == {
        "softmax": 4,
        "layernorm": 10,
        "gelu": 15,
        "causal_attention": 7,
        "sample": 2,
    }
    rows = {row.name: row.wanted_rate for row in model_workloads()}
    assert rows == {"forward": None, "training step": None, "generate": 3320.0}


def test_the_model_computes_the_same_on_every_rung(backend: str) -> None:
    for row in model_workloads():
        assert not row.check()
        row.call()
