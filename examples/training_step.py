"""Topic 4: one training step, and a gradient checked against a finite difference."""

import time

import numpy as np

from litegpt import AdamW, GPTModel

model = GPTModel(500, 128, 4, 4, 64, 256, dropout=0.0, seed=0)
optimizer = AdamW(model.named_parameters(), learning_rate=1e-3)
rng = np.random.default_rng(0)
text = rng.integers(0, 500, size=(4, 65))  # (B, T + 1)
inputs, targets = text[:, :-1], text[:, 1:]

loss = model.loss_and_backward(inputs, targets)  # fills every parameter.grad
print(f"loss {loss:.4f} nats per token; knowing nothing would be log(500) = {np.log(500):.4f}")
print(f"norm of all gradients: {optimizer.grad_norm():.4f}")

weight = model.blocks[2].ffn.up.weight
place = np.unravel_index(np.abs(weight.grad).argmax(), weight.shape)
by_backward = float(weight.grad[place])
before = weight.data[place]
losses = []
for step in (0.05, -0.05):  # float32: a step large enough to be seen
    weight.data[place] = before + step
    losses.append(model.compute_loss(inputs, targets))
weight.data[place] = before
by_difference = (losses[0] - losses[1]) / 0.1
print(f"the steepest weight of block 2's feed-forward: {by_backward:.6f} by backward,")
print(f"{' ' * 45} {by_difference:.6f} by difference\n")

model.zero_grad()
for batch in (1, 2, 4, 8):
    text = rng.integers(0, 500, size=(batch, 65))
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        loss = model.loss_and_backward(text[:, :-1], text[:, 1:])
        optimizer.step()
        model.zero_grad()
        best = min(best, time.perf_counter() - start)
    print(f"B={batch} T=64: {1e3 * best:6.1f} ms a step, {batch * 64 / best:9,.0f} tokens/s")
