"""What is equal bit for bit on one instruction set: the compiled kernels alone promise it."""

from collections.abc import Iterator

import numpy as np
import pytest

from litegpt import kernels
from litegpt.kernels import reference
from litegpt.kernels.cases import CASES
from litegpt.kernels.reference.attention import KEY_BLOCK
from litegpt.kernels.reference.dropout import keep_mask

equal = np.testing.assert_array_equal  # NaN equals NaN; no tolerance


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.fixture
def threads_restored() -> Iterator[None]:
    before = kernels.num_threads()
    yield
    kernels.set_num_threads(before)


# the last two are cut into blocks of inputs, and of outputs
WEIGHTS = [(1, 1), (19, 33), (64, 64), (67, 31), (301, 97), (128, 512), (801, 40), (257, 800)]


@pytest.mark.parametrize(("inputs", "outputs"), WEIGHTS)
@pytest.mark.parametrize("activation", [None, "gelu"])
def test_a_row_does_not_depend_on_the_rows_beside_it(
    compiled: str, rng: np.random.Generator, inputs: int, outputs: int, activation: str | None
) -> None:
    """Alone, or among up to 600, in all three layouts of the weights."""
    x, weight, bias = normal(rng, 600, inputs), normal(rng, inputs, outputs), normal(rng, outputs)
    turned, packed = np.ascontiguousarray(weight.T), kernels.pack_linear(weight)
    whole = kernels.linear(x, weight, bias, None, activation)
    for rows in (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 17, 24, 31, 32, 33, 64, 65, 100, 255, 600):
        for first in {0, 599 - rows if rows < 600 else 0}:
            some = np.ascontiguousarray(x[first : first + rows])
            want = whole[first : first + rows]
            equal(kernels.linear(some, weight, bias, None, activation), want)
            equal(kernels.linear(some, turned, bias, None, activation, True), want)
            equal(kernels.linear_packed(some, packed, outputs, bias, None, activation), want)


@pytest.mark.parametrize("activation", [None, "gelu", "gelu_erf", "relu"])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 65, 33), (7, 19, 100), (70, 64, 64)])
def test_what_is_fused_equals_what_is_not(
    compiled: str,
    rng: np.random.Generator,
    rows: int,
    inputs: int,
    outputs: int,
    activation: str | None,
) -> None:
    """activation(x @ weight + bias) + residual, at once or kernel by kernel."""
    x, weight = normal(rng, rows, inputs), normal(rng, inputs, outputs)
    bias, residual = normal(rng, outputs), normal(rng, rows, outputs)
    plain = kernels.linear(x, weight, bias)
    acted = plain if activation is None else getattr(kernels, activation)(plain)
    equal(kernels.linear(x, weight, bias, None, activation), acted)
    equal(kernels.linear(x, weight, bias, residual, activation), acted + residual)
    packed = kernels.pack_linear(weight)
    equal(kernels.linear_packed(x, packed, outputs, bias, residual, activation), acted + residual)


def test_a_batched_product_is_its_products(compiled: str, rng: np.random.Generator) -> None:
    for lead, rows, inner, columns in ((3, 5, 17, 33), (2, 64, 64, 40), (4, 1, 9, 1)):
        a, b = normal(rng, lead, rows, inner), normal(rng, lead, inner, columns)
        whole = kernels.matmul(a, b)
        for i in range(lead):
            equal(kernels.matmul(a[i], b[i]), whole[i])
        turned_a = np.ascontiguousarray(a.swapaxes(1, 2))
        turned_b = np.ascontiguousarray(b.swapaxes(1, 2))
        equal(kernels.matmul(turned_a, b, transpose_a=True), whole)
        equal(kernels.matmul(a, turned_b, transpose_b=True), whole)
        equal(kernels.matmul(turned_a, turned_b, True, True), whole)


