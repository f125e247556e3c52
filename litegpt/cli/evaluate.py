"""`litegpt eval`: how well a model foretells a text."""

import argparse
from typing import Any

from litegpt.cli.bar import bar
from litegpt.cli.corpus import read_text
from litegpt.cli.errors import bad_values, check_backend
from litegpt.cli.generate import add_model, load
from litegpt.cli.output import counted, say, say_json
from litegpt.generation import Evaluation, evaluate


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "eval",
        help="measure how well a model foretells a text",
        description="Loss (nats per token), perplexity and bits per byte of FILE. A file longer "
        "than the context is read in windows; each token is scored once.",
    )
    parser.add_argument("file", metavar="FILE", help="the text")
    add_model(parser)
    parser.add_argument(
        "--context", type=int, metavar="N", help="tokens in a window (default: what the model has)"
    )
    parser.add_argument(
        "--stride",
        type=int,
        metavar="N",
        help="tokens from a window to the next (default: half the context); fewer take longer",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    check_backend()
    name, text = read_text(arguments.file)
    model = load(arguments)
    with bad_values(name), bar("scored") as progress:
        found = evaluate(
            model.model, model.tokenizer, text, arguments.context, arguments.stride, progress
        )
    if arguments.json:
        say_json(facts(found))
    else:
        say(f"{name}: {in_words(found)}")
    return 0


def facts(found: Evaluation) -> dict[str, float]:
    """As --json prints them."""
    return {
        "tokens": found.tokens,
        "bytes": found.bytes,
        "loss": found.loss,
        "perplexity": found.perplexity,
        "bits_per_byte": found.bits_per_byte,
    }


def in_words(found: Evaluation) -> str:
    return (
        f"{counted(found.tokens, 'token')} scored; loss {found.loss:.4f}, "
        f"perplexity {found.perplexity:.3f}, {found.bits_per_byte:.4f} bits per byte"
    )
