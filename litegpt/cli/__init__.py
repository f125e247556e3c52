"""The command line: `litegpt VERB ...`, one file per verb."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Any, NoReturn, TextIO

BAD_INPUT = 2  # exit codes
INTERRUPTED = 130  # as shells report a program that Ctrl-C ended
BROKEN_PIPE = 141  # as shells report a program whose reader went away


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code. What the user did wrong is one line on stderr."""
    sys.stdout, sys.stderr = _open(sys.stdout), _open(sys.stderr)
    warnings.formatwarning = _warning
    try:
        code = _run(argv)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        from litegpt.cli.output import discard_stdout

        discard_stdout()  # which the interpreter flushes once more on its way out
        return BROKEN_PIPE


def _run(argv: Sequence[str] | None) -> int:
    from litegpt.cli.errors import InputError
    from litegpt.text import MissingExtraError

    arguments = command_parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (InputError, MissingExtraError) as error:
        problem = str(error)
    except MemoryError as error:
        problem = f"out of memory: {error}" if str(error) else "out of memory"
    except BrokenPipeError:
        raise
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    print(f"litegpt: error: {problem}", file=sys.stderr)
    return BAD_INPUT


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str | None:
        """With the default, unless it is that there is nothing."""
        nothing = action.default is None or action.default is False or action.default in ((), [])
        return action.help if nothing else super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """Of `litegpt` and, as argparse has it, of all its verbs."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": _Help} | options)

    def error(self, message: str) -> NoReturn:
        """One line, without the usage that argparse puts before it."""
        self.exit(BAD_INPUT, f"litegpt: error: {message} (see {self.prog} --help)\n")


def command_parser() -> argparse.ArgumentParser:
    """What `litegpt` understands: a parser whose result has `run`."""
    # Imported here, within reach of Ctrl-C's handling in main.
    from litegpt.cli import (
        attention,
        bench,
        chat,
        convert,
        estimate,
        evaluate,
        finetune,
        generate,
        info,
        report,
        sample_view,
        score,
        tokenize,
        tokenizer,
        train,
    )

    parser = _parser()
    verbs = parser.add_subparsers(metavar="COMMAND", required=True)
    for verb in (
        train,
        finetune,
        estimate,
        report,
        tokenizer,
        tokenize,
        generate,
        chat,
        evaluate,
        score,
        attention,
        sample_view,
        convert,
        info,
        bench,
    ):
        verb.add_parser(verbs)
    return parser


def _parser() -> argparse.ArgumentParser:
    from litegpt import __version__

    parser = _Parser(
        prog="litegpt", description="Trains GPTs, runs them, and shows what they do, on a CPU."
    )
    parser.add_argument("--version", action="version", version=f"litegpt {__version__}")
    return parser


def _warning(message: Warning | str, *where: object, **line: object) -> str:
    """One line, without the place in the program that Python puts around it."""
    return f"litegpt: warning: {message}\n"


def _open(stream: TextIO | None) -> TextIO:
    """The stream, or one that goes nowhere: a program may be started with stdout closed.

    What can't be written in its encoding (in a terminal of few characters; the name of a file that
    isn't UTF-8) is replaced, unless it is escaped, as stderr does.
    """
    if isinstance(stream, TextIOWrapper) and stream.errors != "backslashreplace":
        stream.reconfigure(errors="replace")
    return open(os.devnull, "w") if stream is None else stream