@pytest.mark.parametrize("name", ["softmax", "layernorm", "rmsnorm", "cross_entropy", "gelu"])
def test_rows_do_not_meet(compiled: str, rng: np.random.Generator, name: str) -> None:
    """A row alone gives what it gives among others; where a vector begins makes no difference."""
    width = 77
    x, gamma = normal(rng, 70, width), normal(rng, width)
    targets = rng.integers(0, width, 70)

    def outputs(rows: slice) -> np.ndarray:
        some = np.ascontiguousarray(x[rows])
        if name == "cross_entropy":
            return kernels.cross_entropy(some, targets[rows])[1]
        if name in ("layernorm", "rmsnorm"):
            return getattr(kernels, name)(some, gamma)[0]
        return getattr(kernels, name)(some)

    whole = outputs(slice(None))
    for row in (0, 1, 33, 69):
        equal(outputs(slice(row, row + 1)), whole[row : row + 1])


@pytest.mark.parametrize("width", [1, 7, 8, 16, 31, 32, 33, 64, 80, 96, 128])
@pytest.mark.parametrize(("heads", "groups"), [(1, 1), (4, 4), (6, 2), (3, 1)])
def test_cached_attention_is_causal_attention(
    compiled: str, rng: np.random.Generator, width: int, heads: int, groups: int
) -> None:
    """One by one, in chunks, at once, and in a batch of unequal lengths."""
    length = 2 * KEY_BLOCK + 6
    projection = normal(rng, 1, length, heads + 2 * groups, width)
    q, k, v = np.split(projection, [heads, heads + groups], axis=2)
    whole, _ = kernels.causal_attention(q, k, v)
    for chunk in (1, 5, KEY_BLOCK, KEY_BLOCK + 1, length):
        keys = np.full((1, groups, 4, width, KEY_BLOCK), np.nan, np.float32)
        values = np.full((1, groups, 4 * KEY_BLOCK, width), np.nan, np.float32)
        for start in range(0, length, chunk):
            now, lengths = slice(start, start + chunk), np.array([start])
            kernels.cache_append(k[:, now], v[:, now], keys, values, lengths)
            part = kernels.cached_attention(q[:, now], keys, values, lengths)
            equal(part, whole[:, now], err_msg=f"chunks of {chunk}, from {start}")


def test_cached_rows_of_unequal_length(compiled: str, rng: np.random.Generator) -> None:
    """Each row of a batch gives what it gives alone."""
    case = CASES["cached_attention"]
    arguments = case.arguments((3, 6, 2, 40, (0, 31, 40, 7)))
    whole = kernels.cached_attention(**arguments)
    for b in range(4):
        row = {key: np.ascontiguousarray(value[b : b + 1]) for key, value in arguments.items()}
        equal(kernels.cached_attention(**row), whole[b : b + 1])


def test_the_end_of_a_sequence_attends_alike(compiled: str, rng: np.random.Generator) -> None:
    """Fewer queries than keys: the same as the last rows of the square."""
    q, k, v = (normal(rng, 2, 71, heads, 24) for heads in (4, 2, 2))
    whole, lse = kernels.causal_attention(q, k, v)
    for length in (1, 2, 7, 33, 70):
        y, part = kernels.causal_attention(q[:, -length:], k, v)
        equal(y, whole[:, -length:])
        equal(part, lse[:, :, -length:])


def test_keys_after_the_last_query_do_not_matter(compiled: str, rng: np.random.Generator) -> None:
    q, k, v = (normal(rng, 1, 71, heads, 24) for heads in (4, 2, 2))
    whole, _ = kernels.causal_attention(q, k, v)
    for length in (1, 16, 32, 33, 70):
        equal(
            kernels.causal_attention(q[:, :length], k[:, :length], v[:, :length])[0],
            whole[:, :length],
        )


@pytest.mark.parametrize("name", CASES)
def test_threads_change_nothing(compiled: str, threads_restored: None, name: str) -> None:
    """1 thread, 2, 3 and 7, at the largest sizes of the case, where work is shared."""
    case = CASES[name]

    def work(size: tuple) -> int:
        return sum(
            array.size for array in case.arguments(size).values() if isinstance(array, np.ndarray)
        )

    sizes = sorted(case.sizes, key=work)[-4:] if name != "grad_norm" else case.sizes[-3:]
    for size in sizes:
        arguments = case.arguments(size)
        kernels.set_num_threads(1)
        alone = case.run(kernels, arguments)
        for count in (2, 3, 7):
            kernels.set_num_threads(count)
            for want, got in zip(alone, case.run(kernels, arguments), strict=True):
                equal(got, want, err_msg=f"{size}, {count} threads")


