"""`litegpt finetune`: with adapters and without, foretold, resumed, refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file

QUICK = "--batch-size 2 --passes 6 --schedule constant --warmup-steps 0"
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions and answers in the letters that the trained model knows."""
    path = tmp_path_factory.mktemp("examples") / "examples.jsonl"
    lines = [{"prompt": f"{word} ", "completion": "to be\n"} for word in ("that", "is", "not")]
    path.write_text("\n".join(map(json.dumps, 10 * lines)))
    return path


def losses(text: str) -> tuple[float, float]:
    """Before and after, as the command says them."""
    before = text.split("before training: validation loss ")[1].split("\n")[0]
    return float(before), float(text.split("\nvalidation loss ")[1].split()[0])


def test_adapters_are_trained_and_resumed(
    litegpt: Callable, trained: Path, examples: Path, tmp_path: Path
) -> None:
    before = (trained / "model.safetensors").read_bytes()
    flags = (examples, "--model", trained, "--lora", "--lora-r", 2, *QUICK.split())
    flags += ("--learning-rate", 0.05)
    done = litegpt("finetune", *flags, "--out", tmp_path / "whole")
    assert done.returncode == 0, done.stderr
    for said in ("300 tokens in 30 documents", "of them trained", "memory: ", "time: about"):
        assert said in done.stdout
    first, last = losses(done.stdout)
    assert last < first
    assert (trained / "model.safetensors").read_bytes() == before
    out = tmp_path / "whole"
    assert json.loads((out / "adapter_config.json").read_text())["r"] == 2
    assert f"--model {trained} --adapter {out}" in done.stdout
    said = litegpt("generate", "that ", "--model", trained, "--adapter", out, "--temperature", 0)
    assert said.returncode == 0, said.stderr
    steps = json.loads((out / "log.jsonl").read_text().splitlines()[-1])["step"]
    for last_step in (steps // 2, steps):  # in two parts
        part = litegpt("finetune", *flags, "--out", tmp_path / "parts", "--max-steps", last_step)
        assert part.returncode == 0, part.stderr
    assert f"goes on from step {steps // 2}" in part.stdout
    checkpoint = f"checkpoints/step-{steps:06}/{WEIGHTS}"
    whole, parts = load_file(out / checkpoint), load_file(tmp_path / "parts" / checkpoint)
    assert whole.keys() == parts.keys()
    assert all(whole[name].tobytes() == parts[name].tobytes() for name in whole)
    other = litegpt("finetune", *flags, "--out", out, "--lora-r", 3)
    assert other.returncode == 2 and "has r 2, not 3" in other.stderr


def test_all_of_a_model(litegpt: Callable, trained: Path, examples: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = litegpt("finetune", examples, "--model", trained, "--out", out, *QUICK.split(),
                   "--learning-rate", 0.01)  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, last = losses(done.stdout)
    assert last < first - 0.5
    said = litegpt("generate", "that ", "--model", out, "--temperature", 0, "--max-new-tokens", 5)
    assert said.stdout == "that to be\n", said.stderr


def test_frozen_and_recomputed(
    litegpt: Callable, trained: Path, examples: Path, tmp_path: Path
) -> None:
    """Lion moves the head alone; blocks are computed twice, which changes nothing."""
    frozen = [flag for name in ("blocks.*", "*_e*", "final_norm.*") for flag in ("--freeze", name)]
    flags = (examples, "--model", trained, *"--max-steps 2 --optimizer lion".split(), *frozen)
    files = {}
    for name, more in (("kept", ()), ("again", ("--recompute",))):
        done = litegpt("finetune", *flags, *more, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
        files[name] = load_file(tmp_path / name / "checkpoints/step-000002/model.safetensors")
    before = load_file(trained / "model.safetensors")
    for name, array in files["kept"].items():
        assert array.tobytes() == files["again"][name].tobytes(), name
        assert (array.tobytes() == before[name].tobytes()) == (name != "lm_head.weight"), name


def test_mistakes(
    litegpt: Callable, refused: Callable, trained: Path, examples: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"prompt": "is ", "completion": "not"}\n{"prompt": 7, "completion": "is"}\n')
    flags = ("--model", trained, "--out", tmp_path / "out")
    for data, more, named in (
        (wrong, (), [f"{wrong}: line 2", '"prompt" must be a text']),
        (examples, ("--dtype", "q8"), ["--dtype q8 keeps weights that can't be trained"]),
        (examples, ("--lora-alpha", 2), ["--lora-alpha is for --lora"]),
        (examples, ("--lora", "--adapter", "a"), ["--adapter with --lora", "--merge a"]),
        (examples, ("--freeze", "*"), ["freeze * leaves no parameter to train"]),
        (examples, ("--max-seq-len", 9), ["--max-seq-len must be from 1 to the model's 8, not 9"]),
    ):  # fmt: skip
        refused(litegpt("finetune", data, *flags, *more), named)
    assert not (tmp_path / "out").exists()
