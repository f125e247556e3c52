"""What benchmarks/bench_llm.py times: five kinds of work at their sizes, ours and in PyTorch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from contenders import Task, inputs

import litegpt
from litegpt import AdamW, GPTModel, MultiHeadAttention, ScaledDotProductAttention, TransformerBlock

# vocab_size, max_seq_len, num_layers, num_heads, hidden_dim, ffn_dim
MODELS = {
    "Tiny": (100, 32, 2, 2, 32, 64),
    "Small": (500, 64, 4, 4, 64, 256),
    "Medium": (1000, 128, 6, 6, 192, 768),
    "Large": (5000, 256, 12, 8, 256, 1024),
}
GENERATOR = (500, 128, 4, 4, 64, 256)  # of generation and training
_TOLERANCE = 1e-3  # of what contenders compute, relative to its size
_LEARNING_RATE, _BETAS, _WEIGHT_DECAY = 1e-3, (0.9, 0.99), 0.1


@dataclass(frozen=True)
class Work:
    """A task at one size: `ours` and `torch` make it; amount / seconds is its rate in tokens/s."""

    name: str
    size: str
    amount: float
    ours: Callable[[], Task]
    torch: Callable[[], Task]

    def check(self, answer: np.ndarray) -> None:
        """AssertionError unless this is what the numpy rung computes."""
        with litegpt.use_backend("numpy"):
            right = self.ours().answer()  # type: ignore[misc]
        scale = max(1e-6, float(np.abs(right).max()))
        np.testing.assert_allclose(answer, right, rtol=0, atol=_TOLERANCE * scale)


def _forward(name: str, size: str, tokens: int, ours: Any, make_torch: Any) -> Work:
    """Work without gradients. `ours` computes; make_torch gives what does so in PyTorch."""

    def torch_task() -> Task:
        import torch

        call = torch.inference_mode()(make_torch())
        return Task(call, lambda: call().numpy())

    return Work(name, size, float(tokens), lambda: Task(ours, ours), torch_task)


def weights(batch: int, heads: int, length: int, width: int) -> Work:
    """ScaledDotProductAttention with a causal mask, which makes the weights (B, H, T, T)."""
    q, k, v, _ = inputs.heads(batch, heads, length, width)
    mask = litegpt.create_causal_mask(length)
    layer = ScaledDotProductAttention(0.0)

    def make_torch() -> Callable[[], Any]:
        import torch

        tensors = [torch.from_numpy(array) for array in (q, k, v, mask)]

        def call() -> Any:
            tq, tk, tv, added = tensors
            return torch.softmax(tq @ tk.transpose(-1, -2) / width**0.5 + added, dim=-1) @ tv

        return call

    size = f"{batch} x {heads} x {length} x {width}"
    return _forward("weights", size, batch * length, lambda: layer(q, k, v, mask)[0], make_torch)


def multi_head(batch: int, heads: int, length: int, width: int) -> Work:
    """The attention layer of a block, which streams."""
    layer = MultiHeadAttention(heads * width, heads, dropout=0.0, seed=0).eval()
    x = inputs.normal(batch, length, heads * width)

    def make_torch() -> Callable[[], Any]:
        import torch
        from contenders.default_gpt import Attention

        return partial(Attention(layer), torch.from_numpy(x))

    size = f"{batch} x {heads} x {length} x {width}"
    ours = partial(layer, x, causal=True)
    return _forward("multi-head", size, batch * length, ours, make_torch)


def block(batch: int, length: int, width: int, heads: int) -> Work:
    layer = TransformerBlock(width, heads, 4 * width, dropout=0.0, seed=0).eval()
    x = inputs.normal(batch, length, width)

    def make_torch() -> Callable[[], Any]:
        import torch
        from contenders.default_gpt import Block

        return partial(Block(layer), torch.from_numpy(x))

    size = f"{batch} x {length} x {width}"
    return _forward("block", size, batch * length, partial(layer, x, causal=True), make_torch)


def forward(name: str) -> Work:
    model = GPTModel(*MODELS[name], dropout=0.0, seed=0).eval()
    ids = inputs.tokens(4, min(64, model.max_seq_len), model.vocab_size)

    def make_torch() -> Callable[[], Any]:
        import torch
        from contenders.default_gpt import GPT

        return partial(GPT(model), torch.from_numpy(ids))

    size = f"{name}, 4 x {ids.shape[1]}"
    return _forward("forward", size, ids.size, partial(model, ids), make_torch)


def generation(new: int) -> Work:
    """Sampling at temperature 1 is timed; greedy tokens are compared."""
    model = GPTModel(*GENERATOR, dropout=0.0, init_std=0.2, seed=0).eval()
    prompt = inputs.tokens(1, 5, model.vocab_size)

    def ours() -> Task:
        run = partial(model.generate, prompt, new, temperature=1.0, seed=0)
        return Task(run, partial(model.generate, prompt, new, temperature=0))

    def plain() -> Task:
        import torch
        from contenders.default_gpt import GPT

        gpt, ids = GPT(model), torch.from_numpy(prompt)
        greedy = partial(gpt.generate, ids, new, 0.0)
        return Task(partial(gpt.generate, ids, new, 1.0), lambda: greedy().numpy())

    return Work("generation", f"{new} from 5", float(new), ours, plain)


def training_step(batch: int) -> Work:
    """Loss, gradients, AdamW; the losses of three steps are compared."""
    text = inputs.tokens(batch, 65, GENERATOR[0])
    ids, targets = text[:, :-1].copy(), text[:, 1:].copy()

    def losses_of(run: Callable[[], float]) -> Task:
        return Task(run, lambda: np.array([run() for _ in range(3)]))

    def ours() -> Task:
        model = GPTModel(*GENERATOR, dropout=0.0, seed=0)
        optimizer = AdamW(
            model.named_parameters(), _LEARNING_RATE, *_BETAS, weight_decay=_WEIGHT_DECAY
        )

        def run() -> float:
            loss = model.loss_and_backward(ids, targets)
            optimizer.step()
            model.zero_grad()
            return loss

        return losses_of(run)

    def plain() -> Task:
        import torch
        from contenders.default_gpt import GPT
        from torch.nn import functional as F

        gpt = GPT(GPTModel(*GENERATOR, dropout=0.0, seed=0))
        groups = [
            {"params": [p for p in gpt.parameters() if p.ndim >= 2], "weight_decay": _WEIGHT_DECAY},
            {"params": [p for p in gpt.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=_LEARNING_RATE, betas=_BETAS, fused=True)
        x, y = torch.from_numpy(ids), torch.from_numpy(targets)

        def run() -> float:
            loss = F.cross_entropy(gpt(x).flatten(0, 1), y.flatten())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            return loss.item()

        return losses_of(run)

    return Work("training step", f"B={batch} T=64", 64.0 * batch, ours, plain)


def all_work(quick: bool) -> dict[str, list[Work]]:
    """The five timed benchmarks; quick leaves the larger sizes out."""
    heads = [(4, 4, 64, 32), (1, 12, 512, 64)][: 1 if quick else None]
    blocks = [(4, 64, 128, 4), (2, 256, 256, 8)][: 1 if quick else None]
    return {
        "attention": [kind(*size) for size in heads for kind in (weights, multi_head)],
        "block": [block(*size) for size in blocks],
        "forward": [forward(name) for name in ("Tiny", "Small", "Medium")[: 2 if quick else None]],
        "generation": [generation(new) for new in (10, 20, 50)[: 2 if quick else None]],
        "training step": [training_step(batch) for batch in ((1, 4) if quick else (1, 2, 4, 8))],
    }
