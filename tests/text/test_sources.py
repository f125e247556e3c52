"""Where texts lie, what is no text, and how large files are cut."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from litegpt.text import BytePairTokenizer, ByteTokenizer, CharTokenizer, Tokenizer, sources
from litegpt.text.encoder import PieceEncoder, alphabet
from litegpt.text.sources import find_sources, pieces


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in {
        "b.txt": b"two",
        "a.txt": b"one",
        "below/c.jsonl": b'{"text": "three"}\n',
        "below/empty.txt": b"",
        "below/empty.jsonl": b"",
        "below/picture.png": b"\x89PNG\0\0",
        ".hidden": b"no",
        ".git/config": b"no",
        "run/log.jsonl": b'{"step": 1}\n',
    }.items():
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "texts"


def names(found: list[Path], folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in found]


def test_a_folder_is_all_texts_in_it_by_name(folder: Path) -> None:
    (folder / "below" / "nowhere").symlink_to("absent")
    (folder / "below" / "round").symlink_to("round")
    found, passed_over = find_sources([folder], leave_out=folder / "run")
    assert names(found, folder) == ["a.txt", "b.txt", "below/c.jsonl"]
    assert sorted(names(passed_over, folder)) == [
        "below/empty.jsonl",
        "below/empty.txt",
        "below/nowhere",
        "below/picture.png",
        "below/round",
    ]
    found, _ = find_sources([folder], any_bytes=True, leave_out=folder / "run")
    assert "below/picture.png" in names(found, folder)


def test_patterns_and_files_in_the_order_given_each_once(folder: Path) -> None:
    found, _ = find_sources([folder / "b.txt", folder / "*.txt", str(folder / "**" / "*.jsonl")])
    assert names(found, folder) == ["b.txt", "a.txt", "below/c.jsonl", "run/log.jsonl"]
    found, passed_over = find_sources([folder / "below", folder], leave_out=folder / "run")
    assert names(found, folder) == ["below/c.jsonl", "a.txt", "b.txt"]
    assert len(passed_over) == 3  # each once, too


def test_a_file_whose_name_is_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "what[is]this?.txt").write_text("a text")
    assert find_sources([tmp_path / "what[is]this?.txt"])[0]


BAD: dict[str, tuple[str, str]] = {
    "nothing there": ("absent*", "matches no text"),
    "empty": ("below/empty.txt", "empty; there is nothing to learn from"),
    "binary": ("below/picture.png", "a binary file, not a text"),
    "a folder of nothing": ("nothing", "a directory without any text"),
    "a link to itself": ("round", "a link that leads nowhere"),
    "a pipe": ("pipe", "not a file that can be read twice"),
    "UTF-16": ("wide.txt", "it looks like UTF-16; save it as UTF-8"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_text_is_named(folder: Path, name: str) -> None:
    (folder / "nothing").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "wide.txt").write_text("wide", "utf-16")
    (folder / "round").symlink_to("round")
    path, problem = BAD[name]
    with pytest.raises(ValueError) as raised:
        find_sources([folder / path])
    assert str(raised.value).startswith(f"{folder / path}: {problem}")


def test_what_is_not_there(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        find_sources([folder / "absent.txt"])
    with pytest.raises(ValueError, match="a path is empty"):  # not all texts of this directory
        find_sources([""])


LOCKED = """
import os, sys
from litegpt.text.sources import find_sources
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
if not os.access(sys.argv[1], os.R_OK | os.X_OK):
    sys.exit("out of reach")
try:
    find_sources([sys.argv[1]])
except PermissionError as error:
    print(error.filename)
