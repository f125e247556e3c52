"""What users hand in, as kernels take it: converted once, here, and nowhere below."""

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

FLOAT = np.dtype(np.float32)
IDS = np.dtype(np.int64)

Backward = Callable[[np.ndarray], np.ndarray]  # dy -> dx; adds into the parameters' gradients


def floats(x: ArrayLike, dtype: DTypeLike = FLOAT) -> np.ndarray:
    """A C-contiguous array of dtype (the type of a layer's parameters); x itself if it is one."""
    if type(x) is np.ndarray and x.dtype is dtype and x.flags.c_contiguous:
        return x
    return np.ascontiguousarray(x, dtype)


def rows_of(width: int, x: ArrayLike, dtype: DTypeLike = FLOAT) -> np.ndarray:
    """floats, of so many numbers on the last axis; otherwise ValueError."""
    x = floats(x, dtype)
    if x.shape[-1:] != (width,):
        raise ValueError(f"this layer takes (..., {width}), not {x.shape}")
    return x


def is_number(value: object, least: float = -math.inf, most: float = math.inf) -> TypeGuard[float]:
    """Whether value is a finite real number within these limits."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value) and least <= float(value) <= most
    except OverflowError:  # an integer or a fraction beyond every float
        return False


def token_ids(ids: ArrayLike, name: str = "ids") -> np.ndarray:
    """A C-contiguous int64 array; ids itself if it is one. Anything but integers: TypeError.

    ValueError for lists of unequal lengths.
    """
    if type(ids) is np.ndarray and ids.dtype is IDS and ids.flags.c_contiguous:
        return ids
    try:
        array = np.asarray(ids)
    except ValueError:  # "... has an inhomogeneous shape after 1 dimensions"
        raise ValueError(f"{name} must be integers in rows of one length") from None
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, not {array.dtype}")
    return np.ascontiguousarray(array, IDS)


def check_size(name: str, value: Any, least: int = 1) -> None:
    """ValueError unless value is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} must be an integer from {least} on, not {value!r}")


def check_fit(what: str, own: Mapping[str, Any], given: Mapping[str, Any], strict: bool) -> None:
    """ValueError listing all names and shapes of the given arrays that aren't those of our own.

    Without strict, names that only one side has don't matter.
    """
    problems = []
    if strict:
        problems += [f"missing {name}" for name in own if name not in given]
        problems += [f"unexpected {name}" for name in given if name not in own]
    problems += [
        f"{name} has shape {given[name].shape}, not {array.shape}"
        for name, array in own.items()
        if name in given and given[name].shape != array.shape
    ]
    if problems:
        raise ValueError(f"{what} doesn't fit: " + "; ".join(problems))
