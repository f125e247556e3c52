"""The fuzz itself runs: each target's sound files are read, and some hundred damaged ones."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_target_is_fuzzed_for_a_moment(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris isn't installed (extra fuzz)")
    pytest.importorskip("tokenizers", reason="tokenizers isn't installed")
    pytest.importorskip("jinja2", reason="jinja2 isn't installed")
    fuzz = str(Path(__file__).with_name("fuzz.py"))
    command = [sys.executable, fuzz, "all", "--runs", "100", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
