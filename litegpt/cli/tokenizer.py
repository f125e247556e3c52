"""`litegpt tokenizer`: a tokenizer learned from texts."""

import argparse
from pathlib import Path
from typing import Any

from litegpt.cli.corpus import PATHS_HELP, name_of
from litegpt.cli.errors import bad_values
from litegpt.cli.output import say
from litegpt.cli.run_directory import check_replaceable
from litegpt.text import BytePairTokenizer
from litegpt.text.encoder import texts
from litegpt.text.sources import find_sources

_FILES = {"tokenizer.json", "tokenizer_config.json", "generation_config.json"}


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser("tokenizer", help="learn a tokenizer from texts")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    train = actions.add_parser(
        "train",
        help="learn a byte-level byte-pair encoding",
        description="Learns from texts which bytes stand together most often, and writes a "
        "tokenizer that `litegpt train --tokenizer DIR` takes, and so do transformers and "
        "tokenizers.",
    )
    train.add_argument("paths", metavar="PATH", nargs="+", help=PATHS_HELP)
    train.add_argument(
        "--vocab-size", type=int, default=1024, metavar="N", help="tokens, from 257 to 524288"
    )
    train.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="directory for the tokenizer; new, empty, or a tokenizer's, which is replaced",
    )
    train.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    out: Path = arguments.out
    check_replaceable(out, _FILES, "a tokenizer's")
    with bad_values(flags=arguments):
        files, _ = find_sources(arguments.paths, leave_out=out)
        tokenizer = BytePairTokenizer.from_texts(texts(files), arguments.vocab_size)
        size = tokens = 0
        for text in texts(files):
            size += len(text.encode())
            tokens += len(tokenizer.encode(text))
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(out)
    each = f", {size / tokens:.2f} bytes each" if tokens else ""
    say(
        f"{name_of(files)}: {size:,} bytes are {tokens:,} tokens of "
        f"{tokenizer.vocab_size} different{each}"
    )
    return 0
