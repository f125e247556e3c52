"""Topic 5: a training loop that learns something: to sort digits it has never seen.

Lines such as "40718>01478" are made at random; the loss counts on what follows ">" only. At the end
the model sorts 500 lines that were kept from it.
"""

import time

import numpy as np

from litegpt import AdamW, CharTokenizer, GPTModel
from litegpt.training import scheduled_rate

DIGITS, STEPS, BATCH = 5, 400, 40
tokenizer = CharTokenizer("0123456789>")
rng = np.random.default_rng(0)


def lines(count: int, held_out: bool) -> np.ndarray:
    """(count, 11) ids; those whose digits add up to a multiple of 5 are held out."""
    digits = rng.integers(0, 10, (8 * count + 100, DIGITS))  # the ids of digits are the digits
    digits = digits[(digits.sum(axis=1) % 5 == 0) == held_out][:count]
    sign = np.full((count, 1), tokenizer.encode(">")[0])
    return np.concatenate([digits, sign, np.sort(digits, axis=1)], axis=1)


def loss_parts(text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets (B, 10); what stands before ">" isn't to be predicted."""
    targets = text[:, 1:].copy()
    targets[:, :DIGITS] = -100
    return text[:, :-1], targets


def sorted_right(text: np.ndarray) -> float:
    """The share of lines that greedy generation ends rightly."""
    answers = model.generate(text[:, : DIGITS + 1], max_new_tokens=DIGITS, temperature=0)
    return float((answers == text).all(axis=1).mean())


model = GPTModel(
    tokenizer.vocab_size, 2 * DIGITS + 1, num_layers=2, num_heads=4, hidden_dim=64, dropout=0.0,
    seed=0,
)  # fmt: skip
optimizer = AdamW(model.named_parameters(), weight_decay=0.01)
kept_back = lines(500, held_out=True)
print(f"{model.get_num_parameters():,} parameters; before: {sorted_right(kept_back):.0%} right")

start = time.perf_counter()
for step in range(STEPS):
    loss = model.loss_and_backward(*loss_parts(lines(BATCH, held_out=False)))
    scale = min(1.0, 1.0 / optimizer.grad_norm())  # gradients no longer than 1
    optimizer.step(scheduled_rate("cosine", step, 3e-3, 3e-4, 50, STEPS), scale)
    model.zero_grad()
    if (step + 1) % 100 == 0:
        held = model.compute_loss(*loss_parts(kept_back))
        print(f"step {step + 1:4}: loss {loss:.4f}, on lines kept back {held:.4f}")
print(f"{time.perf_counter() - start:.1f} s; after: {sorted_right(kept_back):.0%} right, such as")
for row in model.generate(kept_back[:5, : DIGITS + 1], max_new_tokens=DIGITS, temperature=0):
    print(" ", tokenizer.decode(row))
