"""What benchmarks/peers.py measures: work, peers, limits, and what is wanted of LiteGPT."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from contenders import AUTOCAST, LIMIT, LITEGPT

Figures = dict[str, float | None]  # contender -> figure in the row's unit, None: not measured

BEST = "the best peer"
ABSOLUTE = ""


@dataclass(frozen=True)
class Wanted:
    """LiteGPT's figure against `factor` times another's: at least that if it is a rate, at most
    that if it is a time or memory."""

    factor: float
    of: str  # a contender, BEST, or ABSOLUTE


@dataclass(frozen=True)
class Row:
    """A task with its options; amount / seconds is the figure of a rate, seconds that of a time,
    and of memory the task says it itself.

    own are further options of LiteGPT's alone. tolerance is the largest difference between
    LiteGPT's answer and a peer's, relative to their size. limit holds machine.limit's options.
    """

    name: str
    task: str
    options: dict[str, Any]
    unit: str  # "tokens/s", "s", "ms" or "MB"
    peers: tuple[str, ...]
    wanted: tuple[Wanted, ...]
    amount: float = 1.0
    limit: dict[str, float] = field(default_factory=dict)
    tolerance: float = 1e-4
    own: dict[str, Any] = field(default_factory=dict)

    @property
    def is_rate(self) -> bool:
        return self.unit.endswith("/s")

    @property
    def is_time(self) -> bool:
        """Whether seconds are what is measured."""
        return self.unit != "MB"

    def figure(self, measured: float) -> float:
        if self.is_rate:
            return self.amount / measured
        return measured * {"s": 1.0, "ms": 1e3, "MB": 1.0}[self.unit]

    def best_peer(self, figures: Figures) -> str | None:
        """The fastest of the peers that were measured."""
        measured = {peer: f for peer in self.peers if (f := figures.get(peer)) is not None}
        if not measured:
            return None
        return (max if self.is_rate else min)(measured, key=lambda peer: measured[peer])

    def bounds(self, figures: Figures) -> Iterator[float | None]:
        """The figures that are wanted; None where what they depend on isn't measured."""
        for wanted in self.wanted:
            if wanted.of == ABSOLUTE:
                yield wanted.factor
                continue
            of = self.best_peer(figures) if wanted.of == BEST else wanted.of
            other = figures.get(of) if of else None
            yield None if other is None else wanted.factor * other

    def holds(self, figures: Figures) -> bool | None:
        """Whether all that is wanted is reached; None if that can't be told."""
        ours = figures.get(LITEGPT)
        bounds = list(self.bounds(figures))
        if ours is None or any(
            bound is not None and (ours < bound if self.is_rate else ours > bound)
            for bound in bounds
        ):
            return False
        return None if None in bounds else True

    def wanted_text(self) -> str:
        sign = "≥" if self.is_rate else "≤"
        return ", ".join(_text(sign, wanted, self.unit) for wanted in self.wanted)


def _text(sign: str, wanted: Wanted, unit: str) -> str:
    if wanted.of == ABSOLUTE:
        return f"{sign} {wanted.factor:,g} {unit}"
    if wanted.of == LIMIT:
        return f"{sign} {wanted.factor:.0%} of the limit"
    return f"{sign} {wanted.factor:g} × {wanted.of}"


# GPT-2 124M: numbers in the matrices of its blocks, in its head, and in all of it
_BLOCKS, _HEAD = 12 * 12 * 768**2, 50_257 * 768
_ALL = _BLOCKS + _HEAD + 1024 * 768
_BYTES = {"float32": 4.0, "q8": 34 / 32, "q4_0": 18 / 32}  # of a weight, with its group's scale
# llama.cpp keeps keys and values in 16 bits; beside codes, activations are rounded to 8
_TOLERANCES = {"float32": 2e-3, "q8": 0.05, "q4_0": 0.05}


def _decode(
    name: str, weights: str, peers: tuple[str, ...], wanted: tuple[Wanted, ...], rows: int = 1
) -> Row:
    """Generation from one token on; every weight is read for each further one."""
    new = 32
    options = {"weights": weights, "rows": rows, "new": new}
    return Row(
        name,
        "decode",
        options,
        "tokens/s",
        peers,
        wanted,
        amount=rows * new,
        limit={"read": new * _BYTES[weights] * (_BLOCKS + _HEAD)},
        tolerance=_TOLERANCES[weights],
    )


def _prefill(name: str, weights: str, peers: tuple[str, ...], factor: float) -> Row:
    """A prompt of 512 up to the logits of what follows it. Weights can be read meanwhile."""
    length = 512
    products, attention = 2 * length * _BLOCKS + 2 * _HEAD, 12 * _attention_flops(1, 12, length, 64)
    return Row(
        name,
        "prefill",
        {"weights": weights, "length": length},
        "tokens/s",
        peers,
        (Wanted(factor, BEST),),
        amount=length,
        limit=(
            {"flops": products + attention}
            if weights == "float32"
            else {weights: products, "flops": attention}
        ),
        tolerance=_TOLERANCES[weights],
    )


def _training(
    what: str, model: str, rows: int, length: int, unit: str, factor: float
) -> Iterator[Row]:
    """A step in float32, and one whose products are bfloat16's, as PyTorch's are under autocast."""
    matrices, layers, heads, width, updated = _TRAINED[model]
    products = 6 * rows * length * matrices
    attention = 3.5 * layers * _attention_flops(rows, heads, length, width)
    update = {"read": updated} if updated else {}
    options = {"model": model, "rows": rows, "length": length}
    yield Row(
        f"training step, {what}",
        "training",
        options,
        unit,
        ("PyTorch",),
        (Wanted(factor, "PyTorch"),),
        limit={"flops": products + attention} | update,
        tolerance=1e-3,
    )
    yield Row(
        f"training step, {what}, bfloat16",
        "training",
        options,
        unit,
        ("PyTorch", AUTOCAST),
        (Wanted(factor, "PyTorch"), Wanted(1, AUTOCAST)),
        limit={"bfloat16": products, "flops": attention} | update,
        tolerance=1e-3,
        own={"precision": "bfloat16"},
    )


