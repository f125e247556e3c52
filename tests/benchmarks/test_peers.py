"""benchmarks/peers.py: its rows, what it calls reached, and that it times nothing wrong."""

import ast
import inspect
import io
import json
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import contenders
import numpy as np
import peers
import pytest
import rows
from contenders import (
    CONTENDERS,
    LIMIT,
    LITEGPT,
    Task,
    fresh,
    inputs,
    machine,
    ours,
    worker,
)
from rows import ABSOLUTE, BEST, ROWS, Row, Wanted

from litegpt.kernels import reference

RATE = Row("decode", "decode", {}, "tokens/s", ("llama.cpp", "CTranslate2"), (), amount=32)
TIME = Row("step", "training", {}, "ms", ("PyTorch",), ())
SOFTMAX = {"rows": 3, "width": 17}


@pytest.fixture
def contest(tmp_path: Path) -> Any:
    with peers.Contest(tmp_path, threads=1, repetitions=1) as contest:
        yield contest


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_contender_of_a_row_has_its_task(row: Row) -> None:
    inspect.signature(getattr(ours, row.task)).bind(**row.options | row.own)
    inspect.signature(machine.limit).bind(**row.limit)
    for peer in row.peers:  # which may not be installed: read, not imported
        source = Path(contenders.__file__).with_name(f"{CONTENDERS[peer].module}.py").read_text()
        defined = {
            name
            for node in ast.parse(source).body
            for name in (
                [node.name]
                if isinstance(node, ast.FunctionDef)
                else [alias.name for alias in getattr(node, "names", [])]
            )
        }
        assert row.task in defined


def test_rows_are_chosen_by_name() -> None:
    assert peers.selected(None) is ROWS
    assert peers.selected("GELU 2048×3072") == [row for row in ROWS if row.task == "gelu"]
    with pytest.raises(SystemExit, match="no row is called 'prefill'; rows:\n  decode, float32\n"):
        peers.selected("prefill")


def test_what_the_limits_amount_to() -> None:
    """On 22 GB/s and 306 GFLOP/s: the figures in which the wanted ones were thought out. Codes are
    multiplied four at a time where floats are one by one."""
    machine = {"read": 22e9, "copied": 22e9, "flops": 306e9, "q8": 1224e9, "q4": 1224e9}
    machine["bfloat16"] = 2 * machine["flops"]
    limits = {
        row.name: row.figure(sum(row.limit[kind] / machine[kind] for kind in row.limit))
        for row in ROWS
        if row.limit
    }
    assert limits["decode, float32"] == pytest.approx(44, abs=1)
    assert limits["prefill of 512, float32"] == pytest.approx(1700, abs=100)
    assert limits["prefill of 512, 8-bit"] == pytest.approx(5900, abs=100)
    assert limits["SmolLM2, reading 512"] == pytest.approx(4200, abs=200)
    assert limits["training step, 124M, B4 T64"] == pytest.approx(0.8, abs=0.05)
    assert limits["training step, nanoGPT's recipe"] == pytest.approx(12.5, abs=1)
    assert limits["training step, 124M, B4 T64, bfloat16"] == pytest.approx(0.49, abs=0.02)
    assert limits["attention (1,12,1024,64)"] == pytest.approx(5.3, abs=0.1)


@pytest.mark.parametrize(
    ("wanted", "bound"),
    [
        (Wanted(1.5, "llama.cpp"), 30.0),
        (Wanted(2, BEST), 80.0),
        (Wanted(0.9, LIMIT), 90.0),
        (Wanted(77, ABSOLUTE), 77.0),
    ],
)
def test_a_rate_is_wanted_to_be_at_least(wanted: Wanted, bound: float) -> None:
    row = replace(RATE, wanted=(wanted,))
    figures = {"llama.cpp": 20.0, "CTranslate2": 40.0, LIMIT: 100.0}
    assert list(row.bounds(figures)) == [bound]
    assert row.holds(figures | {LITEGPT: bound}) is True
    assert row.holds(figures | {LITEGPT: bound * 0.999}) is False


def test_a_time_is_wanted_to_be_at_most() -> None:
    row = replace(TIME, wanted=(Wanted(0.5, "PyTorch"), Wanted(7, ABSOLUTE)))
    assert row.holds({LITEGPT: 5.0, "PyTorch": 10.0}) is True
    assert row.holds({LITEGPT: 5.1, "PyTorch": 10.0}) is False
    assert row.holds({LITEGPT: 7.1, "PyTorch": 20.0}) is False
    assert row.wanted_text() == "≤ 0.5 × PyTorch, ≤ 7 ms"


