"""JSON from outside, read no deeper than any file needs."""

import json
from typing import Any

import numpy as np

DEEPEST = 128  # lists and objects within each other; the bound of serde_json, and so of tokenizers
_QUOTE = ord('"')
_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1
_ALL_ELSE = bytes(set(range(256)) - set(b'[]{}"'))


def parse(text: str | bytes, **options: Any) -> Any:
    """The value of a text; ValueError if it isn't JSON in UTF-8, or nested deeper than DEEPEST.

    options are those of json.loads. That alone would go down until Python's stack ends, where
    every finaliser fails that the garbage collector happens to run.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    if text.count("[") + text.count("{") > DEEPEST and _depth(text) > DEEPEST:
        raise ValueError("nested too deeply")
    return json.loads(text, **options)


def _depth(text: str) -> int:
    """How many lists and objects are open at once, as far as the text is JSON."""
    written = text.encode(errors="replace").replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = np.frombuffer(written.translate(None, _ALL_ELSE), np.uint8)
    in_string = np.cumsum(marks == _QUOTE, dtype=np.uint8) & 1  # an odd number of quotes so far
    steps = np.where(in_string, np.int8(0), _STEPS[marks])
    return int(np.cumsum(steps, dtype=np.int32).max())
