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
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from litegpt.kernels import reference

if TYPE_CHECKING:  # type checkers read the contract
    from litegpt.kernels.reference import *  # noqa: F403

_native: ModuleType | None  # not set before: `from` would find that instead of the extension
native_error: str | None = None  # why the compiled kernels aren't there, if they aren't
try:
    from litegpt.kernels import _native
except ImportError as error:
    _native = None
    native_error = str(error)

_backend = ""
chosen_because = ""  # in words, for `litegpt info`


def available_backends() -> list[str]:
    """The rungs that this process can use, slowest first; "numpy" is always one."""
    return ["numpy", *(_native.backends() if _native else [])]


def backend() -> str:
    """The name of the rung in use."""
    if not _backend:
        set_backend(os.environ["LITEGPT_BACKEND"])  # was refused at import: say so again
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
    if name != "numpy":
        _native.select(name)  # type: ignore[union-attr]
    twin = reference if name == "numpy" else _native
    globals().update({kernel: getattr(twin, kernel) for kernel in reference.__all__})
    _backend = name


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """`with use_backend("numpy"): ...` forces a rung, then returns to the one before."""
    before = backend()
    set_backend(name)
    try:
        yield
    finally:
        set_backend(before)


def num_threads() -> int:
    """Threads that the compiled kernels use; the numpy rung leaves threads to NumPy."""
    return _native.num_threads() if _native else 1


def set_num_threads(count: int) -> None:
    """Sets the threads of the compiled kernels; results don't depend on it, bit for bit."""
    if not isinstance(count, int) or not 1 <= count <= 1024:
        raise ValueError(f"number of threads must be an integer from 1 to 1024, not {count!r}")
    if _native:
        _native.set_num_threads(count)


def __getattr__(name: str) -> object:
    """A kernel is missing only while LITEGPT_BACKEND names an absent rung: backend() says so."""
    if name in reference.__all__:
        backend()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _choose() -> None:
    global chosen_because
    forced = os.environ.get("LITEGPT_BACKEND")
    if forced:
        chosen_because = "LITEGPT_BACKEND names it"
        if forced in available_backends():
            set_backend(forced)
        return  # else: an import must not fail, the first use does, with the list
    if native_error:
        chosen_because = f"the compiled kernels can't be imported: {native_error}"
        warnings.warn(
            f"LiteGPT runs on NumPy, many times slower: {chosen_because}",
            RuntimeWarning,
            stacklevel=2,
        )
    else:
        chosen_because = "the best that this processor supports"
    set_backend(available_backends()[-1])


_choose()