def test_what_is_not_measured_leaves_it_open_unless_something_else_fails() -> None:
    row = replace(RATE, wanted=(Wanted(1.5, "llama.cpp"), Wanted(0.9, LIMIT)))
    figures = {LITEGPT: 95.0, "llama.cpp": None, "CTranslate2": 40.0, LIMIT: 100.0}
    assert row.holds(figures) is None
    assert row.holds(figures | {LITEGPT: 89.0}) is False
    assert row.holds(figures | {LITEGPT: None}) is False
    assert row.best_peer(figures) == "CTranslate2"
    assert replace(TIME, wanted=(Wanted(1, BEST),)).holds({LITEGPT: 1.0, "PyTorch": None}) is None


def test_figures_of_rates_and_times() -> None:
    assert RATE.figure(0.5) == 64
    assert TIME.figure(0.5) == 500
    assert replace(TIME, unit="s").figure(0.5) == 0.5
    memory = replace(TIME, unit="MB")
    assert memory.figure(170) == 170
    assert (RATE.is_time, TIME.is_time, memory.is_time) == (True, True, False)


def test_json_has_what_is_promised() -> None:
    row = replace(RATE, wanted=(Wanted(2, BEST), Wanted(0.9, LIMIT)))
    figures = {LITEGPT: 95.0, "llama.cpp": None, "CTranslate2": 40.0, LIMIT: 100.0}
    assert json.loads(json.dumps(peers.as_json(row, figures))) == {
        "name": "decode",
        "unit": "tokens/s",
        "litegpt": 95.0,
        "peers": {"llama.cpp": None, "CTranslate2": 40.0},
        "limit": 100.0,
        "wanted": "≥ 2 × the best peer, ≥ 90% of the limit",
        "holds": True,
    }


def test_a_line_of_the_table() -> None:
    row = replace(RATE, wanted=(Wanted(2, BEST),))
    figures = {LITEGPT: 1234.5, "llama.cpp": None, "CTranslate2": 617.25, LIMIT: 2469.0}
    assert dict(zip(peers.HEADER, peers.cells(row, figures), strict=True)) == {
        "work": "decode",
        "unit": "tokens/s",
        "LiteGPT": "1,234",
        "PyTorch": "",
        "PyTorch autocast": "",
        "transformers": "",
        "llama.cpp": "not measured",
        "CTranslate2": "617",
        "to the best": "2.00 ×",
        "limit": "2,469",
        "share": "50%",
        "wanted": "≥ 2 × the best peer",
        "holds": "yes",
    }
    assert peers.cells(TIME, {LITEGPT: None, "PyTorch": 2.5})[2:9] == [
        "not available",
        "2.5",
        "",
        "",
        "",
        "",
        "",
    ]
    assert peers.markdown(["a", "b"]) == "| a | b |"


def test_a_peer_that_is_not_installed_is_named(contest: Any, monkeypatch: Any) -> None:
    absent = {n: replace(c, packages=("json", "no_such_thing")) for n, c in CONTENDERS.items()}
    monkeypatch.setattr(peers, "CONTENDERS", absent)
    assert contest.measure(TIME) == {LITEGPT: None, "PyTorch": None}
    assert contest.machine() is None
    assert contest.not_measured == {
        "LiteGPT: not installed (no_such_thing)": ["step"],
        "PyTorch: not installed (no_such_thing)": ["step"],
    }


def test_answers_are_compared() -> None:
    expected = inputs.normal(2, 500)
    peers.check(expected * 1.0009, expected, 1e-3)
    with pytest.raises(worker.ContenderError, match=r"differs by 0\.001\d*, allowed 0\.001"):
        peers.check(expected * 1.0011, expected, 1e-3)
    with pytest.raises(worker.ContenderError, match=r"is \(500,\), not \(2, 500\)"):
        peers.check(expected[0], expected, 1e-3)
    with pytest.raises(worker.ContenderError, match="differs by nan"):
        peers.check(np.where(expected > 2, np.nan, expected), expected, 1e-3)


