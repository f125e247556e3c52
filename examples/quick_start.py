"""Quick start: a text learned and continued, in a few seconds."""

import numpy as np

from litegpt import AdamW, CharTokenizer, GPTModel, TextModel

RHYME = """\
This is the farmer sowing his corn, that kept the cock that crowed in the morn,
that waked the priest all shaven and shorn, that married the man all tattered and torn,
that kissed the maiden all forlorn, that milked the cow with the crumpled horn,
that tossed the dog, that worried the cat, that killed the rat,
that ate the malt that lay in the house that Jack built.
"""

tokenizer = CharTokenizer.from_text(RHYME)
ids = tokenizer.encode(RHYME)
model = GPTModel(
    tokenizer.vocab_size,
    max_seq_len=64,
    num_layers=2,
    num_heads=4,
    hidden_dim=64,
    dropout=0,
    seed=0,
)
optimizer = AdamW(model.named_parameters(), learning_rate=5e-3)
rng = np.random.default_rng(0)
print(f"{model.get_num_parameters():,} parameters read {len(ids)} characters again and again")

for step in range(1, 301):
    starts = rng.integers(len(ids) - 64, size=(8, 1))
    windows = ids[starts + np.arange(65)]  # (8, 65)
    loss = model.loss_and_backward(windows[:, :-1], windows[:, 1:])
    optimizer.step()
    model.zero_grad()
    if step % 50 == 0:
        print(f"step {step}: loss {loss:.3f}")

for piece in TextModel(model, tokenizer).stream(
    "This is the", echo=True, max_new_tokens=150, temperature=0.5, seed=0
):
    print(piece, end="", flush=True)
print()
