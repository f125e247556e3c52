"""`litegpt tokenizer`: a tokenizer learned from a text."""

import argparse
from pathlib import Path
from typing import Any

from litegpt.cli.corpus import read_text
from litegpt.cli.errors import InputError, bad_values
from litegpt.cli.output import say
from litegpt.text import SubwordTokenizer

_FILES = {"tokenizer.json", "tokenizer_config.json"}


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser("tokenizer", help="learn a tokenizer from a text file")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    train = actions.add_parser(
        "train",
        help="learn a byte-level byte-pair encoding",
        description="Learns from FILE which bytes stand together most often, and writes a "
        "tokenizer that `litegpt train --tokenizer DIR` takes, and so do transformers and "
        "tokenizers.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    train.add_argument("file", metavar="FILE", help="the text, UTF-8")
    train.add_argument(
        "--vocab-size", type=int, default=1024, metavar="N", help="tokens, 257 or more"
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
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: a file; --out needs a directory")
    if out.exists() and (foreign := {path.name for path in out.iterdir()} - _FILES):
        raise InputError(
            f"{out}: holds something else ({min(foreign)}); "
            "--out needs a directory that is new, empty, or a tokenizer's"
        )
    name, text = read_text(arguments.file)
    with bad_values(name, flags=arguments):
        tokenizer = SubwordTokenizer.from_text(text, arguments.vocab_size)
        tokens = len(tokenizer.encode(text))
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(out)
    say(
        f"{name}: {len(text):,} bytes are {tokens:,} tokens of {tokenizer.vocab_size} different, "
        f"{len(text) / tokens:.2f} bytes each"
    )
    return 0