def test_who_disagrees_is_not_timed(contest: Any, monkeypatch: Any) -> None:
    answers = {LITEGPT: np.ones(3), "PyTorch": np.array([1, 1, 1.01])}
    monkeypatch.setattr(contest, "_prepare", lambda row, name: answers[name])
    assert contest._prepared(TIME) == [LITEGPT]
    assert list(contest.not_measured) == ["PyTorch: its answer differs by 0.0058, allowed 0.0001"]


def test_a_worker_answers_errs_and_goes_on(tmp_path: Path) -> None:
    answer = str(tmp_path / "answer.npy")
    requests = [
        {"prepare": "softmax", "options": SOFTMAX, "answer": answer},
        {"calls": 2},
        {"prepare": "no_such_task"},
        {"prepare": "softmax", "options": SOFTMAX, "answer": answer},
        {"prepare": None},
    ]
    replies = io.StringIO()
    worker.serve("ours", io.StringIO("".join(json.dumps(r) + "\n" for r in requests)), replies)
    first, timed, error, again, forgotten = map(json.loads, replies.getvalue().splitlines())
    assert first == again == {"answered": True}
    assert list(timed) == ["measured"]
    assert error["error"].startswith("AttributeError: ")
    assert forgotten == {}
    expected = reference.softmax(inputs.normal(*SOFTMAX.values()))
    np.testing.assert_allclose(np.load(answer), expected, rtol=1e-5)


def test_a_task_may_measure_something_else_than_time(monkeypatch: Any) -> None:
    monkeypatch.setattr(ours, "memory", lambda: Task(lambda: 123.5, measures=True), raising=False)
    requests, replies = [{"prepare": "memory"}, {"calls": 1}], io.StringIO()
    worker.serve("ours", io.StringIO("".join(json.dumps(r) + "\n" for r in requests)), replies)
    assert [json.loads(line) for line in replies.getvalue().splitlines()] == [
        {"answered": False},
        {"measured": 123.5},
    ]


def test_a_program_of_its_own_says_what_it_wrote_and_how_much_memory_it_had(
    monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv(inputs.SMOLLM2, str(tmp_path / "absent"))
    program = "import sys; text = '|'.join(sys.argv[2:]); held = bytearray(50_000_000)"
    with pytest.raises(FileNotFoundError, match="LITEGPT_SMOLLM2 names no GGUF file"):
        fresh.memory(program, 7).run()
    monkeypatch.setenv(inputs.SMOLLM2, __file__)
    text = "".join(map(chr, fresh.first_token(program).answer().astype(int)))
    assert text == "The capital of France is|1|1"
    assert fresh.first_token(program).run() > 0
    with pytest.raises(subprocess.CalledProcessError):
        fresh.first_token(program + "; import atexit, os; atexit.register(os._exit, 3)").run()
    assert 50 < fresh.memory(program, 7).run() < 100
    assert fresh.memory(program.replace("50_", "90_"), 7).run() > 90


def test_a_worker_is_a_process_that_waits_stopped_and_leaves_nothing(tmp_path: Path) -> None:
    with worker.Worker(LITEGPT, tmp_path, threads=1) as process:
        answer = process.prepare("softmax", SOFTMAX)
        np.testing.assert_allclose(answer.sum(axis=-1), 1, rtol=1e-5)
        with pytest.raises(worker.ContenderError, match="AttributeError"):
            process.prepare("no_such_task", {})
        process._process.send_signal(signal.SIGKILL)
        with pytest.raises(
            worker.ContenderError, match=r"its process ended; .*ours\.log says more"
        ):
            process.measure(1)
    assert process._process.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == ["ours.log"]


def test_names_of_rows_are_unique() -> None:
    assert len({row.name for row in rows.ROWS}) == len(ROWS)


@pytest.mark.parametrize("option", ["--threads", "--repetitions"])
@pytest.mark.parametrize("count", ["0", "-1", "1.5", "many"])
def test_counts_below_one_are_refused_before_anything_is_measured(
    option: str, count: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    folder = tmp_path / "models"
    monkeypatch.setattr("sys.argv", ["peers.py", f"{option}={count}", "--folder", str(folder)])
    with pytest.raises(SystemExit):
        peers.main()
    said = f"argument {option}: must be an integer of at least 1, not {count!r}"
    assert said in capsys.readouterr().err
    assert not folder.exists()
