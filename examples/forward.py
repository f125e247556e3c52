"""Topic 2: token ids go in, logits come out; every backend computes the same."""

import time

import numpy as np

import litegpt
from litegpt import GPTModel

model = GPTModel(1000, 128, 6, 6, 192, 768, dropout=0.0, seed=0).eval()
ids = np.random.default_rng(0).integers(0, 1000, size=(2, 100))  # (B, T)
logits, states = model(ids, return_hidden_states=True)
print(f"ids {ids.shape} -> logits {logits.shape}, {logits.dtype}")
print(f"{len(states)} hidden states {states[0].shape}: the embedding, then what each block gives")
for layer, state in enumerate(states):
    print(f"  after {layer} blocks the vectors are {np.sqrt((state**2).mean()):.3f} on average")

p = np.exp(logits[0, -1] - logits[0, -1].max())
p /= p.sum()
print(f"an untrained model holds all alike: {p.min():.5f} to {p.max():.5f}, 1/V is {1 / 1000}")
later = ids.copy()
later[:, 60:] = 0
same = np.array_equal(model(later)[:, :60], logits[:, :60])
print(f"changing tokens from 60 on changes no logit before them: {same}\n")

for name in litegpt.available_backends():
    with litegpt.use_backend(name):
        model(ids)
        start = time.perf_counter()
        other = model(ids)
        seconds = time.perf_counter() - start
    difference = np.abs(other - logits).max()
    print(f"{name:<12}{1e3 * seconds:7.1f} ms, largest difference {difference:.1e}")
