"""LiteGPT's default model in plain PyTorch, from the very arrays of one of ours."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from litegpt import GPTModel, TransformerBlock
from litegpt.nn import MultiHeadAttention

Cache = tuple[Tensor, Tensor]  # keys and values (B, H, S, D), filled up to some length


class Attention:
    """Causal self-attention without biases."""

    def __init__(self, ours: MultiHeadAttention) -> None:
        self.heads = ours.num_heads
        self.qkv, self.output = _matrix(ours.qkv.weight.data), _matrix(ours.output.weight.data)

    def __call__(self, x: Tensor, cache: Cache | None = None, start: int = 0) -> Tensor:
        q, k, v = (  # (B, T, C) -> (B, H, T, D)
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in F.linear(x, self.qkv).chunk(3, dim=2)
        )
        if cache is not None:
            end = start + x.shape[1]
            for held, new in zip(cache, (k, v), strict=True):
                held[:, :, start:end] = new
            k, v = (held[:, :, :end] for held in cache)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1)
        return F.linear(y.transpose(1, 2).flatten(2), self.output)  # (B, H, T, D) -> (B, T, C)


class Block:
    """Pre-norm, with biases in the feed-forward."""

    def __init__(self, ours: TransformerBlock) -> None:
        self.attention = Attention(ours.attention)
        self.norms = [_vectors(norm.weight, norm.bias) for norm in (ours.ln1, ours.ln2)]
        self.layers = [
            (_matrix(layer.weight.data), *_vectors(layer.bias))
            for layer in (ours.ffn.up, ours.ffn.down)
        ]

    def __call__(self, x: Tensor, cache: Cache | None = None, start: int = 0) -> Tensor:
        width = x.shape[-1:]
        x = x + self.attention(F.layer_norm(x, width, *self.norms[0]), cache, start)
        up, down = self.layers
        hidden = F.gelu(F.linear(F.layer_norm(x, width, *self.norms[1]), *up), approximate="tanh")
        return x + F.linear(hidden, *down)


class GPT:
    """The whole model."""

    def __init__(self, ours: GPTModel) -> None:
        self.tokens = _leaf(ours.token_embedding.weight.data)
        self.positions = _leaf(ours.position_encoding.weight.data)  # type: ignore[union-attr]
        self.blocks = [Block(block) for block in ours.blocks]
        self.norm = _vectors(ours.final_norm.weight, ours.final_norm.bias)
        self.head = _matrix(ours.head.weight.data)
        self.window = ours.max_seq_len

    def parameters(self) -> list[Tensor]:
        inside = [
            tensor
            for block in self.blocks
            for tensor in (
                block.attention.qkv,
                block.attention.output,
                *(t for norm in block.norms for t in norm),
                *(t for layer in block.layers for t in layer),
            )
        ]
        return [self.tokens, self.positions, *inside, *self.norm, self.head]

    def __call__(self, ids: Tensor, caches: list[Cache] | None = None, start: int = 0) -> Tensor:
        x = self.tokens[ids] + self.positions[start : start + ids.shape[1]]
        for layer, block in enumerate(self.blocks):
            x = block(x, None if caches is None else caches[layer], start)
        return F.linear(F.layer_norm(x, x.shape[-1:], *self.norm), self.head)

    @torch.inference_mode()
    def generate(self, ids: Tensor, new: int, temperature: float) -> Tensor:
        """(B, P) -> (B, P + new), with a cache of keys and values made once."""
        rows, length = ids.shape
        heads = self.blocks[0].attention.heads
        shape = (rows, heads, length + new, self.tokens.shape[1] // heads)
        caches = [(torch.empty(shape), torch.empty(shape)) for _ in self.blocks]
        logits = self(ids, caches)[:, -1]
        for at in range(length, length + new):
            if temperature == 0:
                chosen = logits.argmax(dim=-1, keepdim=True)
            else:
                chosen = torch.multinomial(F.softmax(logits / temperature, dim=-1), 1)
            ids = torch.cat([ids, chosen], dim=1)
            if at + 1 < length + new:
                logits = self(chosen, caches, at)[:, -1]
        return ids


def _leaf(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.copy()).requires_grad_()


def _matrix(weight: np.ndarray) -> Tensor:
    """(K, N) -> (N, K), as F.linear wants it."""
    return _leaf(np.ascontiguousarray(weight.T))


def _vectors(*parameters: object) -> list[Tensor]:
    return [_leaf(parameter.data) for parameter in parameters]  # type: ignore[attr-defined]
