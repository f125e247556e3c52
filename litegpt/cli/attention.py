"""`litegpt attention`: a page that shows what a model looks at in a text."""

import argparse
from pathlib import Path
from typing import Any

from litegpt.cli.errors import bad_values, check_backend
from litegpt.cli.generate import add_model, load
from litegpt.cli.output import say
from litegpt.pictures import attention_page, write_page


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "attention",
        help="show what each head of a model looks at, on a page",
        description="Writes one HTML page, which needs no network: point at a token of TEXT, and "
        "see what each head of each layer takes from the tokens before it.",
    )
    parser.add_argument("text", metavar="TEXT", help="the text that the model reads")
    add_model(parser)
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="PAGE",
        default=argparse.SUPPRESS,
        help="the page to write; one that is there is replaced",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    check_backend()
    model = load(arguments)
    with bad_values("TEXT"):
        document = attention_page(model, arguments.text)
    write_page(arguments.out, document)
    say(f"{arguments.out}: open it in a browser")
    return 0
