"""Ten losses and all gradients are PyTorch's: as it gave them once, and as it gives them now."""

import json
from typing import Any

import numpy as np
import pytest
import pytorch

FAMILIES = pytorch.regenerate.FAMILIES


def same(got: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert got["gradients"].keys() == wanted["gradients"].keys()
    for name, gradient in wanted["gradients"].items():
        tolerance = 1e-4 * np.abs(gradient).max()
        np.testing.assert_allclose(
            got["gradients"][name], gradient, rtol=1e-3, atol=tolerance, err_msg=name
        )
    assert len(wanted["losses"]) == 10
    np.testing.assert_allclose(got["losses"], wanted["losses"], rtol=1e-4)
    assert wanted["losses"][-1] < 0.8 * wanted["losses"][0]  # it learned


@pytest.mark.parametrize("family", FAMILIES)
def test_as_pytorch_gave_them(backend: str, family: str) -> None:
    golden = json.loads(pytorch.GOLDEN.read_text())
    same(pytorch.ours(pytorch.regenerate.make(family)), golden[family])


@pytest.mark.parametrize("family", FAMILIES)
def test_as_pytorch_gives_them(family: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is the oracle").set_num_threads(1)
    pytest.importorskip("transformers", reason="its models are the oracle")
    model = pytorch.regenerate.make(family)
    wanted = pytorch.theirs(model)
    same(pytorch.ours(model), wanted)
