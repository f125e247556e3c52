"""GPTConfig: defaults, and what doesn't fit."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from litegpt import GPTConfig, GPTModel


def test_defaults() -> None:
    config = GPTConfig()
    assert (config.ffn_dim, config.num_kv_heads, config.head_dim) == (3072, 12, 64)
    assert not config.qkv_bias and not config.output_bias
    assert config.ffn_bias and config.norm_bias


def test_bias_sets_all_biases() -> None:
    for bias in (True, False):
        config = GPTConfig(bias=bias)
        assert {config.qkv_bias, config.output_bias, config.ffn_bias, config.norm_bias} == {bias}
    assert not GPTConfig(norm="rmsnorm", bias=True).norm_bias  # it has none


def test_numpy_numbers_become_plain_ones() -> None:
    config = GPTConfig(vocab_size=np.int64(50), dropout=np.float32(0.5))
    assert type(config.vocab_size) is int and type(config.dropout) is float


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"hidden_dim": 100, "num_heads": 8}, "hidden_dim 100 must be divisible by num_heads 8"),
        ({"num_kv_heads": 5}, "num_heads 12 must be divisible by num_kv_heads 5"),
        ({"num_layers": 0}, "num_layers must be an integer from 1 on, not 0"),
        ({"vocab_size": 1.5}, "vocab_size must be an integer from 1 on, not 1.5"),
        ({"max_seq_len": True}, "max_seq_len must be an integer"),
        ({"dropout": -0.1}, "dropout must be 0 or more, not -0.1"),
        ({"norm_eps": float("nan")}, "norm_eps must be a finite number"),
        ({"rope_theta": 0}, "rope_theta must be positive"),
        ({"norm_eps": 10**400}, "norm_eps must be a finite number"),
        ({"init_std": "0.02"}, "init_std must be a finite number"),
        ({"norm": "batchnorm"}, "norm 'batchnorm' is unknown; allowed: layernorm, rmsnorm"),
        ({"position": None}, "position None is unknown; allowed: learned, sinusoidal, rotary"),
        ({"activation": "tanh"}, "activation 'tanh' is unknown; allowed: gelu, gelu_erf, relu"),
        ({"tie_embeddings": 1}, "tie_embeddings must be True or False, not 1"),
        ({"bias": "yes"}, "qkv_bias must be True or False"),
        (
            {"position": "rotary", "hidden_dim": 12},
            "rotary positions need an even head width, not 1",
        ),
    ],
)
def test_what_does_not_fit(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        GPTConfig(**options)


def test_an_unknown_option() -> None:
    with pytest.raises(TypeError, match="layers"):
        GPTModel(layers=3)


def test_a_model_of_a_configuration() -> None:
    config = GPTConfig(11, 8, 1, 2, 8, num_kv_heads=1, tie_embeddings=True)
    model = GPTModel.from_config(config, seed=3)
    assert asdict(model.config) == asdict(config)
    same = GPTModel(11, 8, 1, 2, 8, num_kv_heads=1, tie_embeddings=True, seed=3)
    assert np.array_equal(model([1, 2]), same([1, 2])) or model.dropout  # training mode
    assert np.array_equal(model.eval()([1, 2]), same.eval()([1, 2]))
