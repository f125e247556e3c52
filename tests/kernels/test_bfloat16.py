"""Products of operands rounded to bfloat16: the rounding, and that it is all that differs."""

from typing import Any

import numpy as np
import pytest

from litegpt import kernels
from litegpt.kernels.reference.linear import rounded

equal = np.testing.assert_array_equal
NORMAL = np.finfo(np.float32).smallest_normal
SHAPES = [(1, 1, 1), (5, 19, 33), (14, 64, 32), (70, 257, 101), (300, 1601, 40), (1009, 38, 70)]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def operands(
    rng: np.random.Generator, rows: int, inputs: int, outputs: int, transposed: bool = False
) -> dict[str, np.ndarray]:
    """x, weight and dy of a layer."""
    shape = (outputs, inputs) if transposed else (inputs, outputs)
    shapes = {"x": (rows, inputs), "weight": shape, "dy": (rows, outputs)}
    return {name: rng.standard_normal(size, np.float32) for name, size in shapes.items()}


def products(
    given: dict[str, np.ndarray], precision: str, transposed: bool = False
) -> list[np.ndarray]:
    """y, dx and dweight."""
    x, weight, dy = given["x"], given["weight"], given["dy"]
    dweight = np.full_like(weight, np.nan)
    y = kernels.linear(x, weight, transposed=transposed, precision=precision)
    dx = kernels.linear_backward(dy, x, weight, dweight, None, transposed, False, precision)
    return [y, dx, dweight]


def test_rounding() -> None:
    """To the nearest number of 8 bits, of two the even one; NaN and infinities stay."""
    step = 2.0**-7  # between neighbours above 1
    given = np.array(
        [1, 1 + step / 2, 1 + 3 * step / 2, 1 + step / 2 + 1e-6, -1 - 3 * step / 2, 3.4e38, 1e-40],
        np.float32,
    )
    want = [1, 1, 1 + 2 * step, 1 + step, -1 - 2 * step, np.inf, 2.0**-133]
    equal(rounded(given, "bfloat16"), np.array(want, np.float32))
    equal(rounded(given, "float32"), given)
    odd = np.array([0x7F800001, 0xFFFFFFFF, 0x7F800000, 0xFF800000], np.uint32).view(np.float32)
    equal(np.isnan(rounded(odd, "bfloat16")), [True, True, False, False])
    equal(rounded(odd[2:], "bfloat16"), [np.inf, -np.inf])


def test_rounding_is_pytorchs(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    given = rng.integers(0, 1 << 32, 100_000, np.uint32).view(np.float32)
    equal(rounded(given, "bfloat16"), torch.from_numpy(given).bfloat16().float().numpy())


@pytest.mark.parametrize("transposed", [False, True])
def test_the_products_are_those_of_rounded_operands(
    compiled: str, rng: np.random.Generator, transposed: bool
) -> None:
    """Bit for bit, as terms are added in one order, and products of 8 bits are exact."""
    for shape in SHAPES:
        given = operands(rng, *shape, transposed)
        nearest = {name: rounded(array, "bfloat16") for name, array in given.items()}
        got, same = (
            products(given, "bfloat16", transposed),
            products(nearest, "float32", transposed),
        )
        for one, other in zip(got, same, strict=True):
            equal(one, other, err_msg=f"{shape}")


def test_compiled_rungs_agree_bit_for_bit(rng: np.random.Generator) -> None:
    for shape in SHAPES:
        given, results = operands(rng, *shape), []
        for rung in kernels.available_backends()[1:]:
            with kernels.use_backend(rung):
                results.append(products(given, "bfloat16"))
        for result in results[1:]:
            for one, other in zip(result, results[0], strict=True):
                equal(one, other)


def test_pytorch_gives_the_same(backend: str, rng: np.random.Generator) -> None:
    """Its float32 product of operands that it has rounded itself, forward and backward."""
    torch = pytest.importorskip("torch")

    def nearest(array: np.ndarray) -> Any:
        return torch.from_numpy(array).bfloat16().float()

    given = operands(rng, 33, 130, 70)
    x, weight, dy = (nearest(given[name]) for name in ("x", "weight", "dy"))
    want = [x @ weight, dy @ weight.T, x.T @ dy]
    for got, tensor in zip(products(given, "bfloat16"), want, strict=True):
        np.testing.assert_allclose(got, tensor.numpy(), rtol=0, atol=2e-6 * tensor.abs().max())


def test_what_rounding_costs(backend: str, rng: np.random.Generator) -> None:
    """Each operand is missed by 2^-9 of its size at most, about 0.0017 of it on average."""
    for shape in SHAPES[1:]:
        given = operands(rng, *shape)
        pairs = zip(products(given, "bfloat16"), products(given, "float32"), strict=True)
        for got, exact in pairs:
            missed = np.linalg.norm(got - exact) / np.linalg.norm(exact)
            assert 0.001 < missed < 2.0**-8


def test_a_row_does_not_depend_on_the_rows_beside_it(
    compiled: str, rng: np.random.Generator
) -> None:
    given = operands(rng, 600, 131, 97)
    x, weight, turned = given["x"], given["weight"], np.ascontiguousarray(given["weight"].T)
    whole = kernels.linear(x, weight, precision="bfloat16")
    for rows in (1, 2, 13, 14, 15, 27, 28, 29, 100):
        some = x[600 - rows :].copy()
        equal(kernels.linear(some, weight, precision="bfloat16"), whole[600 - rows :])
        equal(
            kernels.linear(some, turned, transposed=True, precision="bfloat16"),
            whole[600 - rows :],
        )


def test_threads_change_nothing(compiled: str, rng: np.random.Generator) -> None:
    before = kernels.num_threads()
    try:
        for shape in ((1701, 64, 97), (300, 900, 401)):
            given, results = operands(rng, *shape), []
            for threads in (1, 2, 3, 7):
                kernels.set_num_threads(threads)
                results.append(products(given, "bfloat16"))
            for result in results[1:]:
                for one, other in zip(result, results[0], strict=True):
                    equal(one, other)
    finally:
        kernels.set_num_threads(before)


def test_subnormals_may_count_as_zeros(backend: str, rng: np.random.Generator) -> None:
    """Operands and sums: each of these is no more than the smallest normal number."""
    given = operands(rng, 17, 40, 33)
    for name, scale in (("x", 1e-40), ("dy", 1e-38)):
        given[name] = given[name] * np.float32(scale)
    exact = {name: rounded(array, "bfloat16").astype(float) for name, array in given.items()}
    x, weight, dy = (exact[name] for name in ("x", "weight", "dy"))
    want = [x @ weight, dy @ weight.T, x.T @ dy]
    for got, right in zip(products(given, "bfloat16"), want, strict=True):
        assert np.abs(got - right).max() <= 40 * NORMAL * max(1, np.abs(weight).max())


def test_another_precision_is_refused(backend: str, rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="one of float32, bfloat16, not 'float16'"):
        products(operands(rng, 2, 3, 4), "float16")


def test_only_the_best_rung_may_have_the_instruction(backend: str) -> None:
    if backend != kernels.available_backends()[-1] or backend == "numpy":
        assert kernels.multiplies_bfloat16() is False
    else:
        assert kernels.multiplies_bfloat16() in (False, True)
