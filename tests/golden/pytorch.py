"""Writes pytorch.json: how PyTorch trains the models of regenerate.py.

    python tests/golden/pytorch.py

The models are transformers' GPT2LMHeadModel and LlamaForCausalLM in float64, the optimizer is
torch.optim.AdamW. Gradients come back through the file that transformers writes.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import regenerate

from litegpt import AdamW, GPTModel

GOLDEN = Path(__file__).with_name("pytorch.json")
STEPS = 10
RECIPE = {"learning_rate": 0.02, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1}


def ours(model: GPTModel) -> dict[str, Any]:
    """The gradients of the first step, and ten losses under AdamW."""
    ids, targets = regenerate.text()
    optimizer = AdamW(model.named_parameters(), **RECIPE)
    losses, gradients = [], {}
    for step in range(STEPS):
        losses.append(model.loss_and_backward(ids, targets))
        if step == 0:
            gradients = {name: p.grad.copy() for name, p in model.named_parameters()}
        optimizer.step()
        model.zero_grad()
    return {"gradients": gradients, "losses": losses}


def theirs(model: GPTModel) -> dict[str, Any]:
    """The same of transformers' model with these weights."""
    import torch
    from transformers import AutoModelForCausalLM

    ids, targets = (torch.tensor(array) for array in regenerate.text())
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        other = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
        matrices = [p for p in other.parameters() if p.ndim >= 2]
        vectors = [p for p in other.parameters() if p.ndim < 2]
        optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": RECIPE["weight_decay"]},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=RECIPE["learning_rate"],
            betas=(RECIPE["beta1"], RECIPE["beta2"]),
            eps=RECIPE["eps"],
        )
        losses, gradients = [], {}
        for step in range(STEPS):
            logits = other(ids).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            if step == 0:
                gradients = _gradients(other, Path(folder, "gradients"))
            optimizer.step()
    return {"gradients": gradients, "losses": losses}


def _gradients(other: Any, folder: Path) -> dict[str, np.ndarray]:
    """By our names: a model whose weights are the gradients is written, and read by us."""
    import torch

    weights = {name: p.detach().clone() for name, p in other.named_parameters()}
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.copy_(parameter.grad)
        other.to(torch.float32).save_pretrained(folder)
        other.to(torch.float64)
        for name, parameter in other.named_parameters():
            parameter.copy_(weights[name])
    read = GPTModel.from_pretrained(folder).state_dict()
    return {name: array.copy() for name, array in read.items()}


def main() -> None:
    golden = {family: theirs(regenerate.make(family)) for family in regenerate.FAMILIES}
    GOLDEN.write_text(json.dumps(regenerate.rounded(golden)) + "\n")


if __name__ == "__main__":
    sys.exit(main())
