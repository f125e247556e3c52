"""Compiled kernels read and write nothing outside their arrays."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from litegpt import kernels
from litegpt.kernels.cases import CASES

FENCE = np.float32(7e7)


def test_arrays_at_the_end_of_memory(compiled: str) -> None:
    """Every case, each array against a page that ends the process when it is touched."""
    script = Path(__file__).with_name("guarded.py")
    root = Path(kernels.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(script), compiled],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    last = done.stdout.splitlines()[-1:]
    assert (done.returncode, last) == (0, ["done"]), f"at {last}: {done.stderr[-2000:]}"


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.updates])
def test_works_in_the_array_it_was_given(backend: str, name: str) -> None:
    """The array itself changes, no copy is made on the way, and nothing beside it is touched."""
    case = CASES[name]
    for size in case.sizes:
        arguments = case.arguments(size)
        fences = {}
        for key in case.updates:
            array = arguments[key]
            if array is not None:
                fenced = np.full(array.size + 128, FENCE)
                arguments[key] = fenced[64:-64].reshape(array.shape)
                arguments[key][...] = array
                fences[key] = fenced
        outputs = case.run(kernels, arguments)
        getattr(kernels, name)(**arguments)
        for (key, fenced), want in zip(fences.items(), outputs[-len(fences) :], strict=True):
            np.testing.assert_array_equal(arguments[key], want, err_msg=f"{key} {size}")
            assert (fenced[:64] == FENCE).all() and (fenced[-64:] == FENCE).all(), (key, size)
