"""What is said of arguments that make no sense: their name, what is allowed, what was given."""

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np


def refuse(name: str, allowed: str, value: object) -> ValueError:
    return ValueError(f"{name} must be {allowed}, not {value!r}")


def check_integer(name: str, value: Any, least: int, allowed: str = "") -> None:
    """ValueError unless value is an integer of at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < least:
        raise refuse(name, f"an integer of {least} or more{allowed}", value)


def check_text(name: str, value: object) -> None:
    """ValueError unless value is a text, or a file's bytes."""
    if not isinstance(value, str | bytes):
        raise refuse(name, "a text or bytes", value)


def listed(name: str, allowed: str, values: Iterable[Any]) -> list[Any]:
    """The values of a list or the like; ValueError for what isn't one."""
    try:
        return list(values)
    except TypeError:
        raise refuse(name, f"a list of {allowed}", values) from None


def id_array(name: str, ids: Iterable[Any], vocab_size: int) -> np.ndarray:
    """ids (n,) int64; ValueError unless all are of the vocabulary."""
    allowed = f"ids from 0 to {vocab_size - 1}"
    ids = listed(name, allowed, ids)
    for token_id in ids:
        if (
            not isinstance(token_id, Integral)
            or isinstance(token_id, bool)
            or not 0 <= int(token_id) < vocab_size
        ):
            raise refuse(name, allowed, token_id)
    return np.array(ids, np.int64)
