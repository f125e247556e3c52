"""Topic 8: many prompts at once, of unequal length; each row is what it would be alone."""

import time

import numpy as np

from litegpt import GPTModel
from litegpt.testing import tiny_model

model = tiny_model()  # goes on with what came after the same character, else the next letter
prompts = ["abc", "hello he", "x", "to be or not to"]
for prompt, done in zip(
    prompts, model.complete(prompts, max_new_tokens=12, temperature=0), strict=True
):
    [alone] = model.complete([prompt], max_new_tokens=12, temperature=0)
    print(f"{prompt!r:>18} -> {done.text!r}, alone the same: {done.text == alone.text}")

print("\nthree texts for one prompt, which is read once:")
for done in model.complete(
    ["hello he"], max_new_tokens=12, num_return_sequences=3, temperature=2.5, seed=0
):
    print(f"  {done.text!r}")

larger = GPTModel(1000, 128, 6, 6, 192, 768, dropout=0.0, seed=0).eval()
ids = np.random.default_rng(0).integers(0, 1000, (8, 16))
print("\na model of 3,073,536 parameters, 64 new tokens from 16:")
for rows in (1, 2, 4, 8):
    larger.generate(ids[:rows], 4, seed=0)
    start = time.perf_counter()
    together = larger.generate(ids[:rows], 64, seed=0)
    seconds = time.perf_counter() - start
    print(f"  {rows} rows: {rows * 64 / seconds:8,.0f} tokens/s")
alone = larger.generate(ids[3:4], 64, seed=0)
print(f"row 3 of the eight is that row alone, to the bit: {np.array_equal(together[3:4], alone)}")
