"""`litegpt tokenize`: texts turned into tokens once, for many runs."""

import argparse
from pathlib import Path
from typing import Any

from litegpt.cli.corpus import PATHS_HELP, TOKENIZER_HELP, TOKENS, described, find
from litegpt.cli.errors import check_backend
from litegpt.cli.output import say
from litegpt.cli.run_directory import check_replaceable
from litegpt.text.tokenizer_json import CONFIG_NAME, FILE_NAME, GENERATION_NAME

_FILES = {TOKENS, FILE_NAME, CONFIG_NAME, GENERATION_NAME}


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "tokenize",
        help="turn texts into tokens once, for many runs",
        description="Writes the texts as a file of tokens, with their tokenizer beside it: a "
        "directory that `litegpt train` takes as its PATH. What hasn't changed since is kept.",
    )
    parser.add_argument("paths", metavar="PATH", nargs="+", help=PATHS_HELP)
    parser.add_argument("--tokenizer", default="char", metavar="KIND", help=TOKENIZER_HELP)
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="directory for the tokens; new, empty, or of earlier tokens",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    check_backend()
    out: Path = arguments.out
    check_replaceable(out, _FILES, "of earlier tokens")
    sources = find(arguments.paths, arguments.tokenizer, leave_out=out)
    new = not out.exists()
    try:
        documents = sources.documents(out)
    except BaseException:
        if new and out.exists():
            out.rmdir()
        raise
    sources.tokenizer.save(out)
    say(described(sources, documents))
    return 0
