"""The matrix product in its forms: dense layer, packed dense layer, batched product."""

import numpy as np

from litegpt.kernels.reference.activation import gelu, gelu_erf, relu
from litegpt.kernels.reference.weight_formats import FORMATS

PANEL = 32  # columns in a panel of packed weights
PRECISIONS = ("float32", "bfloat16")  # in which a product's operands are multiplied

_ACTIVATIONS = {"gelu": gelu, "gelu_erf": gelu_erf, "relu": relu}


def linear(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    residual: np.ndarray | None = None,
    activation: str | None = None,
    transposed: bool = False,
    precision: str = "float32",
) -> np.ndarray:
    """y = activation(x @ weight + bias) + residual.

    x is (..., K), weight (K, N), or (N, K) when transposed (a tied embedding); y and residual
    are (..., N), bias is (N,). Activations: "gelu", "gelu_erf", "relu". Every output adds its K
    products in ascending order, whatever the number of rows or threads. With precision "bfloat16"
    x and weight are `rounded` first, and the products of these are added as ever. Another
    activation or precision: ValueError.
    """
    x, weight = rounded(x, precision), rounded(weight, precision)
    return finish(x @ (weight.T if transposed else weight), bias, residual, activation)


def rounded(x: np.ndarray, precision: str) -> np.ndarray:
    """x as the operand of a product; for "bfloat16" the nearest such numbers, of two the even one.

    A bfloat16 is the upper half of a float32: 8 bits of significand instead of 24, and the same
    range. What lies above it by half a step or more is infinite, NaN stays NaN. Where a processor
    has an instruction for such products, it takes subnormal operands and sums (below 1.2e-38) for
    zeros. Another precision: ValueError.
    """
    check_precision(precision)
    if precision == "float32":
        return x
    form = FORMATS["bfloat16"]
    nearest = form.decode(form.encode(np.ascontiguousarray(x, np.float32)))
    return np.where(np.isnan(x), x, nearest).astype(x.dtype, copy=False)


def check_precision(precision: str) -> None:
    """ValueError unless it is one of PRECISIONS."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")


def check_activation(activation: str) -> None:
    """ValueError unless it is one that a product can be finished with."""
    if activation not in _ACTIVATIONS:
        raise ValueError(
            f"activation must be one of {', '.join(_ACTIVATIONS)}, or None, not {activation!r}"
        )


def finish(
    y: np.ndarray, bias: np.ndarray | None, residual: np.ndarray | None, activation: str | None
) -> np.ndarray:
    """activation(y + bias) + residual."""
    if bias is not None:
        y = y + bias
    if activation is not None:
        check_activation(activation)
        y = _ACTIVATIONS[activation](y)
    return y if residual is None else y + residual


def linear_backward(
    dy: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    dweight: np.ndarray,
    dbias: np.ndarray | None = None,
    transposed: bool = False,
    accumulate: bool = True,
    precision: str = "float32",
) -> np.ndarray:
    """dx = dy @ weight^T, for y = x @ weight + bias.

    Adds x^T @ dy into dweight (in weight's own shape) and the rows of dy into dbias. Without
    accumulate, dweight is overwritten, whatever it holds: the first gradient of a step needs no
    zeros in memory. precision is that of linear: with "bfloat16" both products' operands are
    rounded, dy too; what is added into dbias is not.
    """
    if dbias is not None:
        dbias += dy.reshape(-1, dy.shape[-1]).sum(axis=0)
    dy, x, weight = (rounded(operand, precision) for operand in (dy, x, weight))
    rows_x, rows_dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    # (N, M) (M, K) -> (N, K), or (K, M) (M, N) -> (K, N)
    product = rows_dy.T @ rows_x if transposed else rows_x.T @ rows_dy
    if accumulate:
        dweight += product
    else:
        dweight[...] = product
    return dy @ (weight if transposed else weight.T)  # (..., N) -> (..., K)


def pack_linear(weight: np.ndarray, transposed: bool = False) -> np.ndarray:
    """Weights in the order in which one row of x meets them: (K, N) -> (ceil(N / 32), K, 32).

    The last panel is filled up with zeros. One row of activations then reads the weights as one
    stream, and many rows read each panel from cache.
    """
    if transposed:
        weight = weight.T  # (N, K) -> (K, N)
    inputs, outputs = weight.shape
    panels = -(-outputs // PANEL)
    packed = np.zeros((panels, PANEL, inputs), weight.dtype)
    packed.reshape(panels * PANEL, inputs)[:outputs] = weight.T
    return np.ascontiguousarray(packed.transpose(0, 2, 1))


def linear_packed(
    x: np.ndarray,
    packed: np.ndarray,
    outputs: int,
    bias: np.ndarray | None = None,
    residual: np.ndarray | None = None,
    activation: str | None = None,
) -> np.ndarray:
    """linear, with the weights that pack_linear made; outputs is N."""
    panels, inputs, width = packed.shape
    weight = packed.transpose(1, 0, 2).reshape(inputs, panels * width)[:, :outputs]
    return linear(x, weight, bias, residual, activation)


def matmul(
    a: np.ndarray, b: np.ndarray, transpose_a: bool = False, transpose_b: bool = False
) -> np.ndarray:
    """The batched product a @ b: (..., M, K) and (..., K, N) -> (..., M, N).

    The leading axes are equal; transpose_a takes a as (..., K, M), transpose_b b as (..., N, K).
    """
    a = a.swapaxes(-1, -2) if transpose_a else a
    b = b.swapaxes(-1, -2) if transpose_b else b
    return a @ b
