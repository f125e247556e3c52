"""Writes golden.json: what a fixed tiny model computes and how it learns.

    LITEGPT_BACKEND=numpy python tests/golden/regenerate.py

Run it only when the numbers are meant to change, and say in the commit why they do. They come from
the reference in float64, and hold for every rung within the tolerances of test_golden.py.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from litegpt import GPTModel, use_backend

GOLDEN = Path(__file__).with_name("golden.json")
SIZES = {"vocab_size": 13, "max_seq_len": 12, "num_layers": 2, "num_heads": 2, "hidden_dim": 8}
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"bias": True, "tie_embeddings": True},
    "llama": {
        "norm": "rmsnorm",
        "position": "rotary",
        "activation": "swiglu",
        "num_kv_heads": 1,
        "bias": False,
        "ffn_dim": 12,
    },
}
STEPS, RATE = 10, 0.1


def make(family: str) -> GPTModel:
    """The model; its weights come from a formula, not from a generator that may change."""
    model = GPTModel(**SIZES, **FAMILIES[family], dropout=0.0, init_std=0.0)
    for number, parameter in enumerate(model.parameters()):
        places = np.arange(parameter.size).reshape(parameter.shape)
        parameter.data += 0.4 * np.sin(0.7 * places**2 + number)
    return model


def text() -> tuple[np.ndarray, np.ndarray]:
    """Ids and targets (2, 12), one of which isn't counted."""
    ids = (np.arange(26) ** 2 + np.arange(26) // 5).reshape(2, 13) % 13
    targets = ids[:, 1:].copy()
    targets[1, 4] = -100
    return ids[:, :-1], targets


def run(model: GPTModel) -> dict[str, Any]:
    """Logits, the gradients of the first step, and the losses of ten steps downhill."""
    ids, targets = text()
    logits = model(ids)
    losses, gradients = [], {}
    for step in range(STEPS):
        model.zero_grad()
        losses.append(model.loss_and_backward(ids, targets))
        if step == 0:
            gradients = {name: p.grad.copy() for name, p in model.named_parameters()}
        for parameter in model.parameters():
            parameter.data -= RATE * parameter.grad
    return {"logits": logits[:, -1], "gradients": gradients, "losses": losses}


def continued(model: GPTModel) -> list[list[int]]:
    """Nine more tokens for the first three of each row."""
    return model.generate(text()[0][:, :3], 9, temperature=0).tolist()


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    if isinstance(value, np.ndarray):
        return rounded(value.tolist())
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value


def main() -> None:
    golden = {}
    with use_backend("numpy"):
        for family in FAMILIES:
            model = make(family)
            for parameter in model.parameters():
                parameter.cast(np.float64)
            golden[family] = run(model)
            for parameter in model.parameters():
                parameter.cast(np.float32)  # the cache is float32
            golden[family]["greedy"] = continued(model)
    GOLDEN.write_text(json.dumps(rounded(golden)) + "\n")


if __name__ == "__main__":
    main()
