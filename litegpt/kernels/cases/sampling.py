"""Cases of the choice of the next token."""

from typing import Any

import numpy as np

from litegpt.kernels import reference
from litegpt.kernels.cases.case import EPS, LENGTHS, Arguments, Case, Outputs, normal

_SLACK = 1e-5  # a float32 running sum may put an edge this far off, relative to the total


def _sample(
    rng: np.random.Generator,
    rows: int,
    vocabulary: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> Arguments:
    """Uniforms that stay clear of the edges between ids, so that one id is the right one."""
    logits = 3 * normal(rng, rows, vocabulary)
    filters = (temperature, top_k, top_p, min_p)
    uniforms = np.zeros(rows)
    unclear = np.arange(rows)
    while unclear.size:
        uniforms[unclear] = rng.uniform(_SLACK, 1 - _SLACK, unclear.size)
        near = [
            reference.sample(logits[unclear], uniforms[unclear] + du, temperature, top_k, p, m)[0]
            for du in (-_SLACK, _SLACK)
            for p in (top_p - _SLACK, top_p + _SLACK if top_p < 1 else top_p)
            for m in (min_p, min_p * (1 + _SLACK))
        ]
        unclear = unclear[np.ptp(near, axis=0) > 0]
    names = ("logits", "uniforms", "temperature", "top_k", "top_p", "min_p")
    return dict(zip(names, (logits, uniforms, *filters), strict=True))


def _bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """The same ids; log-probabilities relative to 1 + |largest logit| + |log-probability|."""
    top = np.abs(arguments["logits"].max(axis=1, initial=-np.inf))
    return [0, 8 * EPS * (1 + top + np.abs(outputs[1]))]


def _masked(rng: np.random.Generator) -> Arguments:
    """-inf is never chosen, not even by top_k larger than what is left."""
    arguments = _sample(rng, 4, 37, 1.0, 30)
    arguments["logits"][:, 3:] = -np.inf
    arguments["uniforms"][:] = 0.0, 0.01, 0.99, 1 - 2**-53
    return arguments


def _equal(rng: np.random.Generator) -> Arguments:
    """Of equal logits exactly top_k stay, those of the smallest ids."""
    arguments = _sample(rng, 3, 37, 1.0, 5)
    arguments["logits"][:] = 1.5
    arguments["uniforms"][:] = 0.1, 0.5, 1 - 2**-53
    return arguments


def _greedy_equal(rng: np.random.Generator) -> Arguments:
    arguments = _sample(rng, 2, 37, 0.0)
    arguments["logits"][0, [4, 30]] = 50.0
    arguments["logits"][1, [0, 36]] = 50.0
    return arguments


def _far_apart(rng: np.random.Generator) -> Arguments:
    arguments = _sample(rng, 2, 37)
    arguments["logits"][0, 20] = 1e30
    arguments["logits"][1] = -1e4
    arguments["uniforms"][:] = 0.3, 0.51
    return arguments


_FILTERS = (
    (0.0,),
    (0.7,),
    (1.3, 10),
    (1.0, 1),
    (1.0, 0, 0.9),
    (1.0, 0, 1.0, 0.05),
    (0.8, 40, 0.95),
    (2.0, 20, 0.8, 0.02),
    (1.0, 5000, 0.5),
)

CASES = (
    Case(
        "sample",
        _sample,
        (
            (0, 5),
            *((2, n) for n in LENGTHS),
            *((3, 101, *filters) for filters in _FILTERS),
            *((2, 50_257, *filters) for filters in _FILTERS[3:7]),
        ),
        _bound,
        {
            "1x50257 k=50 p=0.95": (1, 50_257, 1.0, 50, 0.95),
            "1x50257 p=0.95": (1, 50_257, 1.0, 0, 0.95),
            "8x49152": (8, 49_152),
        },
        special={
            "masked": _masked,
            "equal logits": _equal,
            "greedy among equals": _greedy_equal,
            "far apart": _far_apart,
        },
        wanted=2,
    ),
)
