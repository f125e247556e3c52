"""What a run refuses to be told."""

import math

import pytest

from litegpt.training import TrainConfig


@pytest.mark.parametrize("name, value, allowed", [
    ("batch_size", 0, "1 or more"),
    ("max_steps", 0, "1 or more"),
    ("max_steps", 10.0, "an integer"),
    ("eval_interval", 0, "1 or more"),
    ("eval_steps", -1, "1 or more"),
    ("log_interval", 0, "1 or more"),
    ("warmup_steps", -1, "0 or more"),
    ("seed", -1, "0 or more"),
    ("learning_rate", -1e-3, "0 or more"),
    ("learning_rate", math.nan, "finite"),
    ("weight_decay", math.inf, "finite"),
    ("grad_clip", -0.1, "0 or more"),
    ("beta1", 1.0, "below 1"),
    ("beta2", 1.5, "below 1"),
    ("min_learning_rate", 1.0, "must not be above learning_rate 0.001"),
    ("weight_decay", "0.1", "number"),
    ("decay_share", 1.5, "from 0 to 1"),
    ("freeze", "head.*", "a tuple of patterns"),
])  # fmt: skip
def test_bad_values_are_named(name: str, value: object, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}.*{allowed}"):
        TrainConfig(**{name: value})


def test_the_defaults_are_nanogpts_recipe_for_a_cpu() -> None:
    c = TrainConfig()
    assert (c.batch_size, c.max_steps, c.warmup_steps) == (12, 2000, 100)
    assert (c.learning_rate, c.min_learning_rate) == (1e-3, 1e-4)
    assert (c.beta1, c.beta2, c.weight_decay, c.grad_clip) == (0.9, 0.99, 0.1, 1.0)
