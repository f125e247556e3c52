"""`litegpt info`, `--version`, `--help`, and commands that aren't there."""

import json
import platform
from pathlib import Path

import pytest

import litegpt as package
from litegpt import CharTokenizer, GPTModel, kernels


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
    assert facts["multiplies_bfloat16"] is package.kernels.multiplies_bfloat16()


def test_info_in_words(litegpt) -> None:
    done = litegpt("info", LITEGPT_BACKEND="numpy")
    assert done.returncode == 0, done.stderr
    assert "numpy (LITEGPT_BACKEND names it)" in done.stdout
    assert "BLAS       used, " in done.stdout
    assert "--precision bfloat16 is no faster\n" in done.stdout
    assert f"litegpt    {package.__version__}\n" in done.stdout


def test_the_compiled_rungs_use_no_blas(litegpt, compiled) -> None:
    done = litegpt("info", LITEGPT_BACKEND=compiled)
    assert f"backend    {compiled} (LITEGPT_BACKEND names it)" in done.stdout
    assert "BLAS       not used" in done.stdout


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    tokenizer = CharTokenizer.from_text("abcdefgh")
    GPTModel(tokenizer.vocab_size, 16, 2, 2, 32, seed=0).save_pretrained(directory)
    tokenizer.save(directory)
    return directory


def test_a_model_and_what_rounding_its_weights_has_missed(litegpt, model) -> None:
    done = litegpt("info", "--model", model, "--dtype", "q4", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)["model"]
    made = GPTModel.from_pretrained(model, dtype="q4")
    errors = {n: p.error for n, p in made.named_parameters() if hasattr(p, "error")}
    assert (facts["parameters"], facts["bytes"]) == (made.get_num_parameters(), made.nbytes)
    assert sum(kept["bytes"] for kept in facts["formats"].values()) == made.nbytes
    kept = facts["formats"]["q4"]
    assert kept["arrays"] == len(errors)
    assert kept["largest_error"] == errors[kept["worst"]] == max(errors.values())
    assert 0.03 < min(errors.values()) <= kept["error"] <= kept["largest_error"] < 0.09
    words = litegpt("info", "--model", model, "--dtype", "q4").stdout
    assert f"{kept['largest_error']:.2%} in {kept['worst']}\n" in words
    plain = json.loads(litegpt("info", "--model", model, "--json").stdout)["model"]
    assert plain["formats"]["float32"]["largest_error"] == 0


def test_a_dtype_without_a_model(litegpt, refused) -> None:
    refused(litegpt("info", "--dtype", "q8"), ["--dtype", "--model"])


def test_an_absent_backend(litegpt, refused) -> None:
    refused(litegpt("info", LITEGPT_BACKEND="abacus"), ["abacus", "available: numpy"])


@pytest.mark.skipif(kernels.native_error is not None, reason="NumPy has threads of its own")
def test_threads_that_can_not_be(litegpt, refused) -> None:
    done = litegpt("generate", "a", LITEGPT_NUM_THREADS="0")
    refused(done, ["error: LITEGPT_NUM_THREADS", "1 to 1024", "'0'"])


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
