"""nanoGPT's model and training step in plain PyTorch."""

import json

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from contenders import Task, inputs
from contenders.steps import Step, one_batch, whole_run


class Block(nn.Module):
    """GPT-2's block; its layers have the names of Hugging Face's."""

    def __init__(self, width: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(width, bias=bias)
        self.ln_2 = nn.LayerNorm(width, bias=bias)
        into_heads, out_of_heads = nn.Linear(width, 3 * width, bias), nn.Linear(width, width, bias)
        self.attn = nn.ModuleDict({"c_attn": into_heads, "c_proj": out_of_heads})
        wide, narrow = nn.Linear(width, 4 * width, bias), nn.Linear(4 * width, width, bias)
        self.mlp = nn.ModuleDict({"c_fc": wide, "c_proj": narrow})

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (  # (B, T, C) -> (B, H, T, D)
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in self.attn["c_attn"](self.ln_1(x)).chunk(3, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn["c_proj"](y.transpose(1, 2).flatten(2))  # (B, H, T, D) -> (B, T, C)
        hidden = F.gelu(self.mlp["c_fc"](self.ln_2(x)), approximate="tanh")
        return x + self.mlp["c_proj"](hidden)


class GPT(nn.Module):
    """GPT-2 with its head tied to the embedding."""

    def __init__(self, sizes: dict[str, int], bias: bool) -> None:
        super().__init__()
        width, heads = sizes["n_embd"], sizes["n_head"]
        self.wte = nn.Embedding(sizes["vocab_size"], width)
        self.wpe = nn.Embedding(sizes["n_positions"], width)
        self.h = nn.ModuleList(Block(width, heads, bias) for _ in range(sizes["n_layer"]))
        self.ln_f = nn.LayerNorm(width, bias=bias)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.h:
            x = block(x)
        logits = F.linear(self.ln_f(x), self.wte.weight)  # (B, T, C) -> (B, T, V)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def _load(model: str, seed: int) -> GPT:
    directory = inputs.directory(model, seed)
    sizes = json.loads((directory / "config.json").read_text())
    gpt = GPT(sizes, bool(inputs.MODELS[model]["bias"]))
    saved = load_file(directory / "model.safetensors")
    with torch.no_grad():
        for name, parameter in gpt.named_parameters():
            tensor = saved[f"transformer.{name}"]
            turned = name.startswith("h.") and parameter.ndim == 2  # saved as (in, out)
            parameter.copy_(tensor.T if turned else tensor)
    return gpt


def _step(model: str, seed: int, autocast: bool) -> Step:
    gpt = _load(model, seed)
    learning_rate, betas, weight_decay, clip = inputs.OPTIMIZERS[model]
    matrices = [p for p in gpt.parameters() if p.ndim >= 2]
    vectors = [p for p in gpt.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=learning_rate,
        betas=betas,
        fused=True,  # PyTorch's fastest; nanoGPT itself asks for it on GPUs only
    )

    def step(ids: np.ndarray, targets: np.ndarray, rate: float) -> float:
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = gpt(torch.from_numpy(ids), torch.from_numpy(targets))
        loss.backward()
        nn.utils.clip_grad_norm_(gpt.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def training(model: str, rows: int, length: int, autocast: bool = False) -> Task:
    return one_batch(_step(model, 0, autocast), model, rows, length)


def run(model: str, seed: int, rows: int, steps: int, autocast: bool = False) -> Task:
    return whole_run(_step(model, seed, autocast), model, seed, rows, steps)
