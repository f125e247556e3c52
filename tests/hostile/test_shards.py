"""Indexes made to hurt, and what else a directory of shards may hold."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from litegpt import GPTModel
from litegpt.formats import ModelFormatError

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """A model in two shards, its index beside them, and a copy of a shard outside the folder."""
    folder = tmp_path / "model"
    GPTModel(5, 4, 1, 2, 4, seed=0).save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    placed = {name: FIRST if i % 2 else SECOND for i, name in enumerate(names)}
    for shard in (FIRST, SECOND):
        save_file({n: tensors[n] for n in names if placed[n] == shard}, folder / shard)
    save_file({names[0]: tensors[names[0]]}, tmp_path / "outside.safetensors")
    _index(folder, placed)
    return folder


def _index(folder: Path, weight_map: Any) -> None:
    text = json.dumps({"metadata": {}, "weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(text)


def _map(folder: Path) -> dict[str, str]:
    return json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]


def test_shards(sharded: Path) -> None:
    model = GPTModel.from_pretrained(sharded)
    wanted = GPTModel(5, 4, 1, 2, 4, seed=0).eval()
    np.testing.assert_array_equal(model([1, 2]), wanted([1, 2]))
    os.rename(sharded / FIRST, sharded / "blob")  # as in the hub's cache, where files are links
    os.symlink("blob", sharded / FIRST)
    np.testing.assert_array_equal(GPTModel.from_pretrained(sharded)([1, 2]), wanted([1, 2]))


@pytest.mark.parametrize(
    "place",
    [
        "../outside.safetensors",
        "/etc/passwd",
        "a/b",
        "..",
        ".",
        "",
        "..\\x",
        "\0",
        1,
        None,
        ["x"],
        "é" * 122 + ".safetensors",
    ],
)
def test_an_index_stays_in_its_folder(sharded: Path, place: Any) -> None:
    placed = _map(sharded)
    name = min(placed)
    _index(sharded, placed | {name: place})
    with pytest.raises(ModelFormatError, match=rf"index\.json: {name} (must be|is missing; it)"):
        GPTModel.from_pretrained(sharded)


def test_an_index_that_contradicts_its_shards(sharded: Path) -> None:
    placed = _map(sharded)
    name = min(placed)
    for weight_map, says in (
        ([], "weight_map must be an object"),
        ({}, "0 tensors are too few for 1 layers"),
        (placed | {name: FIRST}, f"{name} isn't in {FIRST}"),
        (placed | {"ghost": FIRST}, f"ghost isn't in {FIRST}"),
        ({n: s for n, s in placed.items() if n != name}, f"{name} in {SECOND} isn't listed"),
        (placed | {name: "model-3.safetensors"}, r"model-3\.safetensors: no such file"),
    ):
        _index(sharded, weight_map)
        with pytest.raises(ModelFormatError, match=says):
            GPTModel.from_pretrained(sharded)


def test_a_truncated_shard(sharded: Path) -> None:
    whole = (sharded / SECOND).read_bytes()
    for length in (0, 7, 8, 100, len(whole) - 1):
        (sharded / SECOND).write_bytes(whole[:length])
        with pytest.raises(ModelFormatError, match=rf"{SECOND}: not a whole safetensors file"):
            GPTModel.from_pretrained(sharded)


def test_a_header_without_end(sharded: Path) -> None:
    """Five million bytes of header are refused before anybody parses them."""
    length = 5 << 20
    header = b'{"a":' + b" " * (length - 6) + b"}"
    (sharded / FIRST).write_bytes(length.to_bytes(8, "little") + header + bytes(64))
    with pytest.raises(ModelFormatError, match=rf"{FIRST}: a header of {length} bytes"):
        GPTModel.from_pretrained(sharded)
