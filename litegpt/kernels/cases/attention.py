"""Cases of attention: over the sequence, backward, and over a cache."""

from typing import Any

import numpy as np

from litegpt.kernels import reference
from litegpt.kernels.cases.case import (
    EPS,
    NORMAL,
    Arguments,
    Case,
    Gradient,
    Outputs,
    exact,
    normal,
    sum_error,
)
from litegpt.kernels.reference.attention import (
    KEY_BLOCK,
    _causal_scores,
    _heads_first,
    _probabilities,
)


def _views(rng: np.random.Generator, batch: int, length: int, width: int, *heads: int) -> Any:
    """Views of one projection, as attention layers take them: (B, T, heads[i], D) each."""
    projection = normal(rng, batch, length, sum(heads), width)
    return np.split(projection, np.cumsum(heads)[:-1], axis=2)


def _causal(
    rng: np.random.Generator,
    batch: int,
    length: int,
    attended: int,
    heads: int,
    groups: int,
    width: int,
    masked: bool = False,
    dropout: float = 0.0,
) -> Arguments:
    if length == attended:
        q, k, v = _views(rng, batch, length, width, heads, groups, groups)
    else:
        q = normal(rng, batch, length, heads, width)
        k, v = _views(rng, batch, attended, width, groups, groups)
    key_mask = None
    if masked:  # the first key masked: the first query of a square has nothing to attend to
        key_mask = np.where(rng.random((batch, attended)) < 0.3, np.float32(-np.inf), 0)
        key_mask = key_mask.astype(np.float32)
        key_mask[:, :1] = -np.inf
    return {"q": q, "k": k, "v": v, "key_mask": key_mask, "dropout": dropout, "seed": 9_876_543_210}


def _causal_backward(rng: np.random.Generator, *size: Any) -> Arguments:
    forward = _causal(rng, *size)
    y, lse = reference.causal_attention(**forward)
    q, k, v, *options = forward.items()
    dy = normal(rng, *y.shape)
    return {"dy": dy, **dict([q, k, v]), "y": y, "lse": lse, **dict(options)}


