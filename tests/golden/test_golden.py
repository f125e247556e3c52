"""The golden run: what a fixed tiny model computes stays what it was, on every rung."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest


def _regenerate() -> ModuleType:
    path = Path(__file__).with_name("regenerate.py")
    spec = importlib.util.spec_from_file_location("regenerate_golden", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


regenerate = _regenerate()
GOLDEN: dict[str, Any] = json.loads(regenerate.GOLDEN.read_text())


@pytest.mark.parametrize("family", regenerate.FAMILIES)
def test_golden(backend: str, family: str) -> None:
    wanted = GOLDEN[family]
    model = regenerate.make(family)
    got = regenerate.run(model)
    np.testing.assert_allclose(got["logits"], wanted["logits"], rtol=1e-4, atol=1e-5)
    assert got["gradients"].keys() == wanted["gradients"].keys()
    for name, gradient in wanted["gradients"].items():
        tolerance = 1e-4 * np.abs(gradient).max()
        np.testing.assert_allclose(
            got["gradients"][name], gradient, rtol=1e-3, atol=tolerance, err_msg=name
        )
    np.testing.assert_allclose(got["losses"], wanted["losses"], rtol=1e-4)
    assert wanted["losses"][-1] < 0.85 * wanted["losses"][0]  # it learned
    assert regenerate.continued(model) == wanted["greedy"]
