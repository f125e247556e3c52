"""What this machine can do at most, measured: the limits that benchmarks hold kernels against.

The rung, the thread pool and the number of threads are those of the kernels. Of several
repetitions the fastest counts, since anything else that runs only makes them slower. Without the
compiled kernels: RuntimeError.
"""

import time
from collections.abc import Callable
from types import ModuleType

import numpy as np

from litegpt import kernels

LARGE = 1 << 28  # bytes: more than caches hold
_BLOCK = 16_384  # floats in a block; PROBE_BLOCK in csrc/kernels/probe.h
_AT_LEAST = 0.05  # seconds that a measurement takes


def read_rate(size: int = LARGE) -> float:
    """Bytes/s at which an array of about `size` bytes is read, one stream per thread.

    A small one comes from the caches.
    """
    blocks = max(1, round(size / 4 / _BLOCK))
    x = np.ones((blocks, _BLOCK), np.float32)
    probe = _native()._probe_read
    return x.nbytes / _fastest(lambda: probe(x))


def copy_rate(size: int = LARGE) -> float:
    """Bytes/s, read and written together, at which an array of `size` bytes is copied."""
    x = np.ones(max(1, size // 4), np.float32)
    y = np.zeros_like(x)
    probe = _native()._probe_copy
    return 2 * x.nbytes / _fastest(lambda: probe(x, y))


def multiply_add_rate() -> float:
    """Float32 operations/s of multiply-adds in registers, each counting as two operations."""
    x = np.array([0.5, 1.0], np.float32)
    y = np.empty(64 * kernels.num_threads(), np.float32)
    probe = _native()._probe_multiply_add
    return probe(x, y) / _fastest(lambda: probe(x, y))


def _native() -> ModuleType:
    if kernels._native is None or kernels.backend() == "numpy":
        raise RuntimeError("the machine's limits are measured by the compiled kernels alone")
    return kernels._native


def _fastest(call: Callable[[], object]) -> float:
    """Seconds of the fastest call."""
    call()
    fastest, end = float("inf"), time.perf_counter() + _AT_LEAST
    while True:
        start = time.perf_counter()
        call()
        stop = time.perf_counter()
        fastest = min(fastest, stop - start)
        if stop >= end:
            return fastest
