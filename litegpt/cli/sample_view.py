"""`litegpt sample-view`: the next token's distribution, and what each sampling rule removes."""

import argparse
import shutil
from typing import Any

from litegpt.cli.errors import bad_values, check_backend
from litegpt.cli.generate import add_model, add_rules, load
from litegpt.cli.output import say
from litegpt.generation import Sampling
from litegpt.pictures import NextToken, bars, one_line

_TAIL = 40  # characters of the prompt that are repeated


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "sample-view",
        help="show how likely the next tokens are, and what sampling leaves of them",
        description="Shows what could follow PROMPT as bars: how likely the model holds each "
        "token, how likely it is at this temperature (at T), and with which probability it is "
        "drawn, or which filter removes it.",
    )
    parser.add_argument("prompt", metavar="PROMPT", help="the text before the next token")
    add_model(parser)
    add_rules(parser)
    parser.add_argument("--rows", type=int, default=20, metavar="N", help="tokens to show")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    check_backend()
    with bad_values(flags=arguments):
        if arguments.rows < 1:
            raise ValueError(f"rows must be an integer from 1 on, not {arguments.rows}")
        sampling = Sampling(
            arguments.temperature, arguments.top_k, arguments.top_p, arguments.min_p
        )
    model = load(arguments)
    with bad_values("PROMPT"):
        ids = model.ids(arguments.prompt)
        if not len(ids):
            raise ValueError("the text must have a token or more")
    logits = model.model.next_logits(ids[-model.model.max_seq_len :])[0]
    settings = sampling.kernel_arguments(len(logits))
    with bad_values(str(arguments.model)):
        found = NextToken.of(logits, *settings)
    prompt = one_line(arguments.prompt)
    say(f"after {prompt if len(prompt) <= _TAIL else '…' + prompt[-_TAIL:]}")
    for line in bars(found, model.tokenizer, arguments.rows, shutil.get_terminal_size().columns):
        say(line)
    say(in_words(found, *settings))
    return 0


def in_words(found: NextToken, temperature: float, top_k: int, top_p: float, min_p: float) -> str:
    """What each rule that is on leaves of the tokens, and their probability after temperature."""
    if temperature == 0:
        return "temperature 0 always takes the likeliest"
    rules = (("top-k", top_k, 0), ("top-p", top_p, 1), ("min-p", min_p, 0))
    words = [
        f"{name} {value:g} leaves {left:,} ({100 * found.warm[:left].sum():.1f} %)"
        for (name, value, off), left in zip(rules, found.left, strict=True)
        if value != off
    ]
    begins = f"temperature {temperature:g} of {len(found.ids):,} tokens"
    return "; ".join([begins, *words])
