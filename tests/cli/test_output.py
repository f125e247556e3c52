"""Tables, with rich and without it, and JSON that is JSON."""

import json
import math
import os
import sys
from contextlib import suppress
from types import SimpleNamespace

import pytest

from litegpt.cli import command_parser
from litegpt.cli.output import counted, print_table, say_json
from litegpt.cli.progress import progress
from litegpt.training import TrainConfig

HEADER, ROWS = ["work", "size", "ms"], [["softmax", "2 x 3", "1.25"], ["a", "[red]", "10.5"]]


def test_one_and_many() -> None:
    assert [counted(n, "step") for n in (0, 1, 1.2, 2, 2000)] == [
        "0 steps", "1 step", "1 step", "2 steps", "2,000 steps",
    ]  # fmt: skip


def test_without_rich(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    print_table(HEADER, ROWS, words=2)
    assert capsys.readouterr().out.splitlines() == [
        "work     size     ms",
        "softmax  2 x 3  1.25",
        "a        [red]  10.5",
    ]


def test_with_rich(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich")
    print_table(HEADER, ROWS, words=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [HEADER, ["softmax", "2", "x", "3", "1.25"], ROWS[1]]
    assert lines[0].index("size") == lines[1].index("2 x 3") + 1  # numbers end together


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_lines_for_which_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is to go on without checkpoints goes on without its lines, too."""
    with suppress(OSError), open("/dev/full", "w") as full:  # said once more when it is closed
        monkeypatch.setattr(sys, "stdout", full)
        run = SimpleNamespace(config=TrainConfig(on_save_error="continue"))
        progress().on_notice(run, "a line")
        run.config = TrainConfig(on_save_error="stop")
        with pytest.raises(OSError, match="No space left on device: 'standard output'"):
            progress().on_notice(run, "a line")
    assert sys.stdout is full


def test_what_is_no_number_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    say_json({"loss": math.nan, "pieces": [{"bits": math.inf, "text": "nan"}, 1.5], "of": (3, -1)})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(capsys.readouterr().out, parse_constant=refuse) == {
        "loss": None, "pieces": [{"bits": None, "text": "nan"}, 1.5], "of": [3, -1],
    }  # fmt: skip


def test_help_tells_every_flag_and_no_default_that_is_none() -> None:
    [verbs] = (a.choices for a in command_parser()._actions if isinstance(a.choices, dict))
    for verb, parser in verbs.items():
        told = " ".join(parser.format_help().split())
        for nothing in ("None", "False", "()", "[]"):
            assert f"(default: {nothing})" not in told, verb
        for action in parser._actions:
            assert action.help or action.choices, (verb, action.dest)
    train = " ".join(verbs["train"].format_help().split())
    assert "blocks (default: 4)" in train and "0 is no limit (default: 0)" in train
    assert "(90s, 20m, 1h30m) --" in train  # none is the default
