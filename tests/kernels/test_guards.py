"""Compiled kernels read and write nothing outside their arrays."""

import ctypes
import faulthandler
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litegpt import kernels
from litegpt.kernels.cases import CASES

FENCE = 211  # what bytes hold too

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


def _run_every_case(progress: int) -> None:
    """Arrays against the page after them, then against the one before."""
    for name, case in CASES.items():
        for size in case.sizes:
            arguments = case.arguments(size)
            for at_end in (True, False):
                os.write(progress, f"{name} {size}\n".encode())
                getattr(kernels, name)(
                    **{key: _guarded_value(value, at_end) for key, value in arguments.items()}
                )


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_arrays_at_the_end_of_memory(compiled: str, tmp_path: Path) -> None:
    """Every case, in a process that ends where a page around an array is touched."""
    progress = tmp_path / "progress"
    child = os.fork()
    if not child:
        faulthandler.disable()  # the last line of progress says where it fell
        code = 1
        try:
            _run_every_case(os.open(progress, os.O_WRONLY | os.O_CREAT))
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    last = progress.read_text().splitlines()[-1:]
    assert status == 0, f"ended by signal {os.WTERMSIG(status)} at {last}"


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.updates])
def test_works_in_the_array_it_was_given(backend: str, name: str) -> None:
    """The array itself changes, no copy is made on the way, and nothing beside it is touched."""
    case = CASES[name]
    for size in case.sizes:
        arguments = case.arguments(size)
        fences = {}
        for key in case.updates:
            array = arguments[key]
            if array is not None:
                fenced = np.full(array.size + 128, FENCE, array.dtype)
                arguments[key] = fenced[64:-64].reshape(array.shape)
                arguments[key][...] = array
                fences[key] = fenced
        outputs = case.run(kernels, arguments)
        getattr(kernels, name)(**arguments)
        for (key, fenced), want in zip(
            fences.items(), outputs[len(outputs) - len(fences) :], strict=True
        ):
            np.testing.assert_array_equal(arguments[key], want, err_msg=f"{key} {size}")
            assert (fenced[:64] == FENCE).all() and (fenced[-64:] == FENCE).all(), (key, size)
