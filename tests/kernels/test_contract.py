"""One contract, two twins: rosters, signatures, and what the kernels refuse."""

import inspect
import re
from typing import Any

import numpy as np
import pytest

from litegpt import kernels
from litegpt.kernels import reference
from litegpt.kernels.cases import CASES, Arguments, Case, in_float64


def _arrays(case: Case) -> list[str]:
    """The names of a kernel's array arguments."""
    arguments = _plain(case)
    return [name for name, value in arguments.items() if isinstance(value, np.ndarray)]


def _plain(case: Case) -> Arguments:
    """Arguments of the smallest size at which every axis is longer than 1."""
    for size in case.sizes:
        arguments = case.arguments(size)
        arrays = [value for value in arguments.values() if isinstance(value, np.ndarray)]
        if all(min(array.shape, default=0) > 1 for array in arrays):
            return arguments
    raise AssertionError(f"{case.kernel}: no size of its case has all axes longer than 1")


ARRAYS = [
    pytest.param(name, key, id=f"{name}-{key}")
    for name, case in CASES.items()
    if name != "grad_norm"  # takes a list
    for key in _arrays(case)
]


def test_every_kernel_has_a_case_and_every_case_a_kernel() -> None:
    assert sorted(CASES) == sorted(reference.__all__)
    assert reference.__all__ == sorted(reference.__all__)
    assert all(case.kernel == name for name, case in CASES.items())


def test_every_case_makes_arguments_in_the_order_of_the_signature() -> None:
    for name, case in CASES.items():
        parameters = list(inspect.signature(getattr(reference, name)).parameters)
        made = list(_plain(case) if name != "grad_norm" else case.arguments(case.sizes[0]))
        assert made == parameters[: len(made)], name


def test_every_kernel_is_an_attribute_of_the_chosen_twin(backend: str) -> None:
    twin = reference if backend == "numpy" else kernels._native
    for name in reference.__all__:
        assert getattr(kernels, name) is getattr(twin, name)


def test_the_compiled_roster_is_the_reference_roster(compiled: str) -> None:
    native: Any = kernels._native
    public = {
        name
        for name, value in vars(native).items()
        if inspect.isroutine(value)
        and value.__module__ == native.__name__
        and not name.startswith("_")
    }
    assert public >= set(reference.__all__)
    # beside the kernels there is only what kernels/__init__.py calls
    source = inspect.getsource(kernels)
    others = public - set(reference.__all__)
    assert {name for name in others if not re.search(rf"_native\.{name}\b", source)} == set()


@pytest.mark.parametrize("name", reference.__all__)
def test_signatures_are_equal(compiled: str, name: str) -> None:
    twins = [inspect.signature(getattr(twin, name)) for twin in (reference, kernels._native)]
    want, got = (
        [(p.name, p.kind, p.default) for p in signature.parameters.values()] for signature in twins
    )
    assert got == want


@pytest.mark.parametrize(("name", "key"), ARRAYS)
def test_another_dtype_is_refused(compiled: str, name: str, key: str) -> None:
    """No silent slow path: float64 where float32 belongs, int32 where int64 does."""
    arguments = _plain(CASES[name])
    other = {
        np.float32: np.float64,
        np.int64: np.int32,
        np.float64: np.float32,
        np.uint8: np.int8,
    }
    wrong = arguments[key].astype(other[arguments[key].dtype.type])
    with pytest.raises(TypeError, match=rf"\b{key}\b"):
        CASES[name].run(kernels, arguments | {key: wrong})


@pytest.mark.parametrize(("name", "key"), ARRAYS)
def test_a_strided_last_axis_is_refused(compiled: str, name: str, key: str) -> None:
    arguments = _plain(CASES[name])
    array = arguments[key]
    strided = np.repeat(array, 2, axis=-1)[..., ::2]
    assert np.array_equal(strided, array, equal_nan=True)
    assert not strided.flags.c_contiguous
    with pytest.raises(TypeError, match=rf"\b{key}\b"):
        getattr(kernels, name)(**(arguments | {key: strided}))


@pytest.mark.parametrize(("name", "key"), ARRAYS)
def test_what_is_no_array_is_refused(compiled: str, name: str, key: str) -> None:
    arguments = _plain(CASES[name])
    with pytest.raises(TypeError, match=rf"\b{key}\b"):
        getattr(kernels, name)(**(arguments | {key: arguments[key].tolist()}))


