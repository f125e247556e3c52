"""Topic 3: one prompt under several settings of sampling."""

import numpy as np

from litegpt import AdamW, CharTokenizer, GPTModel, TextModel

TEXT = """\
the cat sat on the mat. the dog sat on the log. the rat sat on the hat.
the cat saw the dog. the dog saw the rat. the rat saw the cat.
"""
tokenizer = CharTokenizer.from_text(TEXT)
ids = tokenizer.encode(TEXT)
model = GPTModel(tokenizer.vocab_size, 32, 2, 2, 48, dropout=0.0, seed=0)
optimizer = AdamW(model.named_parameters(), learning_rate=3e-3)
rng = np.random.default_rng(0)
for _ in range(200):  # learned well enough to have an opinion, not by heart
    windows = ids[rng.integers(len(ids) - 32, size=(4, 1)) + np.arange(33)]
    model.loss_and_backward(windows[:, :-1], windows[:, 1:])
    optimizer.step()
    model.zero_grad()
texts = TextModel(model, tokenizer)

for title, settings in {
    "greedy (temperature 0)": {"temperature": 0},
    "temperature 0.5": {"temperature": 0.5},
    "temperature 1": {"temperature": 1.0},
    "temperature 2": {"temperature": 2.0},
    "temperature 2, top-k 3": {"temperature": 2.0, "top_k": 3},
    "temperature 2, top-p 0.8": {"temperature": 2.0, "top_p": 0.8},
    "temperature 2, min-p 0.2": {"temperature": 2.0, "min_p": 0.2},
    "stopped at the first point": {"temperature": 0.5, "stop": ["."]},
}.items():
    [done] = texts.complete(["the cat"], max_new_tokens=40, seed=1, **settings)
    print(f"{title:<28}the cat{done.text!r}")

first, again, other = (
    texts.complete(["the"], max_new_tokens=20, seed=seed)[0].text for seed in (1, 1, 2)
)
print(f"\nthe same seed, the same text: {first == again}; another seed, the same: {first == other}")
[done] = texts.complete(["the c"], max_new_tokens=3, temperature=0, logprobs=2)
for position, chosen in enumerate(done.tokens.ids):
    likely = {
        tokenizer.decode([i]): round(float(np.exp(logprob)), 3)
        for i, logprob in zip(
            done.tokens.top_ids[position], done.tokens.top_logprobs[position], strict=True
        )
    }
    print(f"chose {tokenizer.decode([chosen])!r}; the likeliest two were {likely}")
