"""`litegpt report`: a page about a training run."""

import argparse
from pathlib import Path
from typing import Any

from litegpt.cli.errors import bad_values
from litegpt.cli.output import say
from litegpt.cli.run_directory import REPORT
from litegpt.pictures import run_page, write_page


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "report",
        help="show how a training run went, on a page",
        description="Writes one HTML page, which needs no network, about the run in DIR: what can "
        "be said of it in words, its curves, what the model wrote meanwhile, settings and data. "
        "The run may still be going on.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="what litegpt train filled")
    parser.add_argument(
        "--out", type=Path, metavar="PAGE", help="the page to write (default: DIR/report.html)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    with bad_values():
        document, findings = run_page(arguments.directory)
    out = arguments.out or arguments.directory / REPORT
    write_page(out, document)
    for finding in findings:
        say(finding)
    say(f"{out}: open it in a browser")
    return 0
