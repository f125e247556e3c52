"""benchmarks/scaling.py: what it computes from a step, by hand where that is possible."""

import time

import pytest
import scaling
from scaling import LATENCY, Timeline, Work, allreduce, faster, step_seconds

ONE = Timeline(ready=(1.0, 2.0, 3.0), bytes=(10**9, 10**9, 10**9), backward=3.0, optimizer=0.5)


def test_the_time_of_a_sum_over_nodes() -> None:
    assert allreduce(10**9, 1, 10, 1e-3) == 0
    # two messages of a millisecond, and once a gigabyte at 0.9 * 1.25 GB/s
    assert allreduce(10**9, 2, 10, 1e-3) == pytest.approx(2e-3 + 1 / 1.125)
    assert allreduce(10**9, 512, 100, 0) == pytest.approx(2 * 511 / 512 / 11.25)


def test_buckets_travel_while_backward_computes() -> None:
    each = allreduce(10**9, 2, 10, 0)  # 0.889 s
    assert step_seconds(ONE, 2, 10, 0, hidden=True) == pytest.approx(3 + each + 0.5)
    assert step_seconds(ONE, 2, 10, 0, hidden=False) == pytest.approx(3 + 3 * each + 0.5)
    slow = allreduce(10**9, 2, 1, 0)  # 8.89 s: the link is never free
    assert step_seconds(ONE, 2, 1, 0, hidden=True) == pytest.approx(1 + 3 * slow + 0.5)


def test_one_node_needs_no_network() -> None:
    for hidden in (True, False):
        assert step_seconds(ONE, 1, 10, 1, hidden) == ONE.step == 3.5


def test_a_faster_node_waits_longer_for_the_network() -> None:
    quick = faster(ONE, 10)
    assert quick.step == pytest.approx(0.35)
    gains = [one.step / step_seconds(one, 8, 100, 0, True) for one in (ONE, quick)]
    assert gains[0] > gains[1]


def test_a_step_is_measured_and_told() -> None:
    shape = {"vocab_size": 50, "num_layers": 3, "num_heads": 2, "hidden_dim": 64}
    work = Work("small", shape, rows=2, length=16)
    one = scaling.measure(work, time.perf_counter)
    tied, positions, blocks = 50 * 64, 16 * 64, 3 * (12 * 64**2 + 9 * 64)
    assert sum(one.bytes) == 4 * (tied + positions + blocks + 2 * 64)
    assert list(one.ready) == sorted(one.ready)
    assert 0 < one.ready[0] <= one.ready[-1] <= one.backward
    lines = scaling.table(work, one, [1, 32])
    rows = [line for line in lines if line.startswith("| like this") or "as fast" in line]
    assert len(rows) == 2 * len(LATENCY)
    assert all(row.count("tokens/s") == len(scaling.NODES) for row in rows)
