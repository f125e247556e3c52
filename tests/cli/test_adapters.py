"""Adapters on the command line: generated with, evaluated with, merged."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from litegpt import GPTModel, LoRAConfig, add_lora, load_lora, merge_lora, save_lora


@pytest.fixture
def adapter(trained: Path, tmp_path: Path) -> Path:
    """Adapters that change what the trained model says."""
    model = GPTModel.from_pretrained(trained)
    add_lora(model, LoRAConfig(r=2), seed=0)
    rng = np.random.default_rng(1)
    for name, parameter in model.named_parameters():
        if name.endswith(".b"):
            parameter.data = rng.standard_normal(parameter.shape)
    save_lora(model, tmp_path / "adapter", str(trained))
    return tmp_path / "adapter"


def test_merged_is_the_model_with_its_adapter(
    litegpt: Callable, trained: Path, adapter: Path, text_file: Path, tmp_path: Path
) -> None:
    done = litegpt("convert", trained, tmp_path / "merged", "--merge", adapter)
    assert done.returncode == 0, done.stderr
    wanted = GPTModel.from_pretrained(trained)
    load_lora(wanted, adapter)
    merge_lora(wanted)
    merged = GPTModel.from_pretrained(tmp_path / "merged")
    np.testing.assert_array_equal(merged([1, 2, 3, 4]), wanted([1, 2, 3, 4]))

    def said(*flags: object) -> tuple[str, str]:
        texts = [
            litegpt("generate", "To be", "--seed", 1, "--max-new-tokens", 40, *flags),
            litegpt("eval", text_file, *flags),
        ]
        assert not any(done.returncode for done in texts), texts
        return texts[0].stdout, texts[1].stdout

    plain = said("--model", trained)
    together = said("--model", trained, "--adapter", adapter)
    assert together == said("--model", tmp_path / "merged")
    assert together[0] != plain[0] and together[1] != plain[1]
    short = litegpt("eval", text_file, "--model", trained, "--adapter", adapter, "--dtype", "q8")
    assert short.returncode == 0, short.stderr


def test_what_is_no_adapter_is_refused(
    litegpt: Callable, refused: Callable, trained: Path, adapter: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "none" / "adapter_config.json"
    refused(
        litegpt("generate", "--model", trained, "--adapter", tmp_path / "none"),
        [f"{missing}: no such file"],
    )
    other = GPTModel(11, 8, 1, 2, 16, seed=0)
    other.save_pretrained(tmp_path / "other")
    refused(
        litegpt("convert", tmp_path / "other", tmp_path / "out", "--merge", adapter),
        [str(adapter), "has shape"],
    )
    assert not (tmp_path / "out").exists()
