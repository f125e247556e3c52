"""Vocabularies far larger than the model that they stand beside."""

import json
from collections.abc import Callable
from pathlib import Path

from litegpt import GPTModel
from litegpt.models.gguf_export import save_gguf
from litegpt.text import CharTokenizer
from litegpt.text.gguf_vocabulary import WHOLE


def test_no_memory_is_taken_for_tokens_that_the_model_has_not(
    tmp_path: Path, refusals: Callable[..., tuple[int, list[str]]]
) -> None:
    """Half a million tokens in 9 MB of JSON: with 64 MB more all are refused."""
    model = GPTModel(vocab_size=11, max_seq_len=16, num_layers=1, hidden_dim=32, num_heads=1)
    directories = good, whole, pair = [tmp_path / name for name in ("good", "whole", "pair")]
    for directory in directories:
        model.save_pretrained(directory)
    CharTokenizer("abcdefghijk").save(good)
    vocabulary = {f"t{i}": i for i in range(500_000)}
    text = json.dumps({"model": {"type": "BPE", "vocab": vocabulary, "merges": []}})
    (whole / "tokenizer.json").write_text(text)
    (pair / "vocab.json").write_text(json.dumps(vocabulary))
    (pair / "merges.txt").write_text("")
    gguf = tmp_path / "model.gguf"
    save_gguf(model, gguf, "float32", {WHOLE: text})
    model_class = "from litegpt.generation import TextModel as Model"
    taken, errors = refusals(model_class, good, whole, pair, gguf)
    assert len(errors) == 3
    assert all("values, too many for a model of 11 tokens" in error for error in errors)
    assert taken < len(text) + (64 << 20)
