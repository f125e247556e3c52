"""A trained array and its gradient."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from litegpt.nn.arrays import floats


class Parameter:
    """`data`, float32 and C-contiguous, and `grad` of the same shape.

    data may be changed in place or assigned; an array of another shape: ValueError. grad starts
    at zero, and takes memory from its first use on. Without `trainable`, backward leaves grad alone
    and optimizers pass it over.
    """

    __slots__ = ("_cleared", "_data", "_grad", "_shared", "trainable")

    def __init__(self, data: ArrayLike) -> None:
        self._data = floats(data)
        self.trainable = True
        self._grad: np.ndarray | None = None
        self._cleared = False  # grad is zero, though its memory doesn't say so yet
        self._shared = False  # somebody else reads the memory of grad

    @property
    def data(self) -> np.ndarray:
        return self._data

    @data.setter
    def data(self, value: ArrayLike) -> None:
        array = floats(value, self._data.dtype)
        if array.shape != self._data.shape:
            raise ValueError(
                f"a parameter of shape {self._data.shape} can't take values of shape {array.shape}"
            )
        self._data = array

    @property
    def grad(self) -> np.ndarray:
        if self._grad is None:
            self._grad = np.zeros_like(self._data)
        if self._cleared:
            self._grad.fill(0)
            self._cleared = False
        return self._grad

    @grad.setter
    def grad(self, value: ArrayLike) -> None:
        self.grad[...] = value

    def keep_grad_in(self, memory: np.ndarray) -> None:
        """From now on `grad` is this array (of data's shape and type), with the value it had."""
        if memory.shape != self._data.shape or memory.dtype != self._data.dtype:
            raise ValueError(
                f"{memory.dtype} memory of shape {memory.shape} can't keep a gradient of "
                f"{self._data.dtype}, shape {self._data.shape}"
            )
        memory[...] = self.grad
        self._grad, self._shared = memory, True

    def grad_memory(self) -> tuple[np.ndarray, bool]:
        """For a kernel: the memory of grad, and whether to add to what it holds.

        If not, all of it must be written: so zeros needn't be, nor read again.
        """
        if self._grad is None:
            self._grad, self._cleared = np.empty_like(self._data), True
        adds, self._cleared = not self._cleared, False
        return self._grad, adds

    def check_trainable(self) -> None:
        """RuntimeError where weights are kept for inference alone."""

    def zero_grad(self) -> None:
        """grad is zero from now on; memory of its own is written when it is next needed."""
        if self._grad is not None and self._shared:
            self._grad.fill(0)
        self._cleared = self._grad is not None and not self._shared

    def cast(self, dtype: DTypeLike) -> None:
        """Changes the float type; the compiled kernels take float32 only, the numpy rung any."""
        self._data = floats(self._data, np.dtype(dtype))
        self._grad, self._cleared, self._shared = None, False, False

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def size(self) -> int:
        return self._data.size

    @property
    def nbytes(self) -> int:
        """Bytes in memory: data, and grad once it has been used."""
        return self._data.nbytes + (0 if self._grad is None else self._grad.nbytes)

    def __repr__(self) -> str:
        return f"Parameter(shape={self.shape})"


def check_any_trainable(parameters: Iterable[Parameter]) -> None:
    """RuntimeError unless one of them is trainable; goes no further than the first that is."""
    untrained = []
    for parameter in parameters:
        if parameter.trainable:
            return
        untrained.append(parameter)
    for parameter in untrained:
        parameter.check_trainable()  # which may know why
    raise RuntimeError("there is nothing to train: no parameter is trainable")
