"""What a fuzz does to a JSON text, so that it stays one."""

import json
import random
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 2**31, 2**31 - 1, 2**53, 2**63, -(2**63), 2**64, 10**400,
    0.5, -0.0, 1e-320, 1e308, float("inf"), float("nan"), "", "a", "\0", "\ud800", "字", "../a",
    "F16", "I64", "x" * 5000, [], {}, [[]], [1, 2], {"a": 1}, [None], ["a"] * 300, [0] * 300,
)  # fmt: skip


def mutate_json(data: bytes, rng: random.Random) -> bytes:
    """A JSON text in which some values are others, are missing, or stand elsewhere."""
    content = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        places = list(_places(content))
        if not places:
            break
        (container, key), (other, other_key) = rng.choice(places), rng.choice(places)
        match rng.randrange(6):
            case 0:
                del container[key]
            case 1:
                container[key] = json.loads(json.dumps(other[other_key]))
            case 2 if isinstance(container, dict):
                container[rng.choice(["", "a", str(other_key)])] = container.pop(key)
            case 3:
                container[key] = [container[key]]
            case _:
                container[key] = rng.choice(VALUES)
    return json.dumps(content, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")


def _places(content: Any) -> Any:
    """(container, key) of every value in a JSON object or list."""
    if isinstance(content, dict | list):
        for key in list(content) if isinstance(content, dict) else range(len(content)):
            yield content, key
            yield from _places(content[key])


def mutate_header(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file with another header, whose length is right."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = mutate_json(data[8:end], rng)
    return len(header).to_bytes(8, "little") + header + data[end:]
