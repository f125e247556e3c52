"""Token files: what is written is read, what lies is refused, and size takes no memory."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from litegpt.formats import ModelFormatError, TokenFile, TokenFileWriter

NOTHING = np.zeros((2, 0), np.int64)
GOOD: dict[str, Any] = {
    "tokens": np.arange(8, dtype=np.uint16),
    "borders": np.array([0, 3, 7]),
    "given": np.array([[0, 4], [2, 5]]),
}
METADATA = {"format": "litegpt tokens 1", "vocab_size": "300"}


def write(path: Path, metadata: dict[str, str] = METADATA, **tensors: Any) -> Path:
    held = {name: array for name, array in (GOOD | tensors).items() if array is not None}
    save_file(held, path, metadata)
    return path


@pytest.mark.parametrize("vocab_size, dtype", [(2**16, np.uint16), (2**16 + 1, np.uint32)])
@pytest.mark.parametrize("tokens", range(6))
def test_what_is_written_is_read(tmp_path: Path, vocab_size: int, dtype: Any, tokens: int) -> None:
    path = tmp_path / "tokens.safetensors"
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, vocab_size, 4), rng.integers(0, vocab_size, tokens)
    first[0] = vocab_size - 1
    with TokenFileWriter(path, vocab_size) as writer:
        writer.add(first, np.array([1]), np.array([[0], [2]]))
        writer.add(second, np.array([tokens]), NOTHING)
        assert (writer.tokens, writer.documents) == (4 + tokens, 2)
        writer.finish({"sources": "abc"})
    file = TokenFile(path)
    np.testing.assert_array_equal(file.ids, np.concatenate([first, second]))
    assert file.ids.dtype == dtype and file.vocab_size == vocab_size
    assert file.borders.tolist() == [0, 1, 4 + tokens]
    assert file.given.tolist() == [[0], [2]]
    assert file.metadata["sources"] == "abc"
    assert file.borders.flags.aligned and file.given.flags.aligned
    theirs = load_file(path)  # by the library, and all bytes are its tensors'
    np.testing.assert_array_equal(theirs["tokens"][: 4 + tokens], file.ids)


def test_one_that_others_wrote_is_read(tmp_path: Path) -> None:
    file = TokenFile(write(tmp_path / "t.safetensors"))
    assert file.ids.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert file.fingerprint == TokenFile(file.path).fingerprint
    other = np.array([0, 1, 2, 3, 4, 5, 7, 0], np.uint16)
    assert (
        file.fingerprint != TokenFile(write(tmp_path / "u.safetensors", tokens=other)).fingerprint
    )


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "no format": ({"metadata": {"vocab_size": "300"}}, "not a token file"),
    "another format": ({"metadata": METADATA | {"format": "x"}}, "not a token file"),
    "no vocabulary": ({"metadata": {"format": METADATA["format"]}}, "vocab_size must be"),
    "a vocabulary of 0": ({"metadata": METADATA | {"vocab_size": "0"}}, "vocab_size must be"),
    "a vast one": ({"metadata": METADATA | {"vocab_size": "9" * 10_000}}, "vocab_size must be"),
    "not a number": ({"metadata": METADATA | {"vocab_size": "١"}}, "vocab_size must be"),
    "no tokens": ({"tokens": None}, "has no tensor tokens"),
    "no borders": ({"borders": None}, "has no tensor borders"),
    "wide tokens": ({"tokens": np.arange(8, dtype=np.uint32)}, "tokens must be U16"),
    "tokens of another kind": ({"tokens": np.ones(8, np.float32)}, "tokens must be U16"),
    "rows of tokens": ({"tokens": np.ones((2, 4), np.uint16)}, "tokens must be U16 with 1 axes"),
    "no border": ({"borders": np.zeros(0, np.int64)}, "borders must go from 0"),
    "a late start": ({"borders": np.array([1, 7])}, "borders must go from 0"),
    "too short": ({"borders": np.array([0, 3])}, "borders must go from 0 to its 8"),
    "beyond the end": ({"borders": np.array([0, 9])}, "borders must go from 0 to its 8"),
    "wrapped around": ({"borders": np.array([0, -(2**63), 7])}, "borders must not fall"),
    "falling": ({"borders": np.array([0, 5, 3, 7])}, "borders must not fall"),
    "one row given": ({"given": np.array([[0, 4]])}, "given must be two rows"),
    "given backwards": ({"given": np.array([[2], [1]])}, "given must be two rows"),
    "given twice": ({"given": np.array([[0, 1], [2, 3]])}, "given must be two rows"),
    "given before the start": ({"given": np.array([[-1], [1]])}, "must lie within"),
    "given beyond the end": ({"given": np.array([[0], [8]])}, "must lie within"),
}


@pytest.mark.parametrize("name", LIES)
def test_lies_are_refused(tmp_path: Path, name: str) -> None:
    changes, problem = LIES[name]
    path = write(tmp_path / "t.safetensors", **changes)
    with pytest.raises(ModelFormatError) as raised:
        TokenFile(path)
    assert str(raised.value).startswith(f"{path}: ") and problem in str(raised.value)
    assert len(str(raised.value)) < 300


def test_truncations_and_any_flip_in_the_header(tmp_path: Path) -> None:
    """Refused, or a file whose index is within it; never anything else."""
    path = tmp_path / "t.safetensors"
    whole = write(path).read_bytes()
    for length in (*range(0, len(whole), 7), len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFormatError):
            TokenFile(path)
    rng = np.random.default_rng(0)
    header = 8 + int.from_bytes(whole[:8], "little")
    refused = 0
    for _ in range(300):
        flipped = bytearray(whole)
        for place in rng.integers(0, len(whole) if rng.random() < 0.3 else header, 2):
            flipped[place] = rng.integers(256)
        path.write_bytes(flipped)
        try:
            file = TokenFile(path)
        except ModelFormatError:
            refused += 1
        else:
            assert file.borders[-1] == len(file.ids) <= 8
            assert not file.given.size or file.given.max() <= len(file.ids)
    assert refused > 100


def test_no_file_and_another_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="no such file"):
        TokenFile(tmp_path / "absent")
    (tmp_path / "text").write_text("To be, or not to be")
    with pytest.raises(ModelFormatError, match="not a whole safetensors file"):
        TokenFile(tmp_path / "text")


GIGABYTES = """
import json, sys
from pathlib import Path
import numpy as np
from litegpt.formats import TokenFile
from litegpt.training import DocumentWindows

