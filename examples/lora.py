"""LoRA: a model that sorts upwards learns to sort downwards, by training one number for six.

Its own weights stay as they are; small low-rank additions beside its layers learn. They are saved
in PEFT's files, put on the model as it was before, and merged into it.
"""

from pathlib import Path

import numpy as np

from litegpt import AdamW, GPTModel
from litegpt.models.peft import LoRAConfig, add_lora, load_lora, merge_lora, save_lora
from litegpt.training import scheduled_rate

DIGITS, SIGN = 4, 10  # ids 0 to 9 are the digits, 10 is what stands between
rng = np.random.default_rng(0)


def lines(count: int, downwards: bool) -> np.ndarray:
    """(count, 9): digits, the sign, the digits in order."""
    digits = rng.integers(0, 10, (count, DIGITS))
    ordered = np.sort(digits, axis=1)[:, :: -1 if downwards else 1]
    return np.concatenate([digits, np.full((count, 1), SIGN), ordered], axis=1)


def train(model: GPTModel, downwards: bool, steps: int, rate: float) -> None:
    trained = [(name, p) for name, p in model.named_parameters() if p.trainable]
    optimizer = AdamW(trained, weight_decay=0.0)
    for step in range(steps):
        text = lines(32, downwards)
        targets = text[:, 1:].copy()
        targets[:, :DIGITS] = -100  # what stands before the sign isn't to be predicted
        loss = model.loss_and_backward(text[:, :-1], targets)
        optimizer.step(
            scheduled_rate("cosine", step, rate, rate / 10, 20, steps),
            min(1.0, 1.0 / optimizer.grad_norm()),
        )
        model.zero_grad()
    count = sum(p.size for _, p in trained)
    print(f"  {steps} steps on {count:,} parameters: loss {loss:.4f}")


def report(name: str, model: GPTModel) -> None:
    shares = []
    for downwards in (False, True):
        text = lines(300, downwards)
        answers = model.generate(text[:, : DIGITS + 1], max_new_tokens=DIGITS, temperature=0)
        shares.append((answers == text).all(axis=1).mean())
    print(f"{name}: {shares[0]:.0%} right upwards, {shares[1]:.0%} downwards")


model = GPTModel(11, 2 * DIGITS + 1, 2, 4, 64, dropout=0.0, bias=True, tie_embeddings=True, seed=0)
train(model, downwards=False, steps=300, rate=3e-3)
report("the model", model)
model.save_pretrained("base")

add_lora(model, LoRAConfig(r=8, alpha=16), seed=0)
train(model, downwards=True, steps=300, rate=5e-3)
report("with its adapters", model)
save_lora(model, "adapters", base="base")
size = sum(file.stat().st_size for file in Path("adapters").iterdir())
print(f"adapters/ has {size:,} bytes, for PEFT and for us")

model = GPTModel.from_pretrained("base")
report("loaded without them", model)
load_lora(model, "adapters")
report("loaded with them", model)
merge_lora(model)
report("merged", model)
