"""What this machine can do at most: the work that benchmarks hold kernels against.

Memory is read or copied, or multiply-adds of floats, of bfloat16 or of codes are done in registers,
with the rung, the thread pool and the number of threads that the kernels use. Needs the compiled
kernels: RuntimeError without them.
"""

import time
from collections.abc import Callable
from types import ModuleType

import numpy as np

from litegpt import kernels
from litegpt.kernels.reference.linear import check_precision
from litegpt.kernels.reference.weight_formats import weight_format

LARGE = 1 << 28  # bytes: more than caches hold
_BLOCK = 16_384  # floats in a block; PROBE_BLOCK in csrc/kernels/probe.h
_AT_LEAST = 0.05  # seconds that a rate is measured for

Work = Callable[[], object]


def reading(size: int, at_once: int = LARGE) -> Work:
    """Work that reads `size` bytes, from an array of at_once bytes at most, read repeatedly.

    Every thread reads a stream of its own. A small array comes from the caches.
    """
    probe = _native()._probe_read
    block = 4 * _BLOCK  # bytes
    x = np.ones((max(1, round(min(size, at_once) / block)), _BLOCK), np.float32)
    whole, rest = divmod(max(1, round(size / block)), len(x))

    def work() -> None:
        for _ in range(whole):
            probe(x)
        if rest:
            probe(x[:rest])

    return work


def copying(size: int) -> Work:
    """Work that copies an array: `size` bytes in all, half of them read, half written."""
    x = np.ones(max(1, size // 8), np.float32)
    y = np.zeros_like(x)
    probe = _native()._probe_copy
    return lambda: probe(x, y)


def multiplying(operations: float, precision: str = "float32") -> Work:
    """Work of that many operations in a precision (kernels.linear's), a multiply-add being two, in
    registers."""
    check_precision(precision)
    native = _native()
    rounds = precision == "bfloat16"
    probe = native._probe_multiply_pairs if rounds else native._probe_multiply_add
    x = np.array([0.5, 1.0], np.float32)
    each = probe(x, np.empty(1, np.float32))
    y = np.empty(max(1, round(operations / each)), np.float32)
    return lambda: probe(x, y)


def multiplying_codes(operations: float, format: str) -> Work:
    """Work of that many operations on weights' and activations' codes (bytes), a multiply-add being
    two, in registers: as this rung multiplies those of `format` (q8, q4, ...)."""
    if weight_format(format).codes is None:
        raise ValueError(f"{format} has no codes")
    probe = _native()._probe_multiply_codes
    x = np.ones(2, np.float32)
    each = probe(x, format, np.empty(1, np.float32))
    y = np.empty(max(1, round(operations / each)), np.float32)
    return lambda: probe(x, format, y)


def read_rate(size: int = LARGE) -> float:
    """Bytes/s at which an array of `size` bytes is read."""
    return size / _fastest(reading(size))


def copy_rate(size: int = LARGE) -> float:
    """Bytes/s, read and written together, at which arrays of `size` bytes in all are copied."""
    return size / _fastest(copying(size))


def multiply_add_rate(precision: str = "float32") -> float:
    """Operations/s on numbers of a precision, a multiply-add being two."""
    operations = 1e9
    return operations / _fastest(multiplying(operations, precision))


def code_rate(format: str) -> float:
    """Operations/s on codes of `format`, a multiply-add being two."""
    operations = 1e9
    return operations / _fastest(multiplying_codes(operations, format))


def _native() -> ModuleType:
    if kernels._native is None or kernels.backend() == "numpy":
        raise RuntimeError("the machine's limits are measured by the compiled kernels alone")
    return kernels._native


def _fastest(work: Work) -> float:
    """Seconds of the fastest of several repetitions: whatever else runs only makes them slower."""
    work()
    fastest, end = float("inf"), time.perf_counter() + _AT_LEAST
    while True:
        start = time.perf_counter()
        work()
        stop = time.perf_counter()
        fastest = min(fastest, stop - start)
        if stop >= end:
            return fastest
