"""Two ranks of an MPI job against one process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from litegpt import kernels
from litegpt.models import GPTModel
from litegpt.training import launched
from litegpt.training.parallel import Alone, groups

SCRIPT = Path(__file__).with_name("ranks.py")
RANKS = 2
SCENARIOS = ("plain", "dropout", "stopped", "threads", "unlike")


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(SCRIPT), *map(str, arguments)]


def run(arguments: list[str], **changes: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(kernels.__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root, "PYTHONWARNINGS": "ignore"} | changes
    environment.pop("LITEGPT_NUM_THREADS", None)  # which would be every rank's
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120, env=environment)


@pytest.fixture(scope="module")
def outcomes(mpirun: list[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list]:
    """What each rank of two said of a scenario, and what one process alone did."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "alone").mkdir()
    done = run([*mpirun, *command(folder, *SCENARIOS, "early", "meanwhile")])
    assert done.returncode == 0, done.stderr
    alone = run(command(folder / "alone", *SCENARIOS))
    assert alone.returncode == 0, alone.stderr

    def said(scenario: str) -> list:
        files = [folder / f"{scenario}-{rank}.json" for rank in range(RANKS)]
        files += [folder / "alone" / f"{scenario}-0.json"]
        return [json.loads(file.read_text()) for file in files if file.exists()]

    return said


def test_two_ranks_of_six_have_the_losses_of_one_process_of_twelve(outcomes) -> None:
    first, second, alone = outcomes("plain")
    assert first == second  # to the last bit: the copies stay one model
    assert len(alone["losses"]) == 50
    for here, there in zip(first["losses"], alone["losses"], strict=True):
        assert here == pytest.approx(there, abs=1e-5)
    assert alone["losses"][-1][0] < 1.5 < 3 < alone["losses"][0][0]  # it has learned, too


def test_dropout_is_that_of_the_micro_batches_of_one_process(outcomes) -> None:
    first, second, alone = outcomes("dropout")
    assert first == second
    for (here, _), (there, _) in zip(first, alone, strict=True):
        assert here == pytest.approx(there, abs=1e-5)


def test_gradients_are_sent_while_backward_goes_on(outcomes) -> None:
    """Two steps of a model with a head, a final norm, and two blocks, whose backward comes last."""
    for said in outcomes("early"):
        assert len(said["under way"]) == 2 * 4
        assert said["buckets"] > 4
        for step in (said["under way"][:4], said["under way"][4:]):
            assert step == sorted(step)
            assert 0 < step[2] < step[3] < said["buckets"]


def test_mpi_gets_on_while_backward_goes_on(outcomes) -> None:
    assert outcomes("meanwhile") == [True, True]


def test_one_rank_that_stops_stops_all_after_that_step(outcomes) -> None:
    assert outcomes("stopped") == [7, 7, 7]


def test_ranks_that_differ_are_told_so(outcomes) -> None:
    first, second, alone = outcomes("unlike")
    assert (
        first == second == "all ranks must have the same settings; rank 1 has another than rank 0"
    )
    assert alone is None


def test_the_threads_of_a_machine_are_shared_out(outcomes) -> None:
    first, second, alone = outcomes("threads")
    assert first == second == max(1, alone // 2)


def test_a_rank_that_fails_ends_all_and_says_so(mpirun, tmp_path) -> None:
    done = run([*mpirun, *command(tmp_path, "broken")])
    assert done.returncode != 0
    assert "rank 1 of 2: ZeroDivisionError" in done.stderr


def test_an_interrupted_rank_ends_all_without_a_traceback(mpirun, tmp_path) -> None:
    done = run([*mpirun, *command(tmp_path, "interrupted")])
    assert done.returncode == 130
    assert "rank 1 of 2: interrupted" in done.stderr
    assert "Traceback" not in done.stderr


ALONE_IN_MPI = """
import os, subprocess, time
from litegpt.training import launched
if "0" in map(os.environ.get, ("PMI_RANK", "OMPI_COMM_WORLD_RANK")):
    subprocess.Popen(["sh", "-c", "sleep 0.7; kill -INT $PPID"])
else:
    time.sleep(40)  # unless the launcher ends it, once the other has gone
launched()
print("they have met")
"""


def test_ctrl_c_ends_a_rank_that_waits_for_the_others_to_come(mpirun) -> None:
    done = run([*mpirun, sys.executable, "-c", ALONE_IN_MPI])
    assert done.returncode != 0
    assert "they have met" not in done.stdout


def test_ranks_that_do_not_answer_are_taken_for_lost(mpirun, tmp_path) -> None:
    done = run([*mpirun, *command(tmp_path, "silent")])
    assert done.returncode != 0
    assert "rank 0 of 2: the others have not answered for 1 seconds" in done.stderr


def test_a_launcher_of_another_mpi_is_refused(mpirun, tmp_path) -> None:
    done = run(command(tmp_path, "threads"), OMPI_COMM_WORLD_SIZE="3")
    assert "the launcher started 3 ranks, but mpi4py's library" in done.stderr


def test_without_a_launcher_a_process_is_alone(monkeypatch) -> None:
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert type(launched()) is Alone
    monkeypatch.setenv("PMI_SIZE", "1")
    assert type(launched()) is Alone


def test_parts_are_all_rows() -> None:
    ranks = Alone()
    assert ranks.part(5) == slice(0, 5)
    for size in (2, 3, 7):
        rows: list[int] = []
        for rank in range(size):
            ranks.rank, ranks.size = rank, size
            rows += range(5)[ranks.part(5)]
        assert rows == [0, 1, 2, 3, 4]


def test_buckets_hold_every_parameter_once_in_order() -> None:
    parameters = list(GPTModel(32, 16, 2, 2, 16, seed=0).parameters())
    for most in (1, 3000, 1 << 30):
        grouped = groups(parameters, most)
        assert [p for group in grouped for p in group] == parameters
        assert all(len(group) == 1 or sum(4 * p.size for p in group) <= most for group in grouped)
    assert len(groups(parameters, 1)) == len(parameters)
    assert len(groups(parameters, 1 << 30)) == 1
