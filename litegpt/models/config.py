"""What a GPT is made of, by name."""

from dataclasses import InitVar, dataclass, fields
from typing import Any

from litegpt.nn.arrays import check_size, is_number
from litegpt.nn.attention import check_heads
from litegpt.nn.dropout import check_dropout
from litegpt.nn.mlp import ACTIVATIONS
from litegpt.nn.position import check_rope_scaling, steady_positions

ALLOWED = {
    "norm": ("layernorm", "rmsnorm"),
    "position": ("learned", "sinusoidal", "rotary"),
    "activation": tuple(ACTIVATIONS),
}


@dataclass
class GPTConfig:
    """Sizes and parts of a GPTModel; anything that doesn't fit together is a ValueError.

    - `vocab_size`: tokens, V
    - `max_seq_len`: positions, T at most
    - `num_layers`: blocks, L
    - `hidden_dim`: width of the residual stream, C
    - `num_heads`: query heads, H; hidden_dim must be divisible by it
    - `num_kv_heads`: key/value heads, G; num_heads if None; num_heads must be divisible by it
    - `ffn_dim`: hidden width of the feed-forward, F; 4 * hidden_dim if None
    - `dropout`: probability, in training only: of embeddings, attention weights, and what is added
      to the residual stream
    - `norm`: "layernorm" or "rmsnorm"; `norm_eps` is added to the variance, or to the mean
      square
    - `position`: "learned", "sinusoidal" or "rotary"
    - `activation`: "gelu" (tanh form), "gelu_erf", "relu", or the gated "swiglu"
    - `qkv_bias`, `output_bias`, `ffn_bias`, `norm_bias`: which layers have biases: attention's two
      projections, both layers of the feed-forward, layernorm (rmsnorm has none); `bias` sets all
      four at once
    - `tie_embeddings`: the head uses the token embedding's table
    - `rope_theta`: base of the rotary frequencies
    - `rope_scaling`: None, or {"rope_type": "linear", "dynamic" or "llama3", ...its numbers}: see
      litegpt.nn.position; max_seq_len counts the positions after scaling
    - `init_std`: standard deviation of the initial weights
    """

    vocab_size: int = 50257
    max_seq_len: int = 1024
    num_layers: int = 12
    num_heads: int = 12
    hidden_dim: int = 768
    ffn_dim: int = None  # type: ignore[assignment]  # never None once made
    dropout: float = 0.1
    num_kv_heads: int = None  # type: ignore[assignment]
    norm: str = "layernorm"
    norm_eps: float = 1e-5
    position: str = "learned"
    activation: str = "gelu"
    qkv_bias: bool = False
    output_bias: bool = False
    ffn_bias: bool = True
    norm_bias: bool = True
    tie_embeddings: bool = False
    rope_theta: float = 10000.0
    rope_scaling: dict[str, Any] | None = None
    init_std: float = 0.02
    bias: InitVar[bool | None] = None

    def __post_init__(self, bias: bool | None) -> None:
        if bias is not None:
            self.qkv_bias = self.output_bias = self.ffn_bias = self.norm_bias = bias
        if self.ffn_dim is None:
            self.ffn_dim = 4 * self.hidden_dim
        if self.num_kv_heads is None:
            self.num_kv_heads = self.num_heads
        for field in fields(self):
            if field.name == "rope_scaling":
                continue
            setattr(self, field.name, _checked(field.name, getattr(self, field.name)))
        self.rope_scaling = check_rope_scaling(self.rope_scaling, self.max_seq_len)
        self.norm_bias = self.norm_bias and self.norm == "layernorm"
        self.dropout = check_dropout(self.dropout)
        check_heads(self.hidden_dim, self.num_heads, self.num_kv_heads)
        if self.position == "rotary" and self.head_dim % 2:
            raise ValueError(f"rotary positions need an even head width, not {self.head_dim}")

    @property
    def head_dim(self) -> int:
        return self.hidden_dim // self.num_heads

    @property
    def steady_positions(self) -> int:
        """Up to so many, what was computed of a text stays as it is when more follows.

        max_seq_len, but with dynamic scaling of rotary positions.
        """
        return steady_positions(self.rope_scaling, self.max_seq_len)


def _checked(name: str, value: object) -> object:
    """The value in its plain Python type; ValueError saying what is allowed."""
    if name in ALLOWED:
        if value not in ALLOWED[name]:
            raise ValueError(f"{name} {value!r} is unknown; allowed: {', '.join(ALLOWED[name])}")
        return value
    default = _DEFAULTS[name]
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be True or False, not {value!r}")
        return value
    if isinstance(default, float):
        if not is_number(value):
            raise ValueError(f"{name} must be a finite number, not {value!r}")
        if value < 0 or (value == 0 and name == "rope_theta"):
            allowed = "positive" if name == "rope_theta" else "0 or more"
            raise ValueError(f"{name} must be {allowed}, not {value!r}")
        return float(value)
    check_size(name, value)
    return int(value)  # type: ignore[call-overload]  # an integer


_DEFAULTS = {field.name: field.default for field in fields(GPTConfig)}
