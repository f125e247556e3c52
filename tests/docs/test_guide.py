"""The guide builds, and what it shows of the sources is there."""

import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import litegpt
import litegpt.kernels.reference
import litegpt.nn

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "docs" / "site"
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def hook(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"guide_{name}", SITE / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_has_every_public_name() -> None:
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    named = set(re.findall(r"^::: \S+\.(\w+)$", pages, re.M))
    for module in (litegpt, litegpt.nn, litegpt.kernels.reference):
        assert set(module.__all__) - named == set()
        for name in module.__all__:
            assert getattr(module, name).__doc__, name


def test_the_reference_runs_no_columns_together() -> None:
    """Docstrings are Markdown there: rows of columns would become one paragraph."""
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    for module, name in re.findall(r"^::: (\S+)\.(\w+)$", pages, re.M):
        text = inspect.getdoc(getattr(importlib.import_module(module), name)) or ""
        assert not re.search(r"^\S.*\S {2,}\S", text, re.M), name
        assert not re.search(r"^[^-\s].*\n- ", text, re.M), name  # a list begins after a blank line


def test_twins_that_pages_show_are_whole() -> None:
    twins = hook("twins")
    shown = [found for page in PAGES for found in twins.TWINS.findall(page.read_text("utf-8"))]
    assert len(shown) > 10
    for kernel, file, functions in shown:
        text = twins.side_by_side(kernel, file, functions)
        assert f"def {kernel.split('.')[-1]}(" in text
        for name in functions.split():
            assert f" {name}(" in text
        c_twin = text.split("```c")[1].split("```")[0]
        assert c_twin.count("{") == c_twin.count("}") > 0


def test_a_twin_that_is_not_there_stops_the_build() -> None:
    with pytest.raises(LookupError, match=r"softmax\.h: no function softmin"):
        hook("twins").side_by_side("softmax", "csrc/kernels/softmax.h", "softmin")


def test_links_to_sources_become_their_names() -> None:
    page = type("Page", (), {"file": type("File", (), {"src_uri": "masks.md"})})
    links = hook("outside_links").on_page_markdown(
        "[C](../csrc/simd.h) [kernels/tile.h](../csrc/kernels/tile.h) [rules](numerics.md) "
        "[x](https://x.org) [gone](../csrc/gone.h)",
        page,
    )
    expected = (
        "C (`csrc/simd.h`) `csrc/kernels/tile.h` [rules](numerics.md) "
        "[x](https://x.org) [gone](../csrc/gone.h)"
    )
    assert links == expected


def test_the_guide_builds_without_a_warning(tmp_path: Path) -> None:
    for package in ("material", "mkdocstrings", "latex2mathml"):  # extra docs
        pytest.importorskip(package)
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    done = subprocess.run(
        [*build, "-f", str(SITE / "mkdocs.yml"), "-d", str(tmp_path / "site")],
        capture_output=True,
        text=True,
        check=False,
        env={"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "components" / "softmax.html").read_text("utf-8")
    assert "<math" in page and "softmax_row" in page and "softmax_backward" in page
