"""Texts tokenised into a file: in order, by several processes, and again only when need be."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import litegpt
from litegpt.formats import TokenFile
from litegpt.text import BytePairTokenizer, ByteTokenizer, CharTokenizer
from litegpt.training import corpus, tokenize


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.txt").write_text(f"text {number}: " + "abc def " * 100 * number)
    (folder / "lines.jsonl").write_text('{"text": "ab"}\n{"prompt": "ab", "completion": "cd"}\n')
    return folder


def all_text(texts: Path) -> bytes:
    return b"".join((texts / f"{n}.txt").read_bytes() for n in range(4)) + b"ababcd"


def test_documents_one_after_another(texts: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    file = tokenize(
        [texts], ByteTokenizer(), tmp_path / "new" / "t", progress=lambda *n: seen.append(n)
    )
    assert bytes(file.ids.astype(np.uint8)) == all_text(texts)
    sizes = [(texts / f"{n}.txt").stat().st_size for n in range(4)]
    assert np.diff(file.borders).tolist() == [*sizes, 2, 4]
    end = len(file.ids)
    assert file.given.tolist() == [[end - 4], [end - 2]]
    total = sum(path.stat().st_size for path in texts.iterdir())
    assert len(seen) == 5 and seen[-1] == (total, total)
    assert os.listdir(tmp_path / "new") == ["t"]


def test_processes_give_the_same_file(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "_WORTH_A_PROCESS", 1)
    for number, path in enumerate(texts.glob("*.txt")):
        path.write_text(path.read_text() * 20 + str(number))
    tokenizer = CharTokenizer("abcdefitx 0123456789:")
    one = tokenize([texts], tokenizer, tmp_path / "one", workers=1)
    two = tokenize([texts], tokenizer, tmp_path / "two", workers=2)
    assert one.path.read_bytes() == two.path.read_bytes()
    pairs = BytePairTokenizer.from_merges(["t e", "te x", "a b"])
    one = tokenize([texts], pairs, tmp_path / "one", workers=1)
    two = tokenize([texts], pairs, tmp_path / "two", workers=2)
    assert one.path.read_bytes() == two.path.read_bytes()


def test_a_bad_file_leaves_the_old_tokens(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "_WORTH_A_PROCESS", 1)
    tokenizer = CharTokenizer("abcdefitx 0123456789:")
    before = tokenize([texts], tokenizer, tmp_path / "two").path.read_bytes()
    (texts / "2.txt").write_text("abc!")
    with pytest.raises(ValueError, match=r"2\.txt: the tokenizer doesn't know the character '!'"):
        tokenize([texts], tokenizer, tmp_path / "two", workers=2)
    assert (tmp_path / "two").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["texts", "two"]


def test_an_unchanged_corpus_is_not_read_again(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "t"
    first = tokenize([texts], ByteTokenizer(), out)
    made = out.stat().st_ino
    with monkeypatch.context() as no_reading:
        no_reading.setattr(corpus, "_encoded", None)
        no_reading.setattr(corpus, "_bytes_of", None)
        assert tokenize([texts], ByteTokenizer(), out).fingerprint == first.fingerprint
        no_reading.undo()
        no_reading.setattr(corpus, "_encoded", None)  # touched: read, and found the same
        os.utime(texts / "1.txt", ns=(1, 1))
        assert tokenize([texts], ByteTokenizer(), out).fingerprint == first.fingerprint
    assert out.stat().st_ino == made


@pytest.mark.parametrize("change", ["source", "tokenizer", "more", "fewer", "damage", "reading"])
def test_what_has_changed_is_noticed(texts: Path, tmp_path: Path, change: str) -> None:
    out, tokenizer = tmp_path / "t", CharTokenizer("abcdefitx 0123456789:")
    first = tokenize([texts], tokenizer, out)
    before = first.fingerprint
    if change == "source":  # of the same size; a second later, as far as file systems tell times
        (texts / "0.txt").write_text((texts / "0.txt").read_text().replace("0", "9"))
        later = (texts / "0.txt").stat().st_mtime_ns + 10**9
        os.utime(texts / "0.txt", ns=(later, later))
    elif change == "tokenizer":
        tokenizer = CharTokenizer("abcdefitx 0123456789:!")
    elif change == "more":
        (texts / "4.txt").write_text("a")
    elif change == "fewer":
        (texts / "3.txt").unlink()
    elif change == "damage":
        out.write_bytes(out.read_bytes()[:-1])
    elif change == "reading":  # the same bytes, now not lines
        (texts / "lines.jsonl").rename(texts / "lines.txt")
        tokenizer = ByteTokenizer()
    again = tokenize([texts], tokenizer, out)
    assert (again.fingerprint == before) == (change == "damage")
    fresh = tokenize([texts], tokenizer, tmp_path / "fresh")
    assert again.path.read_bytes() == fresh.path.read_bytes()


def test_what_a_template_calls_bos_decides_ids_too() -> None:
    plain = BytePairTokenizer.from_merges([], ["<a>", "<b>"])
    template = "{{ bos_token }}"
    digests = {corpus.tokenizer_digest(plain.surrounded([], template, i)) for i in (None, 256, 257)}
    assert len(digests) == 3


def test_a_file_that_changes_meanwhile(texts: Path, tmp_path: Path) -> None:
    def meddle(done: int, total: int) -> None:
        (texts / "3.txt").write_text("shorter")

    with pytest.raises(ValueError, match="have changed while they were read"):
        tokenize([texts], ByteTokenizer(), tmp_path / "t", progress=meddle)
    assert os.listdir(tmp_path) == ["texts"]


def test_no_room_for_the_tokens(texts: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(OSError) as raised:
            tokenize([texts], ByteTokenizer(), tmp_path / "t")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.filename == str(tmp_path / "t")
    assert os.listdir(tmp_path) == ["texts"]


def test_nothing_to_learn(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n\n')
    with pytest.raises(ValueError, match=r"a\.jsonl: no tokens"):
        tokenize([tmp_path / "a.jsonl"], ByteTokenizer(), tmp_path / "t")
    with pytest.raises(ValueError, match="paths must name a file"):
        tokenize([], ByteTokenizer(), tmp_path / "t")


def test_a_process_that_is_killed_is_said(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "_WORTH_A_PROCESS", 1)
    with pytest.raises(OSError, match="ended from outside"):
        tokenize([texts], Deadly(), tmp_path / "t", workers=2)
    assert os.listdir(tmp_path) == ["texts"]


def test_ctrl_c_while_work_is_handed_out_is_not_lost(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ctrl_c: None
) -> None:
    """In just the moment in which a process may be started that isn't to hear of it."""
    submit = ProcessPoolExecutor.submit

    def interrupted(pool: ProcessPoolExecutor, *work: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return submit(pool, *work)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", interrupted)
    monkeypatch.setattr(corpus, "_WORTH_A_PROCESS", 1)
    with pytest.raises(KeyboardInterrupt):
        tokenize([texts], ByteTokenizer(), tmp_path / "t", workers=2)
    assert os.listdir(tmp_path) == ["texts"]


KILLED = """
import os, sys, time
from pathlib import Path
from litegpt.training import corpus
sys.path.insert(0, sys.argv[1])
import slow

def die(done: int, total: int) -> None:
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text()
    print(children, flush=True)
    os.kill(os.getpid(), 9)

if __name__ == "__main__":
    corpus._WORTH_A_PROCESS = 1
    corpus.tokenize([sys.argv[2]], slow.Slow(), sys.argv[3], 2, die)
"""
SLOW = """
import time
from litegpt.text import ByteTokenizer

class Slow(ByteTokenizer):
    def encode(self, text):
        time.sleep(0.2)
        return super().encode(text)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_end_with_the_one_that_started_them(texts: Path, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "killed.py").write_text(KILLED)
    package = str(Path(litegpt.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, tmp_path / "killed.py", tmp_path, texts, tmp_path / "t"],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([package, str(tmp_path)])},
    )
    assert done.returncode == -9, done.stderr
    children = done.stdout.split()
    assert len(children) >= 2
    deadline = time.monotonic() + 60
    while any(map(runs, children)):
        assert time.monotonic() < deadline, "still there"
        time.sleep(0.05)


def runs(pid: str) -> bool:
    """A process that has ended may stay in the list, where nobody asks for its exit code."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Deadly(ByteTokenizer):
    """Takes its process with it."""

    def encode(self, text: str | bytes) -> np.ndarray:
        os._exit(9)


def test_a_file_of_its_own_kind(texts: Path, tmp_path: Path) -> None:
    made = tokenize([texts], ByteTokenizer(), tmp_path / "t")
    assert TokenFile(tmp_path / "t").metadata == made.metadata
    assert made.metadata["format"] == "litegpt tokens 1" and made.vocab_size == 256