@pytest.mark.parametrize("name", CASES)
def test_the_same_again(compiled: str, name: str) -> None:
    case = CASES[name]
    arguments = case.arguments(case.sizes[-1])
    for want, got in zip(case.run(kernels, arguments), case.run(kernels, arguments), strict=True):
        equal(got, want)


@pytest.mark.parametrize("seed", [0, 1, 2**32 + 7, 2**63 - 1, 2**64 - 1])
def test_dropout_keeps_what_the_contract_keeps(backend: str, seed: int) -> None:
    """The mask is the reference's, exactly, and the backward pass sees it again."""
    for count in (1, 15, 16, 17, 63, 64, 65, 1009, 70_001):
        x = np.ones(count, np.float32)
        keep = keep_mask(1, count, 0.3, seed)[0]
        y = kernels.dropout(x, 0.3, seed)
        equal(y != 0, keep)
        equal(kernels.dropout(-x, 0.3, seed) != 0, keep)


def test_dropout_keeps_the_right_share() -> None:
    """Within 5 standard deviations, and another seed is another mask."""
    count, p = 1_000_000, 0.3
    first, second = keep_mask(1, count, p, 1)[0], keep_mask(1, count, p, 2)[0]
    for keep in (first, second):
        assert abs(keep.mean() - (1 - p)) < 5 * (p * (1 - p) / count) ** 0.5
    both = (first & second).mean()
    assert abs(both - (1 - p) ** 2) < 5 * ((1 - p) ** 2 / count) ** 0.5


def test_attention_drops_what_the_contract_drops(backend: str, rng: np.random.Generator) -> None:
    """With v = one-hot of the key, y shows every probability: zero where the mask drops."""
    length, p, seed = 33, 0.4, 77
    q, k = normal(rng, 2, length, 3, 8), normal(rng, 2, length, 1, 8)
    v = np.broadcast_to(np.eye(length, dtype=np.float32)[None, :, None], (2, length, 1, length))
    wide = np.zeros((2, length, 3, length), np.float32)
    wide[..., :8] = q * (length / 8) ** 0.5  # scores are over sqrt(D), and D is now 33
    wide_k = np.zeros((2, length, 1, length), np.float32)
    wide_k[..., :8] = k
    y, _ = kernels.causal_attention(wide, wide_k, np.ascontiguousarray(v), None, p, seed)
    shown = y.swapaxes(1, 2)  # (B, T, H, S) -> (B, H, T, S)
    kept = keep_mask(2 * 3 * length, length, p, seed).reshape(shown.shape)
    causal = np.tril(np.ones((length, length), bool))
    equal(shown != 0, kept & causal)
    want, _ = reference.causal_attention(
        *(a.astype(np.float64) for a in (wide, wide_k, v)), None, p, seed
    )
    np.testing.assert_allclose(y, want, rtol=2e-5, atol=1e-7)


def test_gradients_of_self_attention_stand_side_by_side(backend: str) -> None:
    """As the projection that q, k and v came from: one array, in which each is in its place."""
    rng = np.random.default_rng(0)
    for length in (1, 5, 70):  # small arrays are NumPy's, large ones stand in blocks
        heads = rng.standard_normal((2, length, 8, 32), np.float32)
        q, k, v = heads[:, :, :4], heads[:, :, 4:6], heads[:, :, 6:]
        y, lse = kernels.causal_attention(q, k, v)
        dq, dk, dv = kernels.causal_attention_backward(y, q, k, v, y, lse)
        assert isinstance(dq.base, np.ndarray)
        np.testing.assert_array_equal(dq.base, np.concatenate([dq, dk, dv], axis=2))
        assert dk.base is dv.base is dq.base
