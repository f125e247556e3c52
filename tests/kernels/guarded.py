"""Runs every case of one rung on arrays that end, or begin, where memory ends; see test_guards."""

import ctypes
import mmap
import sys
from typing import Any

import numpy as np

from litegpt import kernels
from litegpt.kernels.cases import CASES

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def guarded(array: np.ndarray, at_end: bool) -> np.ndarray:
    """A copy between two pages that nobody may touch, against the second or the first of them."""
    page = mmap.PAGESIZE
    room = -(-array.nbytes // page) * page
    memory = mmap.mmap(-1, room + 2 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for place in (start, start + page + room):
        if _libc.mprotect(place, page, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    offset = page + (room - array.nbytes if at_end else 0)
    copy = np.frombuffer(memory, array.dtype, array.size, offset).reshape(array.shape)
    copy[...] = array
    return copy


def _guarded_value(value: Any, at_end: bool) -> Any:
    if isinstance(value, list):
        return [_guarded_value(item, at_end) for item in value]
    if not isinstance(value, np.ndarray) or value.size == 0:
        return value
    if value.flags.c_contiguous:
        return guarded(value, at_end)
    whole = value.base  # a view of a projection, as attention takes it
    assert isinstance(whole, np.ndarray)
    offset = value.ctypes.data - whole.ctypes.data
    copy = guarded(whole, at_end)
    return np.ndarray(value.shape, value.dtype, copy, offset, value.strides)


def main(rung: str) -> None:
    kernels.set_backend(rung)
    for name, case in CASES.items():
        for size in case.sizes:
            arguments = case.arguments(size)
            for at_end in (True, False):
                print(f"{name} {size}", flush=True)  # the last one printed is the one that fell
                getattr(kernels, name)(
                    **{key: _guarded_value(value, at_end) for key, value in arguments.items()}
                )
    print("done")


if __name__ == "__main__":
    main(sys.argv[1])
