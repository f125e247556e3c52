"""The matrix product in its forms: dense layer, packed dense layer, batched product."""

import numpy as np

from litegpt.kernels.reference.activation import gelu, gelu_erf, relu

PANEL = 32  # columns in a panel of packed weights

_ACTIVATIONS = {"gelu": gelu, "gelu_erf": gelu_erf, "relu": relu}


def linear(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    residual: np.ndarray | None = None,
    activation: str | None = None,
    transposed: bool = False,
) -> np.ndarray:
    """y = activation(x @ weight + bias) + residual.

    x is (..., K), weight (K, N), or (N, K) when transposed (a tied embedding); y and residual
    are (..., N), bias is (N,). Activations: "gelu", "gelu_erf", "relu". Every output adds its K
    products in ascending order, whatever the number of rows or threads.
    """
    return finish(x @ (weight.T if transposed else weight), bias, residual, activation)


def finish(
    y: np.ndarray, bias: np.ndarray | None, residual: np.ndarray | None, activation: str | None
) -> np.ndarray:
    """activation(y + bias) + residual."""
    if bias is not None:
        y = y + bias
    if activation is not None:
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
) -> np.ndarray:
    """dx = dy @ weight^T, for y = x @ weight + bias.

    Adds x^T @ dy into dweight (in weight's own shape) and the rows of dy into dbias. Without
    accumulate, dweight is overwritten, whatever it holds: the first gradient of a step needs no
    zeros in memory.
    """
    rows_x, rows_dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    # (N, M) (M, K) -> (N, K), or (K, M) (M, N) -> (K, N)
    product = rows_dy.T @ rows_x if transposed else rows_x.T @ rows_dy
    if accumulate:
        dweight += product
    else:
        dweight[...] = product
    if dbias is not None:
        dbias += rows_dy.sum(axis=0)
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
