"""The two small models that the tests of this folder are about."""

from typing import Any

import numpy as np
import pytest

from litegpt import GPTModel

SIZES = {
    "vocab_size": 23,
    "max_seq_len": 40,
    "num_layers": 2,
    "num_heads": 4,
    "hidden_dim": 32,
    "ffn_dim": 48,
    "dropout": 0.0,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "default": {},
    "gpt2": {"bias": True, "tie_embeddings": True},
    "llama": {
        "norm": "rmsnorm",
        "position": "rotary",
        "activation": "swiglu",
        "num_kv_heads": 2,
        "bias": False,
    },
    "mixed": {"position": "sinusoidal", "activation": "gelu_erf", "bias": False},
}


def make(family: str, **changes: Any) -> GPTModel:
    """A model of the family whose every parameter is random, and large enough to matter."""
    model = GPTModel(**(SIZES | FAMILIES[family] | changes), seed=0)
    rng = np.random.default_rng(1)
    for parameter in model.parameters():
        parameter.data += 0.2 * rng.standard_normal(parameter.shape)
    return model


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def make_model() -> Any:
    return make


@pytest.fixture
def model(family: str) -> GPTModel:
    return make(family)


@pytest.fixture
def ids() -> np.ndarray:
    """(3, 37): longer than a block of cached keys."""
    return np.random.default_rng(2).integers(0, SIZES["vocab_size"], (3, 37))


@pytest.fixture
def targets() -> np.ndarray:
    """(3, 37), some of them not to be counted."""
    targets = np.random.default_rng(3).integers(0, SIZES["vocab_size"], (3, 37))
    targets[1, 5:9] = -100
    return targets
