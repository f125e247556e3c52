"""What a case is, and the sizes and bounds that many cases share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from litegpt.kernels import reference

Arguments = dict[str, Any]  # by parameter name, in the order of the signature
Outputs = list[np.ndarray]  # what is returned, then what is changed in place
Size = tuple[Any, ...]  # what build takes after the generator

EPS = float(np.finfo(np.float32).eps)  # 2^-23: one ulp of 1.0
SUBNORMAL = float(np.finfo(np.float32).smallest_subnormal)
NORMAL = float(np.finfo(np.float32).smallest_normal)

# Every vector width (4, 8, 16, and the panel of 32) and its neighbours, primes, and two lengths
# that several threads share.
LENGTHS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 1009)
LONG = (65_536, 100_003)

# Values at which elementwise functions go wrong: not finite, signed zeros, subnormals, the ends
# of the range, and arguments around which exp under- and overflows in float32.
SPECIAL = np.concatenate(
    [
        [np.nan, np.inf, -np.inf],
        np.outer(
            [0, 1e-45, 1e-40, 1.2e-38, 1e-20, 5, 9.5, 20, 87, 88.5, 89, 104, 1e30, 3.4e38], [1, -1]
        ).ravel(),
    ]
).astype(np.float32)


@dataclass(frozen=True)
class Gradient:
    """How the gradient of a forward kernel's first output is had from the backward kernels.

    by(twin, arguments, outputs, dy) returns the gradient of sum(dy * outputs[0]) with respect to
    each differentiable argument, by name.
    """

    by: Callable[[Any, Arguments, Outputs, np.ndarray], dict[str, np.ndarray]]
    sizes: Sequence[Size]


@dataclass(frozen=True)
class Case:
    """One kernel: how it is called, how near it must come to the reference, what it costs.

    build(rng, *size) makes float32 arguments. bound(arguments, outputs) takes these in float64,
    with what the reference made of them, and returns the absolute error that each output may have.
    timed names the sizes that benchmarks take, the telling one first; wanted is how many times
    faster than NumPy the compiled kernel should be at that one. flops counts additions and
    multiplications; without it, the bytes that must be moved at least are what counts.
    """

    kernel: str
    build: Callable[..., Arguments]
    sizes: Sequence[Size]
    bound: Callable[[Arguments, Outputs], list[Any]]
    timed: Mapping[str, Size]
    updates: tuple[str, ...] = ()  # arguments that are changed in place
    special: Mapping[str, Callable[[np.random.Generator], Arguments]] | None = None
    gradient: Gradient | None = None
    flops: Callable[[Arguments], float] | None = None
    moved: Callable[[Arguments], float] | None = None  # bytes, where it isn't every array once
    wanted: float | None = None

    def arguments(self, size: Size, seed: int = 0) -> Arguments:
        """The arguments of one size, the same for the same seed."""
        return self.build(np.random.default_rng(seed), *size)

    def run(self, twin: Any, arguments: Arguments) -> Outputs:
        """Calls a twin's kernel; what it changes in place is a copy, and is among the outputs."""
        own = {name: arguments[name].copy() for name in self.updates if arguments[name] is not None}
        returned = getattr(twin, self.kernel)(**(arguments | own))
        if returned is None:
            returned = ()
        elif not isinstance(returned, tuple):
            returned = (returned,)
        return [np.asarray(value) for value in (*returned, *own.values())]

    def disagreement(self, arguments: Arguments, outputs: Outputs) -> str:
        """Where outputs miss the float64 reference by more than the bound; "" where they don't.

        NaN must stand where the reference has NaN, and inf where it has inf or what float32
        can't hold.
        """
        exact_arguments = in_float64(arguments)
        with np.errstate(all="ignore"):
            expected = self.run(reference, exact_arguments)
            bounds = self.bound(exact_arguments, expected)
            rounded = [y.astype(got.dtype) for y, got in zip(expected, outputs, strict=True)]
        for number, (want, got, bound) in enumerate(zip(rounded, outputs, bounds, strict=True)):
            if got.shape != want.shape:
                return f"{self.kernel}: output {number} is {got.shape}, reference {want.shape}"
            with np.errstate(invalid="ignore"):
                near = np.abs(got.astype(np.float64) - expected[number]) <= bound
            wrong = ~(near | (got == want) | (np.isnan(got) & np.isnan(want)))
            if wrong.any():
                place = tuple(int(i) for i in np.argwhere(wrong)[0])
                allowed = np.broadcast_to(bound, want.shape)[place]
                return (
                    f"{self.kernel}: output {number} at {place} is {got[place]!r}, reference "
                    f"{expected[number][place]!r}, allowed error {allowed:.3g}; "
                    f"{int(wrong.sum())} of {wrong.size} entries are wrong"
                )
        return ""

    def bytes_moved(self, arguments: Arguments, outputs: Outputs) -> float:
        """The least traffic: every input read once, every output written once."""
        if self.moved:
            return self.moved(arguments)
        read = 0
        for value in arguments.values():
            arrays = value if isinstance(value, list) else [value]
            read += sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))
        return read + sum(array.nbytes for array in outputs)


def in_float64(arguments: Arguments) -> Arguments:
    """The same numbers in float64: what the reference is given to be exact."""

    def widened(value: Any) -> Any:
        if isinstance(value, list):
            return [widened(item) for item in value]
        if isinstance(value, np.ndarray) and value.dtype == np.float32:
            return value.astype(np.float64)
        return value

    return {name: widened(value) for name, value in arguments.items()}


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Standard normal float32."""
    return rng.standard_normal(shape, np.float32)


def exact(arguments: Arguments, outputs: Outputs) -> list[Any]:
    """Not a bit of difference: copies, comparisons, rearrangements."""
    return [0.0] * len(outputs)


def relative(ulp: float) -> Callable[[Arguments, Outputs], list[Any]]:
    """Each output within ulp * 2^-23 of its own value (and of the subnormal grid)."""

    def bound(arguments: Arguments, outputs: Outputs) -> list[Any]:
        return [ulp * EPS * np.abs(y) + SUBNORMAL for y in outputs]

    return bound


def sum_error(terms: int) -> float:
    """Error of a float32 sum of that many products, relative to the sum of their magnitudes.

    Rounding errors of random sign add up as the square root of their number; the largest
    possible one, terms * 2^-24, would hide a lost product.
    """
    return (4.0 + terms**0.5) * EPS
