"""JSON files, read with a bound on their size, and their fields by type."""

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from litegpt import json_text
from litegpt.formats.errors import ModelFormatError

_LARGEST = 1 << 20  # bytes; a model's config.json has some two thousand

T = TypeVar("T")


class JsonFields:
    """The fields of a JSON object, each a ModelFormatError if it isn't of the type asked for.

    A default stands for a field that is absent or null; without one the field is required.
    """

    def __init__(self, path: Path | str, fields: Mapping[str, Any]) -> None:
        self.path, self.fields = path, fields

    def refuse(self, name: str, allowed: str) -> ModelFormatError:
        """The error that says of a field what is allowed."""
        if self.fields.get(name) is None:
            return ModelFormatError(f"{self.path}: {name} is missing; it must be {allowed}")
        shown = repr(self.fields[name])
        shown = shown if len(shown) <= 80 else f"{shown[:80]}..."
        return ModelFormatError(f"{self.path}: {name} must be {allowed}, not {shown}")

    def integer(self, name: str, default: int | None = None) -> int:
        value = self._value(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**31:
            raise self.refuse(name, "an integer from 1 to 2^31 - 1")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        value = self._value(name, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not _finite(value):
            raise self.refuse(name, "a finite number")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise self.refuse(name, "true or false")
        return value

    def choice(self, name: str, meanings: Mapping[str, T], default: str | None = None) -> T:
        """What the field's word means."""
        value = self._value(name, default)
        if not isinstance(value, str) or value not in meanings:
            raise self.refuse(name, "one of " + ", ".join(map(repr, meanings)))
        return meanings[value]

    def section(self, name: str) -> "JsonFields":
        """The object in a field, an empty one by default."""
        value = self._value(name, {})
        if not isinstance(value, dict):
            raise self.refuse(name, "an object")
        return JsonFields(self.path, value)

    def _value(self, name: str, default: Any) -> Any:
        value = self.fields.get(name)
        return default if value is None else value


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond any float
        return False


def read_json(path: Path) -> JsonFields:
    """The object in a JSON file; ModelFormatError if there is none, or it is beyond all measure."""
    if not path.is_file():
        raise ModelFormatError(f"{path}: no such file")
    with path.open("rb") as file:
        text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise ModelFormatError(f"{path}: larger than {_LARGEST} bytes; this can't be a config")
    return parse_json(path, text)


def parse_json(path: Path | str, text: bytes | str) -> JsonFields:
    """The object that a JSON text is; ModelFormatError naming where it came from."""

    def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) < len(pairs):  # of which readers take the one or the other
            name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
            raise ModelFormatError(f"{path}: {name} is there twice")
        return fields

    try:
        fields = json_text.parse(text, object_pairs_hook=as_object)
    except ModelFormatError:
        raise
    except ValueError as error:  # not UTF-8, not JSON, or too deep
        raise ModelFormatError(f"{path}: not JSON ({error})") from error
    if not isinstance(fields, dict):
        raise ModelFormatError(f"{path}: must hold a JSON object, not {type(fields).__name__}")
    return JsonFields(path, fields)
