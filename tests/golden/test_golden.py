"""The golden run: what a fixed tiny model computes stays what it was, on every rung."""

import json
from typing import Any

import numpy as np
import pytest
import regenerate

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
