"""Weights for inference alone, in the format and order in which the kernels read them."""

from collections.abc import Iterator, Sequence
from typing import NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from litegpt import kernels
from litegpt.kernels.reference.linear import PANEL
from litegpt.kernels.reference.quantized import dequantize
from litegpt.nn.arrays import IDS, floats
from litegpt.nn.parameter import Parameter

_AT_ONCE = 1 << 20  # weights that are packed together, so that it takes little memory
_DECODED = 1 << 20  # weights that backward decodes together


def _spans(outputs: int, inputs: int) -> Iterator[slice]:
    """The rows of a table (N, K), some whole panels at a time."""
    step = PANEL * (1 + _AT_ONCE // (PANEL * (inputs + 1)))
    for first in range(0, outputs, step):
        yield slice(first, first + step)


def _pack(blocks: np.ndarray, format: str, rows: slice, memory: np.ndarray) -> None:
    """The blocks of these rows, to their place in memory."""
    first = rows.start // PANEL
    kernels.pack_quantized(blocks, format, memory[first : first + -(-len(blocks) // PANEL)])


class FrozenParameter(Parameter):
    """The weights of a dense layer (K, N), or a table (N, K), packed (kernels.pack_quantized).

    There is no other copy: `data` decodes all of them into a new array, which is read-only. What
    would train or change them is a RuntimeError. `error` is what rounding them to the format has
    missed: the root mean square of the differences, relative to that of the weights.
    """

    __slots__ = ("error", "format", "inputs", "outputs", "packed", "transposed")

    def __init__(
        self, packed: np.ndarray, format: str, inputs: int, outputs: int, transposed: bool
    ) -> None:
        self.packed, self.format = packed, format
        self.inputs, self.outputs, self.transposed = inputs, outputs, transposed
        self.error = 0.0
        self._grad = None
        self.trainable = False

    @classmethod
    def of(cls, weight: np.ndarray, format: str, transposed: bool, memory: np.ndarray) -> Self:
        """Weights (K, N), or a table (N, K) when transposed, rounded and packed into `memory`."""
        table = weight if transposed else weight.T  # (N, K)
        outputs, inputs = table.shape
        frozen = cls(memory, format, inputs, outputs, transposed)
        missed = whole = 0.0
        for rows in _spans(outputs, inputs):
            exact = floats(table[rows])
            blocks = kernels.quantize(exact, format, transposed=True)
            _pack(blocks, format, rows, memory)
            difference = dequantize(blocks, format, inputs) - exact
            missed += float(np.vdot(difference, difference))
            whole += float(np.vdot(exact, exact))
        frozen.error = (missed / whole) ** 0.5 if whole else 0.0
        return frozen

    @classmethod
    def of_blocks(
        cls,
        parts: Sequence[np.ndarray],
        format: str,
        inputs: int,
        transposed: bool,
        memory: np.ndarray,
    ) -> Self:
        """Blocks (N, groups, bytes), as kernels.quantize makes them, packed into `memory`.

        They may come in parts, one above the other.
        """
        if any(len(part) % PANEL for part in parts[:-1]):
            parts = [np.concatenate(parts)]
        first = 0
        for part in parts:
            for rows in _spans(len(part), inputs):
                _pack(np.ascontiguousarray(part[rows]), format, rows, memory[first // PANEL :])
            first += len(part)
        return cls(memory, format, inputs, first, transposed)

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Rows of the table: (...) int64 -> (..., K)."""
        return kernels.embedding_quantized(ids, self.packed, self.format, self.inputs, self.outputs)

    def linear(
        self,
        x: np.ndarray,
        bias: np.ndarray | None,
        residual: np.ndarray | None,
        activation: str | None,
    ) -> np.ndarray:
        """activation(x @ weight + bias) + residual: (..., K) -> (..., N)."""
        return kernels.linear_quantized(
            x, self.packed, self.format, self.outputs, bias, residual, activation
        )

    def linear_backward(self, dy: np.ndarray, precision: str = "float32") -> np.ndarray:
        """dx = dy @ weight^T: (..., N) -> (..., K), as if linear didn't round x.

        The weights are decoded some outputs at a time.
        """
        dx = None
        step = max(1, _DECODED // self.inputs)
        for first in range(0, self.outputs, step):
            ids = np.arange(first, min(first + step, self.outputs), dtype=IDS)
            part = floats(dy[..., first : first + len(ids)])  # (..., N) -> (..., n)
            table = self.rows(ids)
            dx = kernels.linear(part, table, None, dx, precision=precision)  # (..., n) -> (..., K)
        assert dx is not None  # there is an output
        return dx

    @property
    def data(self) -> np.ndarray:
        table = self.rows(np.arange(self.outputs, dtype=IDS))
        array = table if self.transposed else np.ascontiguousarray(table.T)
        array.flags.writeable = False
        return array

    @data.setter
    def data(self, value: ArrayLike) -> None:
        self.check_trainable()

    def check_trainable(self) -> NoReturn:
        raise RuntimeError(
            f"these weights are kept as {self.format} for inference and can't be trained or set; "
            f'load or build the model again in float32 (dtype="float32")'
        )

    @property
    def grad(self) -> np.ndarray:
        self.check_trainable()

    @grad.setter
    def grad(self, value: ArrayLike) -> None:
        self.check_trainable()

    def cast(self, dtype: DTypeLike) -> None:
        self.check_trainable()

    @property
    def shape(self) -> tuple[int, ...]:
        sizes = (self.inputs, self.outputs)
        return sizes[::-1] if self.transposed else sizes

    @property
    def size(self) -> int:
        return self.inputs * self.outputs

    @property
    def nbytes(self) -> int:
        return self.packed.nbytes

    def __repr__(self) -> str:
        return (
            f"FrozenParameter(shape={self.shape}, format={self.format!r}, error={self.error:.2g})"
        )
