"""Pieces of files as tokens: what a process that tokenises does."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from litegpt.text.byte import ByteTokenizer
from litegpt.text.examples import LONGEST_LINE, Example, ExampleEncoder, examples_of_lines
from litegpt.text.sources import Piece, pieces
from litegpt.text.tokenizer import Tokenizer, as_text


@dataclass(frozen=True)
class EncodedPiece:
    """ids (n,), as narrow as the vocabulary allows; documents end at `ends` (k,), and given (2, g)
    is not to be learned, both counted from the first of ids. digest: SHA-256 of the bytes.
    """

    ids: np.ndarray
    ends: np.ndarray
    given: np.ndarray
    digest: bytes


class PieceEncoder:
    """Encodes pieces of files with one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._examples = ExampleEncoder(tokenizer)
        self._type = np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32

    def encode(self, piece: Piece) -> EncodedPiece:
        """ValueError naming the file, and the line or the place, for what can't be used."""
        digest = hashlib.sha256()
        if piece.of_lines:
            examples = self._of_lines(piece, digest)
            ended = [True] * len(examples)
        else:
            examples, ended = [self._of_text(piece, digest)], [piece.last]
        ids = [np.zeros(0, self._type), *(example.ids for example in examples)]
        learned = [np.ones(0, bool), *(example.learned for example in examples)]
        ends = np.cumsum([len(example.ids) for example in examples], dtype=np.int64)
        return EncodedPiece(
            np.concatenate(ids).astype(self._type),
            ends[np.array(ended, bool)],
            _spans(~np.concatenate(learned)),
            digest.digest(),
        )

    def _of_text(self, piece: Piece, digest: "hashlib._Hash") -> Example:
        with piece.path.open("rb") as file:
            file.seek(piece.begin)
            data = file.read(piece.end - piece.begin)
        digest.update(data)
        text: str | bytes = data
        part = ""
        try:
            if self._tokenizer.kind != ByteTokenizer.kind:
                text = as_text(data, piece.begin)
                if piece.begin and self._tokenizer.space_first:
                    text = text.removeprefix(" ")  # which encoding puts there again
            part = f" (in the part that begins at byte {piece.begin})" if piece.begin else ""
            return self._examples.part(text, piece.begin == 0, piece.last)
        except ValueError as error:
            raise ValueError(f"{piece.path}: {error}{part}") from None

    def _of_lines(self, piece: Piece, digest: "hashlib._Hash") -> list[Example]:
        def examples(first: int) -> list[Example]:
            lines = _lines(piece, digest.copy() if first > 1 else digest)
            return list(examples_of_lines(lines, piece.path, self._examples, first))

        try:
            return examples(1)
        except ValueError:
            before = _lines_before(piece)
            if before:
                return examples(1 + before)  # raises it again, with the number of the line
            raise


def texts(files: Iterable[Path]) -> Iterator[str]:
    """The texts of files as a tokenizer meets them, piece by piece."""
    reader = _Reader()
    encoder = PieceEncoder(reader)
    for file in files:
        for piece in pieces(file):
            encoder.encode(piece)
            yield from reader.met
            reader.met.clear()


def alphabet(files: Sequence[Path]) -> str:
    """The characters of files, as far as a tokenizer meets them, sorted; ValueError without any."""
    met = set().union(*map(set, texts(files)))
    if not met:
        raise ValueError(f"{files[0]}: no text; there is nothing to learn from")
    return "".join(sorted(met))


class _Reader(ByteTokenizer):
    """Remembers what it is asked to encode."""

    kind = "reader"

    def __init__(self) -> None:
        self.met: list[str] = []

    def encode(self, text: str | bytes) -> np.ndarray:
        ids = super().encode(text)
        self.met.append(as_text(text))
        return ids


def _lines(piece: Piece, digest: "hashlib._Hash") -> Iterator[bytes]:
    """Its lines, of which none is read further than what makes it too long."""
    with piece.path.open("rb") as file:
        file.seek(piece.begin)
        while file.tell() < piece.end and (line := file.readline(LONGEST_LINE + 1)):
            digest.update(line)
            yield line


def _lines_before(piece: Piece) -> int:
    count, left = 0, piece.begin
    with piece.path.open("rb") as file:
        while left and (data := file.read(min(left, 1 << 20))):
            count, left = count + data.count(b"\n"), left - len(data)
    return count


def _spans(chosen: np.ndarray) -> np.ndarray:
    """Begins and ends (2, g) of the stretches where chosen (n,) is True."""
    edges = np.flatnonzero(np.diff(chosen.astype(np.int8), prepend=0, append=0))
    return edges.reshape(-1, 2).T.astype(np.int64)
