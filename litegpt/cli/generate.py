"""`litegpt generate`: a prompt continued by a model."""

import argparse
from pathlib import Path
from typing import Any

from litegpt import box
from litegpt.cli.errors import InputError, bad_values, check_backend
from litegpt.cli.output import write
from litegpt.formats.quant import FORMATS
from litegpt.generation import TextModel
from litegpt.nn.frozen import FrozenParameter
from litegpt.text import Tokenizer

_START = "\n"  # where a text begins when there is no prompt


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "generate",
        help="continue a prompt with a model",
        description="Continues PROMPT (or starts afresh) with a model; the text comes as it is "
        "made, ends after --max-new-tokens, and is the same again for the same --seed.",
    )
    parser.add_argument(
        "prompt",
        nargs="?",
        metavar="PROMPT",
        default=argparse.SUPPRESS,
        help="text to continue; without it, or empty, the text starts on a new line",
    )
    add_model(parser)
    parser.add_argument(
        "--max-new-tokens", type=int, default=200, metavar="N", help="tokens to add"
    )
    parser.add_argument(
        "--stop",
        action="append",
        metavar="TEXT",
        default=[],
        help="end before this text; may be given several times",
    )
    add_sampling(parser)
    parser.add_argument(
        "--seed", type=int, metavar="N", default=argparse.SUPPRESS, help="makes the text repeatable"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    check_backend()
    model = load(arguments)
    prompt = getattr(arguments, "prompt", "")
    with bad_values("PROMPT"):
        ids = model.ids(prompt or _start_of(model.tokenizer))
    with bad_values(flags=arguments):
        pieces = model.stream(
            ids,
            stop=arguments.stop,
            echo=bool(prompt),
            max_new_tokens=arguments.max_new_tokens,
            seed=getattr(arguments, "seed", None),
            **sampling(arguments),
        )
    try:
        with bad_values(str(arguments.model)):  # weights that give no probabilities
            for piece in pieces:
                write(piece)
    finally:
        write("\n")
    return 0


_RULES = (
    ("--temperature", float, 0.8, "X", "0 is always the likeliest token"),
    ("--top-k", int, 50, "K", "of the K likeliest tokens; 0 is all"),
    ("--top-p", float, 1.0, "P", "of the likeliest that make up P"),
    ("--min-p", float, 0.0, "P", "of those with P of the likeliest one's probability"),
)


def add_rules(parser: argparse.ArgumentParser) -> None:
    """The flags of the rules of sampling."""
    for flag, kind, default, letter, help_text in _RULES:
        parser.add_argument(flag, type=kind, default=default, metavar=letter, help=help_text)


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """The flags of how a token is chosen."""
    add_rules(parser)
    for flag, kind, default, letter, help_text in (
        ("--repetition-penalty", float, 1.0, "X", "above 1: away from what was said"),
        ("--speculate", int, 0, "N", "guess N tokens from the text; the result is the same"),
    ):
        parser.add_argument(flag, type=kind, default=default, metavar=letter, help=help_text)


def sampling(arguments: argparse.Namespace) -> dict[str, Any]:
    """What add_sampling's flags say, as options of generation."""
    names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "speculate")
    return {name: getattr(arguments, name) for name in names}


def add_model(
    parser: argparse.ArgumentParser, default: str | None = box.NAME, required: bool = False
) -> None:
    """The flags of which model is read, and how."""
    parser.add_argument(
        "--model",
        required=required,
        type=Path,
        metavar="PATH",
        default=argparse.SUPPRESS if default is None else Path(default),
        help="a directory (of `litegpt train`, of transformers), a GGUF file, owner/name, or "
        f"{box.NAME}: a small model that comes with litegpt",
    )
    parser.add_argument(
        "--dtype",
        choices=list(FORMATS),
        default=argparse.SUPPRESS,
        help="how weights are kept in memory (default: float32, but 8-, 5- and 4-bit blocks of a "
        "GGUF file as they are); fewer bits are faster and less exact",
    )
    parser.add_argument(
        "--adapter",
        type=Path,
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="LoRA adapters (of `litegpt finetune --lora`, of PEFT) that the model is to have",
    )


def load(arguments: argparse.Namespace) -> TextModel:
    """The model and its tokenizer, for inference alone: one copy of the weights, packed once."""
    made = load_to_train(arguments)
    if not any(isinstance(p, FrozenParameter) for p in made.model.parameters()):
        with bad_values(str(arguments.model)):
            made.model.quantize("float32")
    return made


def load_to_train(arguments: argparse.Namespace) -> TextModel:
    """The same, its weights as they are; InputError in one line for whatever is wrong with them."""
    path = box.find(arguments.model)
    with bad_values():
        try:
            return TextModel.from_pretrained(
                path, getattr(arguments, "dtype", None), getattr(arguments, "adapter", None)
            )
        except ValueError as error:
            if any(str(p) in str(error) for p in (path, getattr(arguments, "adapter", path))):
                raise
            raise InputError(f"{path}: {error}") from error


def _start_of(tokenizer: Tokenizer) -> str:
    """The newline if the tokenizer knows it, else the first thing that it knows."""
    try:
        tokenizer.encode(_START)
    except ValueError:
        return tokenizer.decode([0])
    return _START
