"""benchmarks/bench_llm.py: all contenders compute the same, and a wrong one is found."""

import importlib.util

import bench_llm
import llm_work
import pytest
from resident import TORCH, resident

from litegpt import kernels

WORK = [
    pytest.param(work, id=f"{work.name} {work.size}")
    for works in llm_work.all_work(quick=True).values()
    for work in works
]


@pytest.mark.parametrize("work", WORK)
def test_backends_agree(backend: str, work: llm_work.Work) -> None:
    bench_llm.checked_task(work, backend)


@pytest.mark.parametrize("work", WORK)
def test_pytorch_agrees(work: llm_work.Work) -> None:
    pytest.importorskip("torch")
    with bench_llm.taking_part(TORCH):
        bench_llm.checked_task(work, TORCH)


@pytest.mark.parametrize("work", WORK)
def test_a_wrong_answer_is_not_timed(work: llm_work.Work) -> None:
    right = work.ours().answer()  # type: ignore[misc]
    with pytest.raises(AssertionError):
        work.check(right * 1.01 if right.dtype.kind == "f" else right + 1)


def test_who_takes_part(backend: str) -> None:
    there = bench_llm.contenders()
    assert backend in there
    assert (TORCH in there) == (importlib.util.find_spec("torch") is not None)
    with bench_llm.taking_part(backend):
        assert kernels.backend() == backend


def test_resident_bytes_are_those_of_the_weights() -> None:
    """12 MB of weights; pages that a process shares or has to spare make the difference."""
    made, generating = resident("Medium", kernels.backend())
    assert 0.9 * 12_294_144 < made < 1.2 * 12_294_144
    assert generating >= made


def test_speed_rows_have_each_contender() -> None:
    work = llm_work.forward("Tiny")
    [row] = bench_llm.speed_rows([work])
    assert row[:2] == ["forward", "Tiny, 4 x 32"]
    assert len(row) == 3 + len(bench_llm.contenders())
    assert all(float(cell) > 0 for cell in row[2:-1])
    best = row[1 + len(bench_llm.contenders()) - (TORCH in bench_llm.contenders())]
    rate = float(row[-1].split()[0].replace(",", ""))
    assert 128e3 / rate == pytest.approx(float(best), rel=1e-3, abs=1e-3)  # rounded to be shown
