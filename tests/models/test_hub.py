"""owner/name: from the hub's cache, or an error in one line."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litegpt import CharTokenizer, GPTModel

pytest.importorskip("huggingface_hub", reason="huggingface-hub isn't installed")

LOAD = """
import sys
from litegpt import CharTokenizer, GPTModel
try:
    print(GPTModel.from_pretrained(sys.argv[1])([1, 2, 3]).tobytes().hex())
except OSError as error:
    print(type(error).__name__, error)
"""


def _load(name: str, cache: Path, folder: Path, **environment: str) -> str:
    """What a process with this cache says, whose hub is a port where nobody listens."""
    return subprocess.run(
        [sys.executable, "-W", "ignore::RuntimeWarning", "-c", LOAD, name],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env=_environment(cache, environment),
    ).stdout.strip()


def _environment(cache: Path, changes: dict[str, str]) -> dict[str, str]:
    return (
        dict(os.environ)
        | {"HF_HUB_CACHE": str(cache), "HF_ENDPOINT": "http://127.0.0.1:9"}
        | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **changes}
    )


def test_offline(tmp_path: Path) -> None:
    said = _load("nobody/nothing", tmp_path / "cache", tmp_path)
    assert said.startswith("OSError nobody/nothing: no such directory or file; taking it from")
    assert "the hub failed: " in said and "\n" not in said


def test_the_cache_and_what_comes_before_it(make_model: Any, tmp_path: Path) -> None:
    model = make_model("llama").eval()
    commit = "0" * 40
    repository = tmp_path / "cache" / "models--owner--name"
    model.save_pretrained(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    wanted = model([1, 2, 3]).tobytes().hex()
    offline = {"HF_HUB_OFFLINE": "1"}
    assert _load("owner/name", tmp_path / "cache", tmp_path, **offline) == wanted
    CharTokenizer("abc").save(repository / "snapshots" / commit)
    converted = subprocess.run(
        [sys.executable, "-m", "litegpt", "convert", "owner/name", "m.gguf"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=_environment(tmp_path / "cache", offline),
    )
    assert converted.returncode == 0 and "without" not in converted.stdout, converted.stderr
    other = make_model("gpt2").eval()
    other.save_pretrained(tmp_path / "owner" / "name")  # a path goes first
    wanted = other([1, 2, 3]).tobytes().hex()
    assert _load("owner/name", tmp_path / "cache", tmp_path, **offline) == wanted


def test_mapped_weights_are_the_models_own(make_model: Any, tmp_path: Path) -> None:
    """They may be changed: neither the file nor another model notices."""
    make_model("gpt2").save_pretrained(tmp_path / "m")
    before = (tmp_path / "m" / "model.safetensors").read_bytes()
    first, second = (GPTModel.from_pretrained(tmp_path / "m") for _ in range(2))
    copied = GPTModel.from_pretrained(tmp_path / "m", mmap=False)
    table = first.token_embedding.weight.data
    assert not table.flags.owndata and copied.token_embedding.weight.data.flags.owndata
    np.testing.assert_array_equal(first([1, 2, 3]), copied([1, 2, 3]))
    table += 1
    np.testing.assert_array_equal(second([1, 2, 3]), copied([1, 2, 3]))
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == before
