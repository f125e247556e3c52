"""The models that the tests of generation are about, and the plain loop to hold them against."""

from collections.abc import Callable

import numpy as np
import pytest

from litegpt.models import GPTModel

Choose = Callable[[np.ndarray, list[int]], int]


@pytest.fixture(scope="module")
def rotary() -> GPTModel:
    """A small llama, whose opinions differ."""
    parts = {"norm": "rmsnorm", "position": "rotary", "activation": "swiglu", "bias": False}
    return GPTModel(
        31, 64, 2, 4, 32, dropout=0.0, num_kv_heads=2, init_std=0.25, seed=2, **parts
    ).eval()


@pytest.fixture(scope="session")
def by_hand() -> Callable[..., list[int]]:
    """by_hand(model, prompt, new, choose): forward over the last ids, again and again.

    choose(logits (V,), ids so far) -> id; by default the likeliest.
    """

    def run(
        model: GPTModel, prompt: list[int], new: int, choose: Choose | None = None
    ) -> list[int]:
        ids = list(prompt)
        for _ in range(new):
            logits = model([ids[-model.max_seq_len :]])[0, -1].copy()
            ids.append(int(logits.argmax()) if choose is None else choose(logits, ids))
        return ids[len(prompt) :]

    return run
