"""`litegpt chat`: a conversation with a model."""

import argparse
import sys
from typing import Any

from litegpt.cli.errors import InputError, bad_values, check_backend
from litegpt.cli.generate import add_model, add_sampling, load, sampling
from litegpt.cli.output import say, write
from litegpt.generation import Chat

_HELP = "/reset begins anew, /system TEXT says how to answer, /quit ends; Ctrl-C ends an answer"


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "chat",
        help="talk with a model",
        description=f"A conversation, line by line, by the model's own chat template. {_HELP}.",
    )
    add_model(parser, default=None, required=True)
    parser.add_argument(
        "--system", metavar="TEXT", default=argparse.SUPPRESS, help="how the model is to answer"
    )
    parser.add_argument(
        "--max-new-tokens", type=int, default=512, metavar="N", help="tokens in an answer"
    )
    add_sampling(parser)
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        default=argparse.SUPPRESS,
        help="makes the answers repeatable",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    check_backend()
    model = load(arguments)
    with bad_values(str(arguments.model), flags=arguments):
        chat = Chat(
            model,
            getattr(arguments, "system", None),
            max_new_tokens=arguments.max_new_tokens,
            seed=getattr(arguments, "seed", None),
            **sampling(arguments),
        )
    watched = sys.stdin is not None and sys.stdin.isatty()
    if watched:
        import readline  # noqa: F401  # gives input() its history and keys

        say(_HELP)
    with model.model.packed_weights():  # once, not for every answer
        while True:
            try:
                line = input("> " if watched else "").strip()
            except EOFError:
                if watched:
                    write("\n")
                return 0
            except KeyboardInterrupt:
                write("\n")
                if not watched:
                    raise
                continue
            if line == "/quit":
                return 0
            if not line:
                continue
            try:
                _turn(chat, line, arguments)
            except InputError as error:
                if not watched:
                    raise
                say(f"({error})")  # a text that is too long ends no conversation


def _turn(chat: Chat, line: str, arguments: argparse.Namespace) -> None:
    """What one line asks for."""
    command, _, rest = line.partition(" ")
    if command == "/reset":
        chat.reset(chat.system)
        say("(forgotten)")
    elif command == "/system":
        chat.reset(rest.strip() or None)
        say("(begun anew)")
    elif command.startswith("/"):
        say(_HELP)
    else:
        with bad_values(flags=arguments):
            pieces = chat.say(line)
            try:
                for piece in pieces:
                    write(piece)
            except KeyboardInterrupt:
                pass  # it ends the answer, not the conversation
            finally:
                pieces.close()  # type: ignore[attr-defined]  # a generator
                write("\n")