def _score_error(arguments: Arguments) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities (B, H, T, S), and what rounding of their scores may do to each."""
    q, k = arguments["q"], arguments["k"]
    heads = q.shape[2]
    scores = _causal_scores(_heads_first(q, heads), _heads_first(k, heads), arguments["key_mask"])
    _, lse = reference.causal_attention(q, k, arguments["v"], arguments["key_mask"])
    p = _probabilities(scores, lse)
    k_all = np.repeat(np.abs(k), q.shape[2] // k.shape[2], axis=2)
    magnitude = np.einsum("bthd,bshd->bhts", np.abs(q), k_all) / q.shape[3] ** 0.5
    distance = np.where(p > 0, np.abs(scores - np.where(np.isneginf(lse), 0, lse)[..., None]), 0)
    largest = magnitude.max(axis=-1, keepdims=True, initial=0)
    # a softmax shifts every probability of a row by its largest error
    return p, p * (1 + distance) * EPS + p * sum_error(q.shape[3]) * largest


def _causal_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """y: sum of p |v|, where each p is off by what rounding |q| |k| / sqrt(D) does to exp.

    lse: 1 + |lse| + the largest |q| |k| / sqrt(D).
    """
    q, v = arguments["q"], arguments["v"]
    p, p_error = _score_error(arguments)
    kept = 1 / (1 - arguments["dropout"])
    v_all = np.repeat(np.abs(v), q.shape[2] // v.shape[2], axis=2)
    per_term = 4 * p_error + sum_error(v.shape[1]) * p
    y = kept * np.einsum("bhts,bshd->bthd", per_term, v_all)
    lse = np.where(np.isneginf(outputs[1]), 0, np.abs(outputs[1]))
    relative = (p_error / np.where(p > 0, p, 1)).max(axis=-1, initial=0)
    return [y + NORMAL, 4 * (relative + EPS * (1 + lse))]


def _causal_backward_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """Each relative to the magnitudes that it adds up, with |dS| = p (|dy||v| + |dy||y|)."""
    q, k, v, y, dy = (np.abs(arguments[name]) for name in ("q", "k", "v", "y", "dy"))
    p, p_error = _score_error(arguments)
    kept, repeat, width = 1 / (1 - arguments["dropout"]), q.shape[2] // k.shape[2], q.shape[3]
    k_all, v_all = np.repeat(k, repeat, axis=2), np.repeat(v, repeat, axis=2)
    per_term = 4 * p_error + (sum_error(k.shape[1]) + sum_error(width)) * p
    slope = kept * np.einsum("bthd,bshd->bhts", dy, v_all)
    slope = slope + np.einsum("bthd,bthd->bht", dy, y)[..., None]
    ds = per_term * slope / width**0.5
    grouped = (*k.shape[:2], k.shape[2], repeat, width)
    dk = np.einsum("bhts,bthd->bshd", ds, q).reshape(grouped).sum(axis=3)
    dv = kept * np.einsum("bhts,bthd->bshd", per_term, dy).reshape(grouped).sum(axis=3)
    return [g + NORMAL for g in (np.einsum("bhts,bshd->bthd", ds, k_all), dk, dv)]


def _causal_gradient(
    twin: Any, arguments: Arguments, outputs: Outputs, dy: np.ndarray
) -> Arguments:
    inputs = {name: arguments[name] for name in ("q", "k", "v")}
    options = {name: arguments[name] for name in ("key_mask", "dropout", "seed")}
    y, lse = outputs
    gradients = twin.causal_attention_backward(dy, **inputs, y=y, lse=lse, **options)
    return dict(zip(inputs, gradients, strict=True))


def _nothing_to_attend(rng: np.random.Generator) -> Arguments:
    """The first row of the batch has every key masked, the second none."""
    arguments = _causal(rng, 2, 35, 35, 2, 1, 16, True)
    arguments["key_mask"][0] = -np.inf
    arguments["key_mask"][1] = 0
    return arguments


def _nan_query(rng: np.random.Generator) -> Arguments:
    """What isn't a number in one query stays in that query's row."""
    arguments = _causal(rng, 1, 35, 35, 2, 1, 16)
    arguments["q"][0, 17, 1, 3] = np.nan
    return arguments


def _one_key_takes_all(rng: np.random.Generator) -> Arguments:
    """Scores so far apart that exp underflows for every key but one."""
    arguments = _causal(rng, 1, 40, 40, 2, 2, 16)
    arguments["q"] *= 100
    return arguments


def _nothing_to_attend_backward(rng: np.random.Generator) -> Arguments:
    forward = _nothing_to_attend(rng)
    y, lse = reference.causal_attention(**forward)
    return {"dy": normal(rng, *y.shape), **forward, "y": y, "lse": lse}


def _cache(
    rng: np.random.Generator, groups: int, width: int, lengths: tuple[int, ...], more: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A cache with NaN wherever nothing was written: what is not there must not matter."""
    blocks = (max(lengths, default=0) + more) // KEY_BLOCK + 2
    capacity = blocks * KEY_BLOCK
    keys = np.full((len(lengths), groups, blocks, width, KEY_BLOCK), np.nan, np.float32)
    values = np.full((len(lengths), groups, capacity, width), np.nan, np.float32)
    for b, length in enumerate(lengths):
        k, v = normal(rng, 2, 1, length, groups, width)
        start = np.zeros(1, np.int64)
        reference.cache_append(k, v, keys[b : b + 1], values[b : b + 1], start)
    return keys, values, np.array(lengths, np.int64)


def _append(
    rng: np.random.Generator, length: int, groups: int, width: int, lengths: tuple[int, ...]
) -> Arguments:
    _, k, v = _views(rng, len(lengths), length, width, 3, groups, groups)
    keys, values, starts = _cache(rng, groups, width, lengths, length)
    return {"k": k, "v": v, "keys": keys, "values": values, "lengths": starts}


def _cached(
    rng: np.random.Generator,
    length: int,
    heads: int,
    groups: int,
    width: int,
    lengths: tuple[int, ...],
) -> Arguments:
    q, k, v = _views(rng, len(lengths), length, width, heads, groups, groups)
    keys, values, starts = _cache(rng, groups, width, lengths, length)
    reference.cache_append(k, v, keys, values, starts)
    return {"q": q, "keys": keys, "values": values, "lengths": starts}


