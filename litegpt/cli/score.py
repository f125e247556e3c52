"""`litegpt score`: how much each token of a text surprises a model."""

import argparse
from pathlib import Path
from typing import Any

from litegpt.cli.bar import bar
from litegpt.cli.corpus import read_text
from litegpt.cli.errors import InputError, bad_values, check_backend
from litegpt.cli.evaluate import facts, in_words
from litegpt.cli.generate import add_model, load
from litegpt.cli.output import say, say_json
from litegpt.generation import Evaluation
from litegpt.pictures import (
    label,
    most_surprising,
    one_line,
    print_tinted,
    score_page,
    surprises,
    write_page,
)


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "score",
        help="show how much each token of a text surprises a model",
        description="Reads FILE and measures each token's surprise: minus the base-2 logarithm of "
        "the probability that the model gave it. Prints the most surprising ones, unless told "
        "to show all.",
    )
    parser.add_argument("file", metavar="FILE", help="the text")
    add_model(parser)
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--color", action="store_true", help="print the text, each token tinted by its surprise"
    )
    shown.add_argument(
        "--html",
        type=Path,
        metavar="PAGE",
        default=argparse.SUPPRESS,
        help="write the tinted text as a page; one that is there is replaced",
    )
    shown.add_argument("--json", action="store_true", help="print a JSON object with all tokens")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    check_backend()
    name, text = read_text(arguments.file)
    page = getattr(arguments, "html", None)
    if page and page.exists() and page.samefile(name):
        raise InputError(f"{page}: FILE and PAGE are the same")
    model = load(arguments)
    with bad_values(name):
        with bar("scored") as progress:
            [score] = model.score([text], progress)
        first = 0 if model.tokenizer.prefix else 1  # nothing stands before it to be judged by
        if len(score.ids) <= first:
            raise ValueError("the text must have two tokens or more to be scored")
        found = Evaluation.of(model.tokenizer, score.ids[first:], score.logprobs[first:])
        pieces = surprises(model.tokenizer, score.ids, score.logprobs)
    if arguments.json:
        tokens = [{"text": piece.text, "bits": piece.bits} for piece in pieces]
        say_json(facts(found) | {"pieces": tokens})
    elif arguments.color:
        print_tinted(pieces)
        say(f"{name}: {in_words(found)}")
    elif page:
        with bad_values(name):
            write_page(page, score_page(pieces, f"Surprise: {Path(name).name}", in_words(found)))
        say(f"{page}: open it in a browser")
    else:
        say(f"{name}: {in_words(found)}\nbits  token, after")
        for piece, before in most_surprising(pieces):
            say(f"{piece.bits:4.1f}  {label(piece.text)}  {one_line(before)}")
    return 0
