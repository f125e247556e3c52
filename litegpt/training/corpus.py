"""Files of text turned into a token file, by several processes if asked to."""

import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

from litegpt.formats import ModelFormatError, TokenFile, TokenFileWriter, write_together
from litegpt.text import Tokenizer
from litegpt.text.byte import ByteTokenizer
from litegpt.text.encoder import EncodedPiece, PieceEncoder
from litegpt.text.sources import Piece, find_sources, of_lines, pieces
from litegpt.training.interrupt import interrupts_deferred

_WAITING = 4  # pieces per process that are under way, or done and not yet written
_WORTH_A_PROCESS = 4 << 20  # bytes

Progress = Callable[[int, int], None]  # bytes done, bytes in all


def tokenize(
    paths: Iterable[str | Path],
    tokenizer: Tokenizer,
    out: str | Path,
    workers: int = 1,
    progress: Progress | None = None,
) -> TokenFile:
    """The texts that paths lead to (see litegpt.text.sources) as the token file `out`.

    Every file is a document, or, if its name ends in .jsonl or .ndjson, every line (see
    litegpt.text.ExampleEncoder). A file `out` that was made of the same bytes with the same
    tokenizer is kept; else it is replaced once the new one is whole. Memory is taken for a few
    pieces of 1 MiB per process, whatever the size of the corpus. With several workers the caller's
    module must be importable without side effects, as with anything of multiprocessing.

    ValueError names the file, and line or place, that can't be used.
    """
    any_bytes = isinstance(tokenizer, ByteTokenizer)
    files, _ = find_sources(paths, any_bytes)
    if not files:
        raise ValueError("paths must name a file, a folder or a pattern; there is none")
    out = Path(out)
    made_of = {"tokenizer": tokenizer_digest(tokenizer), "seen": _seen(files)}
    unchanged = _unchanged(out, made_of, files, any_bytes)
    if unchanged is not None:
        return unchanged
    total = sum(file.stat().st_size for file in files)
    workers = max(1, min(workers, total // _WORTH_A_PROCESS))
    every = (piece for file in files for piece in pieces(file, any_bytes))

    def write(partial: Path) -> None:
        done, digest = 0, _Digest()
        with TokenFileWriter(partial, tokenizer.vocab_size) as writer:
            for piece, encoded in _encoded(every, tokenizer, workers):
                writer.add(encoded.ids, encoded.ends, encoded.given)
                digest.add(piece, encoded.digest)
                done += piece.end - piece.begin
                if progress:
                    progress(done, total)
            if _seen(files) != made_of["seen"]:
                raise ValueError("the files have changed while they were read; try again")
            if not writer.tokens:
                raise ValueError(f"{files[0]}: no tokens; there is nothing to learn from")
            writer.finish({**made_of, "sources": digest.hex()})

    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_together({out: write})
    except OSError as error:
        if error.filename is None and error.errno is not None:  # a full disk, say
            raise OSError(error.errno, error.strerror, os.fspath(out)) from error
        raise
    return TokenFile(out)


def tokenizer_digest(tokenizer: Tokenizer) -> str:
    """SHA-256 of all that decides which ids a text becomes."""
    named = [getattr(tokenizer, name, None) for name in ("chat_template", "bos_id")]
    facts = [tokenizer.to_json(), tokenizer.prefix, tokenizer.eos_ids, *named]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class _Digest:
    """Of a corpus: its pieces' digests, and how each file is read."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, piece: Piece, digest: bytes) -> None:
        kind = b"lines" if piece.of_lines else b"text"
        self._digest.update((kind if piece.begin == 0 else b"more") + digest)

    def hex(self) -> str:
        return self._digest.hexdigest()


def _seen(files: list[Path]) -> str:
    """SHA-256 of what the file system says of files: while it stays, they needn't be read."""
    digest = hashlib.sha256()
    for file in files:
        status = file.stat()
        facts = [os.fspath(file.resolve()), status.st_size, status.st_mtime_ns, of_lines(file)]
        digest.update(json.dumps(facts).encode())
    return digest.hexdigest()


def _unchanged(
    out: Path, made_of: dict[str, str], files: list[Path], any_bytes: bool
) -> TokenFile | None:
    """The token file if it was made of these files with this tokenizer."""
    try:
        there = TokenFile(out)
    except (ModelFormatError, OSError):
        return None
    if there.metadata.get("tokenizer") != made_of["tokenizer"]:
        return None
    if there.metadata.get("seen") != made_of["seen"]:  # moved, or touched, or changed
        digest = _Digest()
        for file in files:
            for piece in pieces(file, any_bytes):
                digest.add(piece, hashlib.sha256(_bytes_of(piece)).digest())
        if there.metadata.get("sources") != digest.hex():
            return None
    return there


def _bytes_of(piece: Piece) -> bytes:
    with piece.path.open("rb") as file:
        file.seek(piece.begin)
        return file.read(piece.end - piece.begin)


def _encoded(
    every: Iterable[Piece], tokenizer: Tokenizer, workers: int
) -> Iterator[tuple[Piece, EncodedPiece]]:
    """The pieces in order, encoded here, or by so many processes."""
    if workers == 1:
        encoder = PieceEncoder(tokenizer)
        for piece in every:
            yield piece, encoder.encode(piece)
        return
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _begin_work, (tokenizer,)
    )
    waiting: deque[tuple[Piece, Future[EncodedPiece]]] = deque()
    try:
        for piece in every:
            with _interrupts_not_inherited():  # a process is started when none is idle
                waiting.append((piece, pool.submit(_work, piece)))
            if len(waiting) >= _WAITING * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()
    except BrokenProcessPool:
        raise OSError("a process that tokenises was ended from outside (out of memory?)") from None
    finally:
        pool.shutdown(cancel_futures=True)


_encoder: PieceEncoder | None = None  # of a process that tokenises


def _begin_work(tokenizer: Tokenizer) -> None:
    global _encoder
    _encoder = PieceEncoder(tokenizer)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Else a process whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(piece: Piece) -> EncodedPiece:
    assert _encoder is not None
    return _encoder.encode(piece)


@contextmanager
def _interrupts_not_inherited() -> Iterator[None]:
    """Processes started here leave Ctrl-C to this one, which ends them, after the block."""
    with interrupts_deferred():
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
