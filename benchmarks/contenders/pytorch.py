"""PyTorch's side: its own operations, and nanoGPT's training step."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from contenders import Task, inputs
from contenders.nanogpt import run, training

__all__ = ["attention", "gelu", "layernorm", "run", "sampling", "softmax", "training"]


def _inference(operation: Callable[[], Tensor]) -> Task:
    """A task of an operation that no gradient is wanted of."""
    run = torch.inference_mode()(operation)
    return Task(run, lambda: run().numpy())


def attention(batch: int, heads: int, length: int, width: int, backward: bool) -> Task:
    q, k, v, dy = (torch.from_numpy(x) for x in inputs.heads(batch, heads, length, width))
    if not backward:
        return _inference(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True)[None])
    leaves = [x.requires_grad_() for x in (q, k, v)]

    def both() -> list[Tensor]:
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return [y, *torch.autograd.grad(y, leaves, dy)]

    return Task(both, lambda: torch.stack(both()).detach().numpy())


def softmax(rows: int, width: int) -> Task:
    x = torch.from_numpy(inputs.normal(rows, width))
    return _inference(lambda: F.softmax(x, dim=-1))


def layernorm(rows: int, width: int) -> Task:
    x = torch.from_numpy(inputs.normal(rows, width))
    gamma, beta = (torch.from_numpy(inputs.normal(width, seed=seed)) for seed in (2, 3))
    return _inference(lambda: F.layer_norm(x, (width,), gamma, beta))


def gelu(rows: int, width: int) -> Task:
    x = torch.from_numpy(inputs.normal(rows, width))
    return _inference(lambda: F.gelu(x, approximate="tanh"))


def _filtered(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """Probabilities after top-k and top-p, by sorting, as is usual."""
    if top_k:
        edge = torch.topk(logits, top_k).values[..., -1:]
        logits = logits.masked_fill(logits < edge, -torch.inf)
    ordered, order = torch.sort(logits, descending=True)
    probabilities = F.softmax(ordered, dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities  # probability of the likelier ones
    removed = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= top_p)
    return F.softmax(logits.masked_fill(removed, -torch.inf), dim=-1)


def sampling(top_k: int, top_p: float) -> Task:
    logits = torch.from_numpy(inputs.logits())

    @torch.inference_mode()
    def run() -> Tensor:
        return torch.multinomial(_filtered(logits, top_k, top_p), 1)

    def ids() -> Tensor:
        """What LiteGPT's rule chooses from these probabilities; multinomial draws by itself."""
        running = _filtered(logits.double(), top_k, top_p)[0].cumsum(dim=0)
        return torch.searchsorted(running, torch.from_numpy(inputs.uniforms()), right=True)

    return Task(run, lambda: ids().numpy())