def _cached_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """As causal_attention's, row by row."""
    q, keys, values = arguments["q"], arguments["keys"], arguments["values"]
    bound = np.zeros(q.shape)
    for b in range(q.shape[0]):
        end = int(arguments["lengths"][b]) + q.shape[1]
        k = keys[b].swapaxes(1, 2).reshape(keys.shape[1], q.shape[3], -1)[:, :, :end]
        row = {"q": q[b : b + 1], "k": k.transpose(2, 0, 1)[None], "key_mask": None}
        row |= {"v": values[None, b, :, :end].swapaxes(1, 2), "dropout": 0.0}
        bound[b] = _causal_bound(row, list(reference.causal_attention(**row)))[0][0]
    return [bound]


def _pairs(arguments: Arguments, products: int) -> float:
    """Flops of so many multiply-adds of width D for each query and each key it looks at."""
    batch, length, heads, width = arguments["q"].shape
    attended = arguments["k"].shape[1]
    looked_at = length * attended - length * (length - 1) / 2
    return 2.0 * products * width * batch * heads * looked_at


_WIDTHS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 80, 96, 128)
_CAUSAL_SIZES = (
    *((1, 5, 5, 2, 1, width) for width in _WIDTHS),
    *((1, t, t, 2, 2, 16) for t in (0, 1, 2, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127)),
    *((1, t, s, 4, 2, 8) for t, s in ((1, 2), (1, 33), (1, 257), (3, 64), (17, 40), (33, 97))),
    (0, 4, 4, 2, 1, 8),
    (2, 40, 40, 6, 1, 24),
    (2, 40, 40, 6, 3, 24, True),
    (3, 33, 70, 4, 2, 32, True),
    (2, 37, 37, 4, 2, 16, False, 0.3),
    (2, 70, 70, 4, 4, 33, True, 0.1),
    (1, 9, 41, 2, 1, 8, False, 0.5),
    (1, 257, 257, 4, 2, 64),
)

CASES = (
    Case(
        "causal_attention",
        _causal,
        _CAUSAL_SIZES,
        _causal_bound,
        {"1x12x1024x64": (1, 1024, 1024, 12, 12, 64), "4x12x256x64": (4, 256, 256, 12, 12, 64)},
        special={
            "nothing to attend to": _nothing_to_attend,
            "NaN query": _nan_query,
            "one key takes all": _one_key_takes_all,
        },
        gradient=Gradient(
            _causal_gradient,
            sizes=(
                (1, 4, 4, 2, 2, 3),
                (2, 3, 5, 4, 2, 3, True),
                (1, 5, 5, 2, 1, 2, True, 0.3),
            ),
        ),
        flops=lambda arguments: _pairs(arguments, 2),
        wanted=7,
    ),
    Case(
        "causal_attention_backward",
        _causal_backward,
        _CAUSAL_SIZES,
        _causal_backward_bound,
        {"4x12x256x64": (4, 256, 256, 12, 12, 64), "12x4x64x32": (12, 64, 64, 4, 4, 32)},
        special={"nothing to attend to": _nothing_to_attend_backward},
        flops=lambda arguments: _pairs(arguments, 5),
    ),
    Case(
        "cache_append",
        _append,
        (
            *((1, 2, width, (5,)) for width in _WIDTHS),
            *((t, 2, 8, (0, 31, 40)) for t in (0, 1, 2, 31, 32, 33, 64, 65)),
            (2, 1, 4, ()),
        ),
        exact,
        {"8x12x64": (1, 12, 64, (500,) * 8), "512x12x64": (512, 12, 64, (0,))},
        updates=("keys", "values"),
        moved=lambda arguments: 2.0 * (arguments["k"].nbytes + arguments["v"].nbytes),
    ),
    Case(
        "cached_attention",
        _cached,
        (
            *((1, 2, 1, width, (6,)) for width in _WIDTHS),
            *((1, 2, 2, 16, (n,)) for n in (0, 1, 15, 16, 17, 30, 31, 32, 33, 63, 64, 65, 255)),
            *((t, 4, 2, 8, (0, 31, 40)) for t in (0, 1, 2, 9, 31, 32, 33, 65)),
            (1, 9, 3, 64, (3, 100)),
            (1, 2, 1, 4, ()),
        ),
        _cached_bound,
        {"1x12x1000x64": (1, 12, 12, 64, (999,)), "8x9x3x500x64": (1, 9, 3, 64, (500,) * 8)},
    ),
)
