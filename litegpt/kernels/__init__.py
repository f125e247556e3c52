"""Which twin of the kernels serves: chosen here, once, and nowhere else.

Every kernel of ``litegpt.kernels.reference`` is an attribute of this module, bound to the NumPy
function or to its compiled twin. The ladder is ``numpy < baseline < avx2 < avx512 < avx512vnni``
on x86-64 and ``numpy < baseline < neon`` on arm64; the best rung that the processor and its
operating system support is taken at import, unless the environment variable LITEGPT_BACKEND names
one.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from litegpt.kernels import reference, threads

if TYPE_CHECKING:  # type checkers read the contract
    from litegpt.kernels.reference import *  # noqa: F403

_native: ModuleType | None = None
native_error: str | None = None  # why the compiled kernels aren't there, if they aren't
try:
    _native = import_module("litegpt.kernels._native")
except ImportError as error:
    native_error = str(error)

_backend = ""
chosen_because = ""  # in words, for `litegpt info`


def available_backends() -> list[str]:
    """The rungs that this process can use, slowest first; "numpy" is always one."""
    return ["numpy", *(_native.backends() if _native else [])]


def backend() -> str:
    """The name of the rung in use."""
    if not _backend:
        _choose()  # an environment variable was refused at import: say so now
    return _backend


def set_backend(name: str) -> None:
    """Puts a rung to use in this whole process; ValueError lists the rungs that there are."""
    global _backend
    if name not in available_backends():
        because = f" (compiled kernels: {native_error})" if native_error else ""
        raise ValueError(
            f"backend {name!r} is not available here{because}; "
            f"available: {', '.join(available_backends())}"
        )
    twin: ModuleType = reference
    if _native and name != "numpy":
        _native.select(name)
        twin = _native
    globals().update({kernel: getattr(twin, kernel) for kernel in reference.__all__})
    _backend = name


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """`with use_backend("numpy"): ...` forces a rung, then returns to the one before.

    A rung that isn't available: ValueError that lists those that are.
    """
    before = backend()
    set_backend(name)
    try:
        yield
    finally:
        set_backend(before)


def new_program() -> Any:
    """An empty `_native.Program`, which records kernel calls to make them again without Python.

    None on the numpy rung, which has no use for one.
    """
    return _native.Program() if _native and backend() != "numpy" else None


def multiplies_bfloat16() -> bool:
    """Whether the rung in use has an instruction for products of bfloat16, as some processors do.

    Without it their operands are rounded all the same, and multiplied as float32: no faster.
    """
    return _native.multiplies_bfloat16() if _native and backend() != "numpy" else False


def num_threads() -> int:
    """Threads that the compiled kernels use; the numpy rung leaves threads to NumPy."""
    return _native.num_threads() if _native else 1


def set_num_threads(count: int) -> None:
    """Sets the threads of the compiled kernels; results don't depend on it, bit for bit.

    Anything but an integer from 1 to 1024: ValueError.
    """
    if not isinstance(count, int) or not 1 <= count <= threads.MOST:
        raise ValueError(
            f"number of threads must be an integer from 1 to {threads.MOST}, not {count!r}"
        )
    if _native:
        _native.set_num_threads(count)


def __getattr__(name: str) -> object:
    """A kernel is missing only while the environment names what isn't there: backend() says so."""
    if name in reference.__all__:
        backend()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _choose() -> None:
    """The rung and the threads that the environment names, or the best; ValueError if refused."""
    global chosen_because
    if _native:
        set_num_threads(threads.default_threads())
    forced = os.environ.get("LITEGPT_BACKEND")
    if forced:
        chosen_because = "LITEGPT_BACKEND names it"
    elif native_error:
        chosen_because = f"the compiled kernels can't be imported: {native_error}"
        warnings.warn(
            f"LiteGPT runs on NumPy, many times slower: {chosen_because}",
            RuntimeWarning,
            stacklevel=2,
        )
    else:
        chosen_because = "the best that this processor supports"
    try:
        set_backend(forced or available_backends()[-1])
    except ValueError as error:
        raise ValueError(f"LITEGPT_BACKEND: {error}") from None


with suppress(ValueError):  # an import must not fail; the first use says what is wrong
    _choose()
