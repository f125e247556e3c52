"""PyTorch's training step under torch.autocast, which multiplies in bfloat16."""

from contenders import Task, nanogpt


def training(model: str, rows: int, length: int) -> Task:
    return nanogpt.training(model, rows, length, autocast=True)


def run(model: str, seed: int, rows: int, steps: int) -> Task:
    return nanogpt.run(model, seed, rows, steps, autocast=True)
