"""Where texts lie: files, folders, patterns; and how a large file is read piece by piece."""

import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from litegpt.text.examples import LONGEST_LINE

LINES = (".jsonl", ".ndjson")  # names of files that hold a document a line, as JSON
PIECE = 1 << 20  # bytes, about
_SEEN = 1 << 13  # bytes that decide whether a file is text
_SEARCHED = 1 << 16  # bytes in which a good place to cut is looked for

# Where a tokenizer of subwords cuts anyway: before a space between letters; after a line's end.
_BETWEEN_WORDS = re.compile(rb"(?<=[A-Za-z])(?= [A-Za-z])")
_BETWEEN_LINES = re.compile(rb"(?<=\S\n)(?=\S)")
_CHARACTER = re.compile(rb"[^\x80-\xbf]")


@dataclass(frozen=True)
class Piece:
    """Bytes begin to end of a file; whether its last ones."""

    path: Path
    begin: int
    end: int
    last: bool

    @property
    def of_lines(self) -> bool:
        return of_lines(self.path)


def of_lines(path: Path) -> bool:
    """Whether a file holds JSON lines, by its name."""
    return path.suffix.lower() in LINES


def find_sources(
    paths: Iterable[str | Path], any_bytes: bool = False, leave_out: Path | None = None
) -> tuple[list[Path], list[Path]]:
    """The files that paths lead to, and those in folders that aren't text; each once.

    A path is a file, a folder (all files in it and below, in the order of their names, but hidden
    ones, empty ones and those that aren't text), or a pattern with *, ? or ** where nothing bears
    that name, which is all texts that match. With any_bytes a binary file is as good as any.
    leave_out: a folder not to look in.

    ValueError naming the path for a file that is empty, binary or none, and for folders and
    patterns without any text, and for a path of no characters, which to Path is the directory one
    is in; OSError for what can't be read.
    """
    found: dict[str, Path] = {}  # by what it really is
    passed_over: dict[str, Path] = {}
    for given in paths:
        if given == "":
            raise ValueError("a path is empty; . is the directory you are in")
        path = Path(given)
        if not path.is_dir() and (path.exists() or not glob.has_magic(str(path))):
            reason = _unfit(path, any_bytes)
            if reason:
                raise ValueError(f"{path}: {reason}")
            found.setdefault(os.path.realpath(path), path)
            continue
        texts: list[Path] = []
        for file in _files_below(path, leave_out) if path.is_dir() else _matches(path, leave_out):
            if _unfit(file, any_bytes):
                passed_over.setdefault(os.path.realpath(file), file)
            else:
                texts.append(file)
        if not texts:
            what = "a directory without any text in it" if path.is_dir() else "matches no text"
            raise ValueError(f"{path}: {what}")
        for text in texts:
            found.setdefault(os.path.realpath(text), text)
    return list(found.values()), list(passed_over.values())


def pieces(path: Path, any_bytes: bool = False) -> Iterator[Piece]:
    """A file in pieces of about PIECE bytes.

    JSON lines are cut at the ends of lines; a text where words or lines part, so that its tokens
    are those of the whole, if there is such a place near, else between any two characters; with
    any_bytes, anywhere.
    """
    size = _size(path)
    begin = 0
    with path.open("rb") as file:
        while begin < size:
            end = min(begin + PIECE, size)
            if end < size and of_lines(path):
                end = _end_of_line(file, end - 1, size)
            elif end < size and not any_bytes:
                file.seek(end - 1)
                end += _cut(file.read(_SEARCHED)) - 1
            yield Piece(path, begin, end, end == size)
            begin = end


def _cut(data: bytes) -> int:
    """A place to cut, 1 or more, in data that begins one byte before the earliest."""
    for place in (_BETWEEN_WORDS, _BETWEEN_LINES, _CHARACTER):
        found = place.search(data, 1)
        if found:
            return found.start()
        if place is _BETWEEN_LINES and len(data) < _SEARCHED:
            break  # so little is left that it needn't be cut
    return len(data)


def _end_of_line(file: BinaryIO, begin: int, size: int) -> int:
    """Where the line ends that holds the byte at begin; the file, if the line is too long."""
    file.seek(begin)
    line = file.readline(LONGEST_LINE + 1)
    return begin + len(line) if line.endswith(b"\n") else size


def _matches(pattern: Path, leave_out: Path | None) -> Iterator[Path]:
    for name in sorted(glob.glob(str(pattern), recursive=True)):
        path = Path(name)
        yield from _files_below(path, leave_out) if path.is_dir() else [path]


def _files_below(folder: Path, leave_out: Path | None) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise error

    left_out = os.path.realpath(leave_out) if leave_out else None
    for where, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(Path(where, name)) != left_out
        )
        yield from (Path(where, name) for name in sorted(names) if not name.startswith("."))


def _size(path: Path) -> int:
    return path.stat().st_size


def _unfit(path: Path, any_bytes: bool) -> str:
    """Why a file can't be learned from, or nothing."""
    if path.is_symlink() and not path.exists():
        return "a link that leads nowhere"
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        return "not a file that can be read twice; write what it gives to one"
    if not status.st_size:
        return "empty; there is nothing to learn from"
    if any_bytes or of_lines(path):
        return ""
    with path.open("rb") as file:
        seen = file.read(_SEEN)
    if seen[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "it looks like UTF-16; save it as UTF-8"
    return "a binary file, not a text (the byte tokenizer takes any bytes)" if b"\0" in seen else ""
