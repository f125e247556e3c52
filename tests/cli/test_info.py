"""`litegpt info`, `--version`, `--help`, and commands that aren't there."""

import json
import platform

import pytest

import litegpt as package


def test_info_as_json(litegpt) -> None:
    done = litegpt("info", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["version"] == package.__version__
    assert facts["backend"] == package.backend()
    assert facts["backends"] == package.available_backends()
    assert facts["threads"] >= 1
    assert facts["python"] == platform.python_version()
    assert facts["processor"]


def test_info_in_words(litegpt) -> None:
    done = litegpt("info", LITEGPT_BACKEND="numpy")
    assert done.returncode == 0, done.stderr
    assert "numpy (LITEGPT_BACKEND names it)" in done.stdout
    assert "BLAS       used, " in done.stdout
    assert f"litegpt    {package.__version__}\n" in done.stdout


def test_the_compiled_rungs_use_no_blas(litegpt, compiled) -> None:
    done = litegpt("info", LITEGPT_BACKEND=compiled)
    assert f"backend    {compiled} (LITEGPT_BACKEND names it)" in done.stdout
    assert "BLAS       not used" in done.stdout


def test_an_absent_backend(litegpt, refused) -> None:
    refused(litegpt("info", LITEGPT_BACKEND="abacus"), ["abacus", "available: numpy"])


def test_version(litegpt) -> None:
    assert litegpt("--version").stdout == f"litegpt {package.__version__}\n"


@pytest.mark.parametrize("command", [[], ["train"], ["generate"], ["info"], ["bench"]])
def test_help(litegpt, command) -> None:
    done = litegpt(*command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(" ".join(["usage: litegpt", *command]))


@pytest.mark.parametrize("command", [[], ["fly"], ["info", "more"]])
def test_commands_that_are_not_there(litegpt, command, refused) -> None:
    refused(litegpt(*command), ["--help"])
