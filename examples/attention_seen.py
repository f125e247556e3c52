"""Topic 6: attention, looked at: with and without the causal mask, and in a whole model."""

from pathlib import Path

import numpy as np

from litegpt import ScaledDotProductAttention, create_causal_mask
from litegpt.pictures import attention_page, write_page
from litegpt.testing import tiny_model

SHADES = " .:-=+*#%@"


def show(weights: np.ndarray, labels: str) -> None:
    """(T, T) as characters: a row looks, a column is looked at."""
    print("    " + " ".join(labels))
    for label, row in zip(labels, weights, strict=True):
        print(f"  {label} " + " ".join(SHADES[round(9 * float(w))] for w in row))


x = np.random.default_rng(0).normal(size=(1, 5, 8))  # (B, T, D)
attention = ScaledDotProductAttention(dropout=0.0)
for title, mask in {"everything": None, "what came before": create_causal_mask(5)}.items():
    _, weights = attention(x, x, x, mask)
    print(f"each place looks at {title}; rows add up to {weights.sum(-1).round(3)[0]}")
    show(weights[0], "01234")

# A model whose weights were set by hand, so that one can see what it does: it looks back for the
# character that it stands on, and says what came after it then.
model = tiny_model()
text = "abcxyzab"
weights = model.model.attention_weights(model.ids(text))  # (L, B, H, T, T)
print("\nblock 0, head 0: the character before")
show(weights[0, 0, 0], text)
print("block 1, head 0: what came after the same character, or the first place if it is new")
show(weights[1, 0, 0], text)
[done] = model.complete([text], max_new_tokens=6, temperature=0)
print(f"so {text!r} goes on with {done.text!r}")

write_page(Path("attention.html"), attention_page(model, text))
print("attention.html: the same to walk about in, with a mouse")
