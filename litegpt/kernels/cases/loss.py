"""Cases of cross-entropy and of dropout."""

from typing import Any

import numpy as np

from litegpt.kernels import reference
from litegpt.kernels.cases.case import (
    EPS,
    LENGTHS,
    LONG,
    NORMAL,
    SPECIAL,
    Arguments,
    Case,
    Gradient,
    Outputs,
    normal,
    relative,
)


def _loss(rng: np.random.Generator, rows: int, vocabulary: int, ignored: float = 0.0) -> Arguments:
    targets = rng.integers(0, vocabulary, rows)
    targets[rng.random(rows) < ignored] = -100
    return {"logits": 4 * normal(rng, rows, vocabulary), "targets": targets, "ignore_index": -100}


def _loss_backward(
    rng: np.random.Generator,
    rows: int,
    vocabulary: int,
    ignored: float = 0.0,
    scale: float = 1.0,
) -> Arguments:
    forward = _loss(rng, rows, vocabulary, ignored)
    _, lse = reference.cross_entropy(**forward)
    logits, targets, ignore = forward.values()
    names = ("logits", "targets", "lse", "ignore_index", "scale")
    return dict(zip(names, (logits, targets, lse, ignore, scale), strict=True))


def _loss_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """lse: relative to 1 + |lse| + |largest logit|; the loss: to the mean of that and |logit|."""
    logits, targets = arguments["logits"], arguments["targets"]
    with np.errstate(invalid="ignore"):
        row = 1 + np.abs(outputs[1]) + np.abs(logits.max(axis=1, initial=-np.inf))
    error = (4 + 0.1 * logits.shape[1] ** 0.5) * EPS * row
    kept = np.flatnonzero(targets != arguments["ignore_index"])
    if kept.size == 0:
        return [0.0, error]
    taken = np.abs(logits[kept, targets[kept]])
    return [(error[kept] + EPS * taken).mean(), error]


def _loss_backward_bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """8 ulp of scale / count * (p * (1 + |logit - lse|) + 1 at the target)."""
    logits, lse, targets = arguments["logits"], arguments["lse"], arguments["targets"]
    distance = logits - lse[:, None]
    magnitude = np.exp(distance) * (1 + np.abs(np.where(np.isneginf(distance), 0, distance)))
    kept = np.flatnonzero(targets != arguments["ignore_index"])
    magnitude[kept, targets[kept]] += 1
    return [8 * EPS * abs(arguments["scale"]) / max(1, kept.size) * magnitude + NORMAL]


def _loss_gradient(twin: Any, arguments: Arguments, outputs: Outputs, dy: np.ndarray) -> Arguments:
    logits, targets, ignore = (arguments[n] for n in ("logits", "targets", "ignore_index"))
    scale = float(dy)  # the loss is one number
    return {"logits": twin.cross_entropy_backward(logits, targets, outputs[1], ignore, scale)}


def _masked_logits(rng: np.random.Generator) -> Arguments:
    arguments = _loss(rng, 5, 37)
    arguments["logits"][:, ::3] = -np.inf
    arguments["targets"][:] = 1
    return arguments


def _impossible_target(rng: np.random.Generator) -> Arguments:
    """A target of probability 0 costs infinitely much."""
    arguments = _loss(rng, 3, 37)
    arguments["logits"][1, arguments["targets"][1]] = -np.inf
    return arguments


def _nan_logit(rng: np.random.Generator) -> Arguments:
    arguments = _loss(rng, 3, 37)
    arguments["logits"][1, 36] = np.nan
    return arguments


def _nan_where_ignored(rng: np.random.Generator) -> Arguments:
    arguments = _nan_logit(rng)
    arguments["targets"][1] = -100
    return arguments


def _all_ignored(rng: np.random.Generator) -> Arguments:
    return _loss(rng, 3, 37, 2.0)


def _ignored_nan_backward(rng: np.random.Generator) -> Arguments:
    arguments = _loss_backward(rng, 3, 37)
    arguments["logits"][1, 36] = np.nan
    arguments["lse"][1] = np.nan
    arguments["targets"][1] = -100
    return arguments


def _all_ignored_backward(rng: np.random.Generator) -> Arguments:
    return _loss_backward(rng, 3, 37, 2.0)


def _dropout(rng: np.random.Generator, n: int, p: float = 0.1, seed: int = 2**63 + 5) -> Arguments:
    return {"x": normal(rng, n), "p": p, "seed": seed}


def _dropout_special(rng: np.random.Generator) -> Arguments:
    return {"x": np.resize(SPECIAL, 150), "p": 0.5, "seed": 3}


def _dropout_gradient(
    twin: Any, arguments: Arguments, outputs: Outputs, dy: np.ndarray
) -> Arguments:
    return {"x": twin.dropout(dy, arguments["p"], arguments["seed"])}


_LOSS_SIZES = (
    *((3, n) for n in LENGTHS),
    *((m, 11, 0.3) for m in (0, 1, 2, 7, 16, 33, 1009)),
    (5, 50_257),
    (257, 65),
)

CASES = (
    Case(
        "cross_entropy",
        _loss,
        _LOSS_SIZES,
        _loss_bound,
        {"768x65": (768, 65), "256x50257": (256, 50257)},
        special={
            "masked logits": _masked_logits,
            "impossible target": _impossible_target,
            "NaN logit": _nan_logit,
            "NaN where ignored": _nan_where_ignored,
            "all ignored": _all_ignored,
        },
        gradient=Gradient(_loss_gradient, sizes=((4, 7), (5, 7, 0.4))),
    ),
    Case(
        "cross_entropy_backward",
        _loss_backward,
        (*_LOSS_SIZES, (5, 19, 0.3, 0.125), (5, 19, 0.0, 128.0)),
        _loss_backward_bound,
        {"768x65": (768, 65), "256x50257": (256, 50257)},
        special={"NaN where ignored": _ignored_nan_backward, "all ignored": _all_ignored_backward},
    ),
    Case(
        "dropout",
        _dropout,
        (
            *((n,) for n in (0, *LENGTHS, *LONG)),
            *((200, p) for p in (0.0, 0.5, 0.999, 1.0, 1.5)),
            *((200, 0.5, seed) for seed in (0, 1, 2**32, 2**64 - 1)),
        ),
        relative(2),
        {"768x512": (768 * 512,), "2048x3072": (2048 * 3072,)},
        special={"values": _dropout_special},
        gradient=Gradient(_dropout_gradient, sizes=((37, 0.3),)),
    ),
)
