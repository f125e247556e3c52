"""JSON from outside: the values are json's, and no depth reaches the end of Python's stack."""

import gc
import json
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litegpt import json_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('"\\[]{}a'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('"\\[]{}'), inner),
)


@given(VALUES, st.booleans())
def test_values_are_those_of_json(value: object, as_bytes: bool) -> None:
    text = json.dumps(value)
    assert json_text.parse(text.encode() if as_bytes else text) == value


def _nested(depth: int, between: str = "") -> str:
    return "[" * depth + between + "]" * depth


@pytest.mark.parametrize("between", ["", '"[[[["', '"\\"[[["', '"\\\\",[]', '"]]]]"'])
def test_the_bound_counts_what_is_open_at_once(between: str) -> None:
    inside = len(json.loads(f"[{between}]")) == 2  # a list of its own stands there
    json_text.parse(_nested(json_text.DEEPEST - inside, between))
    with pytest.raises(ValueError, match="nested too deeply"):
        json_text.parse(_nested(json_text.DEEPEST - inside + 1, between))


def test_many_side_by_side_are_not_deep() -> None:
    assert len(json_text.parse("[" + ",".join(['{"[": []}'] * 10_000) + "]")) == 10_000


def test_not_even_what_is_not_json_goes_deep() -> None:
    for text in ("[" * 100_000, '{"a":' * 100_000, "[" * 500 + "\\" + "]" * 500):
        with pytest.raises(ValueError, match="nested too deeply"):
            json_text.parse(text)


def test_what_is_not_utf8_is_refused() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        json_text.parse("[1]".encode("utf-16"))
    assert json_text.parse(b"\xef\xbb\xbf[1]") == [1]


def test_finalisers_run_while_a_deep_text_is_refused() -> None:
    """Cycles that the collector finds meanwhile are finalised with stack to spare."""

    class Cycle:
        pass

    ended: list[int] = []
    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for number in range(50):
            cycle = Cycle()
            cycle.itself = cycle  # type: ignore[attr-defined]
            weakref.finalize(cycle, ended.append, number)
            del cycle
            with pytest.raises(ValueError, match="nested too deeply"):
                json_text.parse("[" * 900)
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert sorted(ended) == list(range(50))
