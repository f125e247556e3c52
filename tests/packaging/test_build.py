"""Real builds, as a user's machine makes them: from the sdist, outside the repository."""

import email
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import litegpt

ROOT = Path(__file__).resolve().parents[2]
COMPILER = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
HEADERS = Path(sysconfig.get_path("include"), "Python.h")

pytestmark = pytest.mark.slow
needs_compiler = pytest.mark.skipif(
    not (shutil.which(COMPILER) and HEADERS.is_file())
    and not os.environ.get("LITEGPT_REQUIRE_NATIVE"),
    reason=f"no C compiler ({COMPILER}) or no {HEADERS}",
)
COMPARE_WITH_REFERENCE = """
import numpy as np
import litegpt
from litegpt import kernels
from litegpt.kernels import reference

rows = np.random.default_rng(0).normal(size=(5, 37)).astype(np.float32)
for rung in litegpt.available_backends():
    with litegpt.use_backend(rung):
        np.testing.assert_allclose(kernels.softmax(rows), reference.softmax(rows), rtol=1e-5)
print(litegpt.__version__, *litegpt.available_backends())
"""


def python(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """This Python in a subprocess, with none of our own settings but those given."""
    ours = ("LITEGPT_", "PYTHONPATH", "CFLAGS", "LDFLAGS", "LD_PRELOAD")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, as a file."""
    folder = tmp_path_factory.mktemp("sdist")
    done = python("-m", "build", "--sdist", "--no-isolation", "--outdir", str(folder), cwd=ROOT)
    assert done.returncode == 0, done.stderr
    [file] = folder.iterdir()
    return file


def build_wheel(
    sdist: Path, folder: Path, **variables: str
) -> tuple[Path | None, subprocess.CompletedProcess[str]]:
    """Builds a wheel from the unpacked sdist; this environment's own tools, nothing downloaded."""
    source, wheels = folder / "source", folder / "wheels"
    with tarfile.open(sdist) as archive:
        archive.extractall(source, filter="data")
    wheels.mkdir()
    done = python(
        *("-m", "pip", "wheel", "--verbose", "--no-build-isolation", "--no-deps"),
        *("--wheel-dir", str(wheels), "."),
        cwd=next(source.iterdir()),
        **variables,
    )
    return next(wheels.iterdir(), None), done


def use_wheel(wheel: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Compares the kernels that the unpacked wheel brings with the reference."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return python("-c", COMPARE_WITH_REFERENCE, cwd=folder, PYTHONPATH=str(folder / "installed"))


def test_sdist_has_what_a_build_and_its_tests_need(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"setup.py", "pyproject.toml", "README.md", "LICENSE", "tests/conftest.py"}
    for tree in ("csrc", "litegpt"):
        for suffix in ("c", "h", "py", "pyx", "typed"):
            files = (ROOT / tree).rglob(f"*.{suffix}")
            needed |= {file.relative_to(ROOT).as_posix() for file in files}
    assert needed <= inside, f"missing: {sorted(needed - inside)}"
    left_over = [name for name in inside if name.endswith((".so", ".o", ".pyc"))]
    assert not left_over


@needs_compiler
def test_wheel_of_the_sdist_is_small_and_carries_the_kernels(sdist: Path, tmp_path: Path) -> None:
    wheel, done = build_wheel(sdist, tmp_path, LITEGPT_REQUIRE_NATIVE="1")
    assert done.returncode == 0, done.stdout + done.stderr
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert wheel is not None
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):  # there is no Limited API there
        assert wheel.name == f"litegpt_cpu-{litegpt.__version__}-cp311-abi3-{platform}.whl"
    assert wheel.stat().st_size <= 4_000_000  # half of it is the model in the box

    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [metadata_name] = [name for name in names if name.endswith("dist-info/METADATA")]
        [entry_points] = [name for name in names if name.endswith("entry_points.txt")]
        metadata = email.message_from_bytes(archive.read(metadata_name))
        assert "litegpt = litegpt.cli:main" in archive.read(entry_points).decode()
    assert {name.partition("/")[0].rpartition(".")[2] for name in names} == {"litegpt", "dist-info"}
    carried = {"py.typed", "pictures/attention.js", "box/shakespeare.gguf"}
    assert {f"litegpt/{name}" for name in carried} <= set(names)
    assert metadata["Version"] == litegpt.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    always = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(line.partition(">")[0] for line in always) == ["numpy", "safetensors"]

    used = use_wheel(wheel, tmp_path)
    assert used.returncode == 0, used.stderr
    version, *rungs = used.stdout.split()
    assert version == litegpt.__version__
    assert rungs[:2] == ["numpy", "baseline"]
    assert not used.stderr  # no warning


def test_pure_wheel_serves_any_platform_and_says_that_it_is_slow(
    sdist: Path, tmp_path: Path
) -> None:
    wheel, done = build_wheel(sdist, tmp_path, LITEGPT_PURE="1", CC="/nonexistent/cc")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "were not built" not in done.stdout + done.stderr  # it was asked for
    assert wheel is not None
    assert wheel.name == f"litegpt_cpu-{litegpt.__version__}-py3-none-any.whl"
    used = use_wheel(wheel, tmp_path)
    assert used.returncode == 0, used.stderr
    assert used.stdout.split() == [litegpt.__version__, "numpy"]
    assert "RuntimeWarning: LiteGPT runs on NumPy" in used.stderr


def test_missing_compiler_warns_and_falls_back(sdist: Path, tmp_path: Path) -> None:
    wheel, done = build_wheel(sdist, tmp_path, CC="/nonexistent/cc")
    assert done.returncode == 0, done.stdout + done.stderr
    told = done.stdout + done.stderr
    assert "The compiled kernels were not built" in told
    assert "/nonexistent/cc" in told
    assert "apt install gcc python3-dev" in told
    assert wheel is not None
    assert wheel.name == f"litegpt_cpu-{litegpt.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".so")]
    assert use_wheel(wheel, tmp_path).returncode == 0


def test_missing_compiler_is_an_error_where_the_kernels_are_required(
    sdist: Path, tmp_path: Path
) -> None:
    wheel, done = build_wheel(sdist, tmp_path, CC="/nonexistent/cc", LITEGPT_REQUIRE_NATIVE="1")
    assert done.returncode != 0
    assert wheel is None
    assert "/nonexistent/cc" in done.stdout + done.stderr
