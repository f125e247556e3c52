"""`litegpt estimate`: what a model takes, for configurations, directories and GGUF files."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from litegpt import GPTModel
from litegpt.cli import estimate, main
from litegpt.cli.machine import memory_available
from litegpt.models.gguf_export import save_gguf

QUICK = ("--batch-size", 2, "--max-steps", 100)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    made = GPTModel(64, 32, 2, 2, 64, seed=0, norm="rmsnorm", position="rotary",
                    activation="swiglu", bias=False)  # fmt: skip
    made.save_pretrained(tmp_path / "model")
    save_gguf(made, tmp_path / "model.gguf", "q8", {})
    return tmp_path / "model"


def test_a_directory_and_its_configuration(litegpt: Callable, model: Path) -> None:
    parameters = GPTModel.from_pretrained(model).get_num_parameters()
    done = litegpt("estimate", model, *QUICK, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["parameters"] == facts["trained"] == parameters
    training, generation = facts["training"], facts["generation"]
    assert (training["weights"], training["gradients"], training["moments"]) == (
        4 * parameters, 4 * parameters, 8 * parameters,
    )  # fmt: skip
    assert training["total"] == sum(
        training[part] for part in ("weights", "gradients", "moments", "activations")
    )
    assert training["tokens_per_s"] > 0 and generation["tokens_per_s"] > 0
    assert training["seconds"] == pytest.approx(2 * 32 * 100 / training["tokens_per_s"])
    done = litegpt("estimate", model / "config.json", *QUICK)
    assert done.returncode == 0, done.stderr
    for said in (f"parameters: {parameters:,}", "tokens/s", "100 steps (6,400 tokens)"):
        assert said in done.stdout
    timed = litegpt("estimate", model, "--batch-size", 2, "--max-time", "1m", "--json")
    training = json.loads(timed.stdout)["training"]
    assert training["steps"] == int(60 * training["tokens_per_s"] / 64)
    assert training["seconds"] == pytest.approx(60, rel=0.01)


def test_adapters_over_a_gguf_file(litegpt: Callable, model: Path) -> None:
    whole = json.loads(litegpt("estimate", model, *QUICK, "--json").stdout)
    flags = ("--lora", "--lora-r", 2, "--lora-targets", "q_proj", "--json")
    done = litegpt("estimate", model.with_suffix(".gguf"), *QUICK, *flags)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["trained"] == 2 * 2 * (64 + 64)
    assert facts["training"]["moments"] == 8 * facts["trained"]
    assert facts["training"]["total"] < whole["training"]["total"]
    assert facts["generation"]["weights"] < 0.5 * whole["generation"]["weights"]


def test_what_does_not_fit_is_not_measured(litegpt: Callable, tmp_path: Path) -> None:
    config = {"model_type": "gpt2", "n_layer": 2, "n_embd": 8192, "n_head": 64,
              "vocab_size": 1000, "n_positions": 65536}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = litegpt("estimate", tmp_path / "config.json", "--batch-size", 1000)
    assert done.returncode == 0, done.stderr
    assert "doesn't fit into memory" in done.stdout and "tokens/s" not in done.stdout


def test_mistakes(litegpt: Callable, refused: Callable, model: Path) -> None:
    refused(litegpt("estimate", model / "other"), [str(model / "other")])
    for flags, named in (
        (("--lora", "--lora-targets", "nothing"), ["no dense layer is called 'nothing'", "q_proj"]),
        (("--freeze", "*"), ["freeze * leaves no parameter to train"]),
        (("--max-seq-len", 33), ["--max-seq-len must be from 1 to the model's 32, not 33"]),
    ):
        refused(litegpt("estimate", model, *flags), named)


def test_more_layers_than_can_be_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even without numbers in them they take memory."""
    monkeypatch.setattr(estimate, "memory_available", lambda: 10**9)
    config = {"model_type": "gpt2", "n_layer": 20_000, "n_embd": 8, "n_head": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert main(["estimate", str(tmp_path / "config.json")]) == 2
    said = capsys.readouterr().err
    assert said.endswith("config.json: 20,000 layers are too many for this machine\n")


def test_files_in_memory_are_no_memory_that_is_taken(tmp_path) -> None:
    """In a control group of 4 GB they may fill nearly all of it."""
    (tmp_path / "meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n")
    assert memory_available(tmp_path / "meminfo", tmp_path) == 8_000_000 * 1024
    for name, content in {
        "memory.max": "4000000000",
        "memory.current": "3900000000",
        "memory.stat": "anon 800000000\ninactive_file 2000000000\nactive_file 1000000000",
    }.items():
        (tmp_path / name).write_text(f"{content}\n")
    assert memory_available(tmp_path / "meminfo", tmp_path) == 3_100_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_available(tmp_path / "meminfo", tmp_path) == 8_000_000 * 1024
