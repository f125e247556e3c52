"""`litegpt generate`: a prompt continued by a model."""

import argparse
import sys
from pathlib import Path
from typing import Any

from litegpt import generation
from litegpt.cli.errors import InputError, bad_values, check_backend
from litegpt.models import GPTModel
from litegpt.text import StreamDecoder, Tokenizer, load_tokenizer

_START = "\n"  # where a text begins when there is no prompt


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "generate",
        help="continue a prompt with a model",
        description="Continues PROMPT (or starts afresh) with a model; the text comes as it is "
        "made, ends after --max-new-tokens, and is the same again for the same --seed.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "prompt",
        nargs="?",
        metavar="PROMPT",
        default=argparse.SUPPRESS,
        help="text to continue; without it, or empty, the text starts on a new line",
    )
    parser.add_argument(
        "--model",
        required=True,
        type=Path,
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="directory that `litegpt train` has made",
    )
    parser.add_argument(
        "--max-new-tokens", type=int, default=200, metavar="N", help="tokens to add"
    )
    parser.add_argument(
        "--temperature",
        type=float,
        default=0.8,
        metavar="X",
        help="0 is always the likeliest token",
    )
    parser.add_argument(
        "--top-k", type=int, default=50, metavar="K", help="of the K likeliest tokens; 0 is all"
    )
    parser.add_argument(
        "--top-p", type=float, default=1.0, metavar="P", help="of the likeliest that make up P"
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", default=argparse.SUPPRESS, help="makes the text repeatable"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    check_backend()
    model, tokenizer = load(arguments.model)
    with bad_values("PROMPT"):
        prompt = getattr(arguments, "prompt", "")
        ids = tokenizer.encode(prompt or _start_of(tokenizer))
    with bad_values(flags=arguments):
        tokens = generation.stream(
            model,
            ids,
            arguments.max_new_tokens,
            arguments.temperature,
            arguments.top_k,
            arguments.top_p,
            getattr(arguments, "seed", None),
        )
    decoder = StreamDecoder(tokenizer)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # in a terminal of few characters
    try:
        if prompt:
            _write("".join(map(decoder.feed, ids.tolist())))
        with bad_values(str(arguments.model)):  # weights that give no probabilities
            for token in tokens:
                _write(decoder.feed(int(token[0])))
        _write(decoder.flush())
    finally:
        _write("\n")
    return 0


def load(directory: Path) -> tuple[GPTModel, Tokenizer]:
    """The model and its tokenizer; InputError in one line for whatever is wrong with them."""
    if not directory.is_dir():
        raise InputError(f"{directory}: {'not a' if directory.exists() else 'no such'} directory")
    with bad_values():
        model, tokenizer = GPTModel.from_pretrained(directory), load_tokenizer(directory)
    if tokenizer.vocab_size != model.vocab_size:
        raise InputError(
            f"{directory}: the model has {model.vocab_size} tokens, "
            f"its tokenizer.json {tokenizer.vocab_size}"
        )
    return model, tokenizer


def _start_of(tokenizer: Tokenizer) -> str:
    """The newline if the tokenizer knows it, else the first thing that it knows."""
    try:
        tokenizer.encode(_START)
    except ValueError:
        return tokenizer.decode([0])
    return _START


def _write(text: str) -> None:
    if text:
        sys.stdout.write(text)
        sys.stdout.flush()
