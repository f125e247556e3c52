"""Scoring: how likely a model holds a text, token by token, and which of two texts it prefers."""

import numpy as np

from litegpt.generation import evaluate
from litegpt.pictures import most_surprising, surprises
from litegpt.testing import tiny_model

model = tiny_model()
text = "red fox red fox red hen red hen"
[score] = model.score([text])
print("bits of surprise, character by character (the first has nothing before it):")
for begin in range(0, len(text), 8):
    part = range(begin, min(begin + 8, len(text)))
    print("  " + "  ".join(f"{text[i]!r} {-score.logprobs[i] / np.log(2):5.2f}" for i in part))

print("\nmost surprising:")
for piece, before in most_surprising(surprises(model.tokenizer, score.ids, score.logprobs), 3):
    print(f"  {piece.bits:5.2f} bits: {piece.text!r} after {before!r}")

print("\nwhich text is likelier?")
for candidate in ("abcabcabc", "abcacbabc"):
    found = evaluate(model.model, model.tokenizer, candidate)
    print(f"  {candidate}: perplexity {found.perplexity:.2f}, {found.bits_per_byte:.3f} bits/byte")
