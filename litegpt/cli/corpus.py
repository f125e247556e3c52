"""What commands learn from: files, folders and patterns, or the tokens made of them before."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from litegpt import kernels
from litegpt.cli.bar import bar
from litegpt.cli.errors import InputError, bad_values
from litegpt.cli.output import say
from litegpt.formats import TokenFile
from litegpt.text import TOKENIZERS, ByteTokenizer, Tokenizer, load_tokenizer
from litegpt.text.encoder import alphabet
from litegpt.text.sources import find_sources
from litegpt.training import Corpus, Documents, DocumentWindows, PackedDocuments, tokenize
from litegpt.training.corpus import tokenizer_digest

TOKENS = "tokens.safetensors"
PATHS_HELP = (
    "files, folders or patterns; a file is a text (UTF-8, unless the tokenizer is byte), or, if "
    'its name ends in .jsonl, lines of JSON: "text", "prompt" and "completion", or "messages"'
)
TOKENIZER_HELP = f"text to ids: {', '.join(TOKENIZERS)}, or the directory or file of a tokenizer"


@dataclass(frozen=True)
class Sources:
    """What is learned from: its name, its tokenizer, and documents(directory), its tokens.

    documents writes a token file into the directory where there is none of the same.
    """

    name: str
    tokenizer: Tokenizer
    documents: Callable[[Path], Documents]


def add_data(parser: argparse.ArgumentParser) -> None:
    """Flags that say how documents are read."""
    group = parser.add_argument_group("data")
    group.add_argument(
        "--borders",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="attention stays within a document",
    )
    group.add_argument(
        "--pack",
        action=argparse.BooleanOptionalAction,
        default=argparse.SUPPRESS,
        help="rows of whole documents from their beginnings, not windows from anywhere (default: "
        "where there are prompts or conversations)",
    )


def find(paths: Sequence[str], tokenizer: Tokenizer | str | None, leave_out: Path) -> Sources:
    """What paths lead to, with a tokenizer that suits it, or is named, or given.

    Without paths it is pydoc's topics.

    One path may be a directory that `litegpt tokenize` wrote, which brings its tokenizer.
    leave_out: a directory in which no texts are looked for.
    """
    if not paths:
        text = pydoc_topics()
        chosen = _tokenizer(tokenizer, lambda: text.decode())
        return Sources("pydoc_data", chosen, lambda _: Corpus([chosen.encode(text)]))
    if len(paths) == 1 and (Path(paths[0]) / TOKENS).is_file():
        return _made_before(Path(paths[0]), tokenizer)
    with bad_values():
        any_bytes = tokenizer == ByteTokenizer.kind or isinstance(tokenizer, ByteTokenizer)
        files, passed_over = find_sources(paths, any_bytes, leave_out)
    if passed_over:
        number = len(passed_over)
        what = "a file that isn't text" if number == 1 else f"{number} files that aren't text"
        say(f"passed over: {what} ({passed_over[0]})")
    chosen = _tokenizer(tokenizer, lambda: alphabet(files))

    def documents(directory: Path) -> TokenFile:
        with bad_values(), bar("tokens", in_bytes=True) as progress:
            return tokenize(files, chosen, directory / TOKENS, kernels.num_threads(), progress)

    return Sources(name_of(files), chosen, documents)


def name_of(files: Sequence[Path]) -> str:
    """How files are spoken of."""
    return str(files[0]) if len(files) == 1 else f"{len(files):,} files"


def batches(
    documents: Documents, tokenizer: Tokenizer, window: int, arguments: argparse.Namespace
) -> DocumentWindows | PackedDocuments:
    """The documents as add_data's flags want them read."""
    longest_given = np.diff(documents.given, axis=0).max(initial=0)
    packs = getattr(arguments, "pack", longest_given > len(tokenizer.prefix))
    kind = PackedDocuments if packs else DocumentWindows
    return kind(documents, window, arguments.borders)


def described(sources: Sources, documents: Documents) -> str:
    """`hamlet.txt: 1,290 tokens (17 different, char)`"""
    number = len(documents.borders) - 1
    of = f" in {number:,} documents" if number > 1 else ""
    tokenizer = sources.tokenizer
    return (
        f"{sources.name}: {len(documents.ids):,} tokens{of} "
        f"({tokenizer.vocab_size} different, {tokenizer.kind})"
    )


def read_text(file: str) -> tuple[str, bytes]:
    """The name and content of one file, whole."""
    path = Path(file)
    if path.is_dir():
        raise InputError(f"{path}: a directory; a text file is needed")
    text = path.read_bytes()
    if not text:
        raise InputError(f"{path}: empty")
    return file, text


def pydoc_topics() -> bytes:
    """A text that every Python carries, or nearly so."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise InputError("this Python carries no pydoc_data to learn from: name a PATH") from None
    return "\n".join(topics[name] for name in sorted(topics)).encode()


def _tokenizer(kind: Tokenizer | str | None, text: Callable[[], str]) -> Tokenizer:
    """The tokenizer of a kind (char by default) that suits a text, or the one at a path."""
    kind = kind or "char"
    if not isinstance(kind, str):
        return kind
    if kind == ByteTokenizer.kind:
        return ByteTokenizer()
    if kind in TOKENIZERS:
        with bad_values():
            return TOKENIZERS[kind].from_text(text())
    if not Path(kind).exists():
        raise InputError(f"--tokenizer {kind}: no such path, nor one of {', '.join(TOKENIZERS)}")
    with bad_values("--tokenizer"):
        return load_tokenizer(kind)


def _made_before(directory: Path, tokenizer: Tokenizer | str | None) -> Sources:
    if isinstance(tokenizer, str):
        raise InputError(f"{directory}: holds tokens and their tokenizer; leave --tokenizer out")
    with bad_values():
        file, beside = TokenFile(directory / TOKENS), tokenizer or load_tokenizer(directory)
    if file.metadata.get("tokenizer") != tokenizer_digest(beside):
        other = "the model's" if tokenizer else "is there"
        raise InputError(f"{directory}: its tokens were made with another tokenizer than {other}")
    return Sources(str(directory), beside, lambda _: file)