def _smollm2(
    name: str,
    task: str,
    unit: str,
    factor: float,
    amount: float = 1.0,
    limit: dict[str, float] | None = None,
    **options: int,
) -> Row:
    """SmolLM2-135M-Instruct from the file that both read; both round activations to 8 bits."""
    wanted = (Wanted(factor, "llama.cpp"),)
    peers = ("llama.cpp",)
    return Row(
        f"SmolLM2, {name}", task, options, unit, peers, wanted, amount, limit or {}, tolerance=0.05
    )


def _attention_flops(batch: int, heads: int, length: int, width: int) -> float:
    """Two products, half of each under the diagonal."""
    return 2 * batch * heads * length**2 * width


def _elementwise(name: str, task: str, rows: int, width: int, factor: float) -> Row:
    return Row(
        f"{name} {rows}×{width}",
        task,
        {"rows": rows, "width": width},
        "ms",
        ("PyTorch",),
        (Wanted(factor, "PyTorch"),),
        limit={"copied": 8 * rows * width},
    )


def _sampling(name: str, top_k: int, top_p: float, milliseconds: float) -> Row:
    return Row(
        name,
        "sampling",
        {"top_k": top_k, "top_p": top_p},
        "ms",
        ("PyTorch",),
        (Wanted(milliseconds, ABSOLUTE),),
        limit={"read": 4 * 50_257},
    )


_ALL_PEERS = ("transformers", "llama.cpp", "CTranslate2")
# SmolLM2's: 9 heads of queries and 3 of keys and values, 64 wide; a gate beside the hidden layer
_SMOLLM2_BLOCKS = 30 * 576 * ((9 + 3 + 3 + 9) * 64 + 3 * 1536)
# numbers in a model's matrices, layers, heads, their width, and bytes of a step's update: AdamW
# reads four arrays and writes three, and gradients are zeroed; small ones stay in the caches
_TRAINED: dict[str, tuple[float, int, int, int, float]] = {
    "gpt2-124m": (_BLOCKS + _HEAD, 12, 12, 64, 8 * 4 * _ALL),
    "nanogpt-cpu": (4 * 12 * 128**2 + 65 * 128, 4, 4, 32, 0),
    "nanogpt-10m": (6 * 12 * 384**2 + 65 * 384, 6, 6, 64, 0),
}

ROWS = [
    _decode(
        "decode, float32",
        "float32",
        _ALL_PEERS,
        (Wanted(1.05, "llama.cpp"), Wanted(0.9, LIMIT)),
    ),
    _decode("decode, 8-bit", "q8", ("llama.cpp", "CTranslate2"), (Wanted(1.5, "llama.cpp"),)),
    _decode("decode, 4-bit", "q4_0", ("llama.cpp",), (Wanted(1.8, "llama.cpp"),)),
    _decode(
        "decode of 8 rows, 8-bit",
        "q8",
        ("llama.cpp", "CTranslate2"),
        (Wanted(2.5, "CTranslate2"),),
        rows=8,
    ),
    _prefill("prefill of 512, float32", "float32", _ALL_PEERS, 2),
    _prefill("prefill of 512, 8-bit", "q8", ("llama.cpp", "CTranslate2"), 1.7),
    *_training("124M, B4 T64", "gpt2-124m", 4, 64, "s", 0.55),
    *_training("nanoGPT's recipe", "nanogpt-cpu", 12, 64, "ms", 0.33),
    *_training("10M, B8 T256", "nanogpt-10m", 8, 256, "ms", 0.5),
    Row(
        "attention (1,12,1024,64)",
        "attention",
        {"batch": 1, "heads": 12, "length": 1024, "width": 64, "backward": False},
        "ms",
        ("PyTorch",),
        (Wanted(0.6, "PyTorch"),),
        limit={"flops": _attention_flops(1, 12, 1024, 64)},
    ),
    Row(
        "attention and backward (4,12,256,64)",
        "attention",
        {"batch": 4, "heads": 12, "length": 256, "width": 64, "backward": True},
        "ms",
        ("PyTorch",),
        (Wanted(0.5, "PyTorch"),),
        limit={"flops": 3.5 * _attention_flops(4, 12, 256, 64)},
    ),
    _elementwise("softmax", "softmax", 24_576, 256, 1),
    _elementwise("layernorm", "layernorm", 2048, 768, 1),
    _elementwise("GELU", "gelu", 2048, 3072, 0.3),
    _sampling("sampling, k=50 p=0.95", 50, 0.95, 0.06),
    _sampling("sampling, p=0.95", 0, 0.95, 0.15),
    _smollm2(
        "reading 512",
        "smollm2_read",
        "tokens/s",
        4,
        512,
        {
            "q4": 2 * 512 * _SMOLLM2_BLOCKS,
            "q8": 2 * 49_152 * 576,  # its head
            "flops": 30 * _attention_flops(1, 9, 512, 64),
        },
        length=512,
    ),
    _smollm2("writing", "smollm2_write", "tokens/s", 1.8, 32, new=32),
    _smollm2("import to first token", "smollm2_first_token", "s", 1),
    _smollm2("resident memory", "smollm2_memory", "MB", 1.3, new=64),
    Row(
        "generation, small model",
        "generation",
        {"prompt": 5, "new": 50},
        "tokens/s",
        (),
        (Wanted(10_000, ABSOLUTE),),
        amount=50,
    ),
]