def resident() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) >> 10

file = TokenFile(sys.argv[1])
data = DocumentWindows(file, 256, borders=True)
rng = np.random.default_rng(0)
data.batch(16, rng)
before, most, last = resident(), 0, 0
for _ in range(200):
    inputs, targets, starts = data.batch(16, rng)
    most = max(most, resident())
for begin in range(7 << 27, len(file.ids), 1 << 24):  # and through an eighth of it
    last = int(file.ids[begin : begin + (1 << 24)].max())
    file.let_go()
    most = max(most, resident())
print(json.dumps([len(file.ids), before, most, last]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_resident_memory_stays_flat_on_two_gigabytes(tmp_path: Path) -> None:
    """The file is sparse: a thousand million tokens that take no room on the disk."""
    path = tmp_path / "tokens.safetensors"
    tokens = 2**30
    header = {
        "__metadata__": METADATA,
        "tokens": {"dtype": "U16", "shape": [tokens], "data_offsets": [0, 2 * tokens]},
        "borders": {
            "dtype": "I64",
            "shape": [1001],
            "data_offsets": [2 * tokens, 2 * tokens + 8008],
        },
        "given": {
            "dtype": "I64",
            "shape": [2, 0],
            "data_offsets": [2 * tokens + 8008, 2 * tokens + 8008],
        },
    }
    text = json.dumps(header).encode().ljust(1016)
    borders = np.linspace(0, tokens, 1001).astype(np.int64)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.seek(2 * tokens - 2, 1)
        file.write((7).to_bytes(2, "little") + borders.tobytes())
    if path.stat().st_blocks * 512 > 1 << 20:
        pytest.skip("this file system keeps no sparse files")
    done = subprocess.run(
        [sys.executable, "-c", GIGABYTES, path], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    length, before, most, last = json.loads(done.stdout)
    assert (length, last) == (tokens, 7)
    assert most - before < 64  # MiB, of 2048
