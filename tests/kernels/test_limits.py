"""The work that stands for the machine's limits is really done."""

import numpy as np
import pytest

from litegpt import kernels
from litegpt.kernels import limits
from litegpt.kernels.reference.weight_formats import FORMATS


def test_reading_reads_every_float(compiled: str) -> None:
    x = np.random.default_rng(0).integers(-100, 100, (5, 16_384)).astype(np.float32)
    np.testing.assert_array_equal(kernels._native._probe_read(x), x.sum(axis=1))
    with pytest.raises(ValueError, match=r"x must have shape \(blocks, 16384\), not \(5, 16383\)"):
        kernels._native._probe_read(x[:, 1:].copy())


def test_copying_copies_every_float(compiled: str) -> None:
    x = np.random.default_rng(0).standard_normal((3, 33_333), np.float32)
    y = np.zeros_like(x)
    kernels._native._probe_copy(x, y)
    np.testing.assert_array_equal(x, y)
    y.flags.writeable = False
    with pytest.raises(ValueError, match="y is read-only"):
        kernels._native._probe_copy(x, y)


def test_multiplying_counts_what_it_does(compiled: str) -> None:
    """x / 2 + 1 ends at 2 in every lane of every register, so that the sum counts these."""
    y = np.zeros(3, np.float32)
    operations = kernels._native._probe_multiply_add(np.array([0.5, 1], np.float32), y)
    rounds = 4096
    np.testing.assert_array_equal(y, operations / len(y) / 2 / rounds * 2)


def test_multiplying_bfloat16_counts_what_it_does(compiled: str) -> None:
    """Every multiply-add moves a sum by 1.5 times -2, and is half of two operations."""
    y = np.zeros(3, np.float32)
    operations = kernels._native._probe_multiply_pairs(np.array([1.5, -2], np.float32), y)
    np.testing.assert_array_equal(y, -3 * operations / len(y) / 2)
    floats = kernels._native._probe_multiply_add(np.array([0.5, 1], np.float32), y)
    assert operations / floats == (2 if kernels.multiplies_bfloat16() else 1)
    with pytest.raises(ValueError, match="not 'float16'"):
        limits.multiplying(1e6, "float16")


@pytest.mark.parametrize("format", [name for name, form in FORMATS.items() if form.codes])
@pytest.mark.parametrize("activation", [1, -1])
def test_multiplying_codes_counts_what_it_does(compiled: str, format: str, activation: int) -> None:
    """Every multiply-add moves a sum by one, up or down."""
    y = np.zeros(3, np.float32)
    x = np.array([1, activation], np.float32)
    operations = kernels._native._probe_multiply_codes(x, format, y)
    np.testing.assert_array_equal(y, activation * operations / len(y) / 2)
    with pytest.raises(ValueError, match="float16 has no codes"):
        limits.multiplying_codes(1e6, "float16")


@pytest.mark.parametrize("size", [1, 300_000, 5_000_000])
def test_work_has_the_size_that_is_asked_for(
    compiled: str, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    native, done = kernels._native, []
    read = native._probe_read
    monkeypatch.setattr(native, "_probe_read", lambda x: done.append(x.nbytes) or read(x))
    limits.reading(size, at_once=1 << 20)()
    assert sum(done) == pytest.approx(size, abs=65_536)
    assert max(done) <= 1 << 20


def test_numpy_measures_no_limits() -> None:
    with kernels.use_backend("numpy"), pytest.raises(RuntimeError, match="compiled kernels alone"):
        limits.reading(1)