"""


def test_a_folder_that_may_not_be_read(folder: Path) -> None:
    (folder / "below").chmod(0)
    for above in (folder, *folder.parents[:3]):  # pytest's own folders are for their owner only
        above.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", LOCKED, folder], capture_output=True, text=True, timeout=60
    )
    (folder / "below").chmod(0o755)
    if "out of reach" in done.stderr:
        pytest.skip("temporary files are where others can't read")
    assert done.stdout.strip() == str(folder / "below"), done.stderr


TEXTS = {
    "words": "The quick brown fox\n\njumps over  the lazy dog. It's 3 o'clock;\r\n" * 60,
    "lines": "多行的中文文字。\n每一行都不长\n" * 90,
    "no place": "äöüß" * 500,
}


@pytest.fixture(scope="module")
def byte_pairs() -> BytePairTokenizer:
    merges = ["Ġ l", "h e", "j u", "m p", "ju mp", "å ¤", "Ċ Ċ", "c k"]
    return BytePairTokenizer.from_merges(merges)


@pytest.mark.parametrize("kind", ["char", "byte", "subword"])
@pytest.mark.parametrize("name", TEXTS)
def test_pieces_give_the_tokens_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str, byte_pairs: Tokenizer
) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXTS[name], newline="")
    tokenizer = {
        "char": CharTokenizer.from_text(TEXTS[name]),
        "byte": ByteTokenizer(),
        "subword": byte_pairs,
    }[kind]
    monkeypatch.setattr(sources, "PIECE", 100)
    monkeypatch.setattr(sources, "_SEARCHED", 100)
    any_bytes = kind == "byte"
    cut = list(pieces(path, any_bytes))
    assert len(cut) > 20
    assert cut[0].begin == 0 and [p.end for p in cut[:-1]] == [p.begin for p in cut[1:]]
    assert [p.last for p in cut] == [False] * (len(cut) - 1) + [True]
    encoder = PieceEncoder(tokenizer)
    encoded = [encoder.encode(piece) for piece in cut]
    ids = np.concatenate([e.ids for e in encoded])
    whole = np.append(tokenizer.encode(path.read_bytes()), tokenizer.eos_ids).astype(np.int64)
    if kind == "subword" and name == "no place":  # cut within what the tokenizer would merge
        assert tokenizer.decode(ids.tolist()) == tokenizer.decode(whole.tolist())
    else:
        np.testing.assert_array_equal(ids, whole)
    assert [len(e.ends) for e in encoded] == [0] * (len(cut) - 1) + [1]


def test_lines_are_cut_at_their_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lines.jsonl"
    lines = [f'{{"prompt": "{"p" * (i % 90)}", "completion": "{i}"}}\n' for i in range(200)]
    path.write_text("".join(lines))
    monkeypatch.setattr(sources, "PIECE", 300)
    encoder = PieceEncoder(ByteTokenizer())
    cut = list(pieces(path))
    encoded = [encoder.encode(piece) for piece in cut]
    assert len(cut) > 20 and sum(len(e.ends) for e in encoded) == 200
    whole = PieceEncoder(ByteTokenizer()).encode(sources.Piece(path, 0, path.stat().st_size, True))
    np.testing.assert_array_equal(np.concatenate([e.ids for e in encoded]), whole.ids)
    given = sum(int((e.given[1] - e.given[0]).sum()) for e in encoded)
    assert given == sum(i % 90 for i in range(200))
    lines[150] = '{"prompt": "no completion"}\n'
    path.write_text("".join(lines))
    with pytest.raises(ValueError, match=r"lines\.jsonl: line 151: must hold"):
        for piece in pieces(path):
            encoder.encode(piece)


def test_a_line_too_long_ends_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"text": "a"}\n{"text": "' + "b" * 5000 + '"}\n{"text": "a"}\n')
    monkeypatch.setattr(sources, "PIECE", 20)
    monkeypatch.setattr(sources, "LONGEST_LINE", 1000)
    monkeypatch.setattr("litegpt.text.encoder.LONGEST_LINE", 1000)
    monkeypatch.setattr("litegpt.text.examples.LONGEST_LINE", 1000)
    encoder = PieceEncoder(ByteTokenizer())
    with pytest.raises(ValueError, match="line 2: longer than"):
        for piece in pieces(path):
            encoder.encode(piece)


def test_a_wrong_byte_is_named_by_its_place_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"To be or not " * 50 + b"\xff" + b" to be" * 50)
    monkeypatch.setattr(sources, "PIECE", 100)
    encoder = PieceEncoder(CharTokenizer("Tobernt "))
    wrong = r"text.txt: not UTF-8: byte 0xff at offset 650 \([^()]*\)$"
    with pytest.raises(ValueError, match=wrong):
        for piece in pieces(path):
            encoder.encode(piece)
    path.write_text("To be or not to be; " * 50)
    with pytest.raises(ValueError, match=r"text.txt: the tokenizer doesn't know .* ';'"):
        PieceEncoder(CharTokenizer("Tobernt ")).encode(next(pieces(path)))


def test_the_alphabet_is_what_a_tokenizer_will_meet(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("zebra")
    (tmp_path / "b.jsonl").write_text('{"text": "\\u00e4", "id": "q"}\n')
    files = [tmp_path / "a.txt", tmp_path / "b.jsonl"]
    assert alphabet(files) == "aberzä"
    (tmp_path / "d.jsonl").write_text('{"text": ""}\n')
    with pytest.raises(ValueError, match="no text; there is nothing to learn from"):
        alphabet([tmp_path / "d.jsonl"])
    talk = '{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}'
    (tmp_path / "c.jsonl").write_text(talk)
    tokenizer = CharTokenizer(alphabet([tmp_path / "c.jsonl"]))
    PieceEncoder(tokenizer).encode(next(pieces(tmp_path / "c.jsonl")))