@pytest.mark.parametrize(("name", "key"), ARRAYS)
def test_shapes_that_do_not_fit_are_refused(compiled: str, name: str, key: str) -> None:
    """One more row or column than the other arguments allow, where the reference refuses it."""
    case = CASES[name]
    arguments = _plain(case)
    tried = 0
    for axis in range(arguments[key].ndim):
        array = arguments[key]
        longer = np.concatenate([array, array.take([0], axis)], axis)
        wrong = {
            other: value.copy() if isinstance(value, np.ndarray) else value
            for other, value in arguments.items()
        } | {key: longer}
        try:
            getattr(reference, name)(**in_float64(wrong))
        except (ValueError, IndexError):
            tried += 1
            named = "|".join([*wrong, "query heads"])
            with pytest.raises((ValueError, IndexError), match=rf"\b({named})\b"):
                getattr(kernels, name)(**wrong)
    if not tried:
        pytest.skip(f"any shape of {key} fits")


def _with(name: str, **changed: Any) -> Arguments:
    return _plain(CASES[name]) | changed


OUTSIDE = {
    "embedding, too large": ("embedding", {"ids": np.array([3, 11, 0])}),
    "embedding, negative": ("embedding", {"ids": np.array([[3, 2], [-1, 0]])}),
    "embedding_backward": ("embedding_backward", {"ids": np.array([[0, 1, 2], [3, 4, 2**40]])}),
    "cross_entropy, too large": ("cross_entropy", {"targets": np.array([0, 1, 50_000])}),
    "cross_entropy, negative": ("cross_entropy", {"targets": np.array([0, -1, 0])}),
    "cross_entropy_backward": ("cross_entropy_backward", {"targets": np.array([-7, 0, 0])}),
    "rotary, past the end": ("rotary", {"offsets": np.array([0, 1000])}),
    "rotary, negative": ("rotary", {"offsets": np.array([-1, 0])}),
    "rotary_backward": ("rotary_backward", {"offsets": np.array([0, 2**62])}),
    "cache_append, past the end": ("cache_append", {"lengths": np.array([0, 1000, 0])}),
    "cache_append, negative": ("cache_append", {"lengths": np.array([0, 0, -1])}),
    "cached_attention": ("cached_attention", {"lengths": np.array([0, 0, 1000])}),
}


@pytest.mark.parametrize("label", OUTSIDE)
def test_what_is_outside_is_named_alike_on_every_rung(backend: str, label: str) -> None:
    """IndexError, in the reference's words, and nothing was written."""
    name, changed = OUTSIDE[label]
    case = CASES[name]
    arguments = _with(name, **changed)
    with pytest.raises(IndexError) as expected:
        case.run(reference, arguments)
    before = {key: arguments[key].copy() for key in case.updates}
    with pytest.raises(IndexError) as error:
        getattr(kernels, name)(**arguments)
    assert str(error.value) == str(expected.value)
    for key, value in before.items():
        np.testing.assert_array_equal(arguments[key], value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_sampling_refuses_what_is_not_finite(backend: str, bad: float) -> None:
    """The row is named, as the reference names it; all of it -inf, or any NaN or +inf in it."""
    logits = np.zeros((3, 37), np.float32)
    logits[1, slice(None) if bad == -np.inf else 36] = bad
    with pytest.raises(ValueError) as expected:
        reference.sample(logits, np.zeros(3))
    with pytest.raises(ValueError) as error:
        kernels.sample(logits, np.zeros(3))
    assert str(error.value) == str(expected.value)
    assert "row 1" in str(error.value)


def test_an_unknown_activation_is_refused(backend: str) -> None:
    with pytest.raises(ValueError, match="one of gelu, gelu_erf, relu, or None, not 'swish'"):
        kernels.linear(**_with("linear", activation="swish"))


def test_an_absent_rung_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'avx9000' is not available.*numpy"):
        kernels.set_backend("avx9000")


def test_use_backend_returns_to_the_rung_before(backend: str) -> None:
    with kernels.use_backend("numpy"):
        assert kernels.backend() == "numpy"
    assert kernels.backend() == backend


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", None, 2**31])
def test_a_number_of_threads_that_makes_no_sense(count: Any) -> None:
    with pytest.raises(ValueError, match="number of threads"):
        kernels.set_num_threads(count)
