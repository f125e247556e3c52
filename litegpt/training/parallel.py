"""Several processes that train one model: each reads its share of every batch, gradients add up.

The processes are the ranks of an MPI job, `mpirun -n 4 litegpt train ...`. All of them hold the
whole model, begin with the weights of rank 0, and take the same steps.
"""

import hashlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, Self

import numpy as np

from litegpt import kernels
from litegpt.nn import Parameter
from litegpt.text.extras import import_extra

BUCKET = 4 << 20  # bytes of gradients sent at once: few messages, and the first one early
_POLL = 1e-3  # seconds in which a fast link delivers about what the system keeps for a program
_PROCESSORS = 1 << 13  # more than a machine has
_HEAD_START = 1.0  # seconds that others leave rank 0 to name what all have stumbled over
_PATIENCE = 600.0  # seconds without an answer, after which a rank takes the others for lost
_LOOK = 1.0  # seconds from one look at that to the next
_INTERRUPTED = 130  # the exit code of what Ctrl-C ended
_PASSED_ON = 0.3  # seconds that a launcher has to pass on what was written before it ends all

# How launchers tell their processes that there are several: MPICH and its kin, Open MPI, PMIx.
_LAUNCHED = {"PMI_SIZE": "1", "OMPI_COMM_WORLD_SIZE": "1", "PMIX_RANK": ""}  # alone: this value


class Alone:
    """One process, which is all there are: what a Trainer has unless it is told otherwise."""

    rank, size = 0, 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """An error that leaves the block on one rank ends them all, after a line that says so."""

    def part(self, rows: int) -> slice:
        """This rank's part of so many rows: all ranks' parts, in their order, are all rows."""
        return slice(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)

    def begin(self, parameters: Iterable[Parameter], state: Sequence[np.ndarray]) -> None:
        """Before the first step: the ranks get ready to add up these parameters' gradients.

        The arrays of `state` become those of rank 0 everywhere.
        """

    def completed(self, parameters: Iterable[Parameter]) -> None:
        """These parameters' gradients are complete here, while backward goes on."""

    def add_gradients(self) -> None:
        """Returns once every parameter's gradient is the sum over all ranks."""

    def total(self, values: Sequence[float]) -> list[float]:
        """Each value summed over all ranks; the same bits on every one."""
        return list(values)

    def meet(self) -> None:
        """Returns once all ranks are here."""

    @contextmanager
    def after_first(self) -> Iterator[None]:
        """Rank 0 goes through the block, then the others do."""
        if self.rank:
            self.meet()
        yield
        if not self.rank:
            self.meet()

    def same(self, **words: str) -> None:
        """ValueError, on every rank, unless all ranks have these same words."""


def launched() -> Alone:
    """The ranks that an MPI launcher started, this process among them; without one, it is alone.

        with launched() as ranks:
            Trainer(model, data, config, ranks=ranks).fit()

    The processors of a machine are shared out among its ranks, unless LITEGPT_NUM_THREADS says
    how many threads each of them has.
    """
    if not any(os.environ.get(name, alone) != alone for name, alone in _LAUNCHED.items()):
        return Alone()
    with _ended_by_interrupt():
        return _met()


def _met() -> Alone:
    """The ranks, which wait for each other here."""
    mpi = import_mpi()
    world = mpi.COMM_WORLD
    told = max(int(os.environ.get(name) or 1) for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE"))
    if world.size != told and told > 1:
        library = mpi.Get_library_version().split("\n")[0].strip("\0 ")
        raise RuntimeError(
            f"the launcher started {told} ranks, but mpi4py's library ({library}) finds "
            f"{world.size}: use the mpirun of that library"
        )
    if world.size == 1:
        return Alone()
    if not os.environ.get("LITEGPT_NUM_THREADS"):
        kernels.set_num_threads(_fair_threads(world.Split_type(mpi.COMM_TYPE_SHARED)))
    return DataParallel(world)


@contextmanager
def _ended_by_interrupt() -> Iterator[None]:
    """Within the block Ctrl-C ends the process as the system does it.

    Python's handler has no turn while MPI waits for ranks that Ctrl-C has ended already.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def import_mpi() -> Any:
    """mpi4py.MPI; MissingExtraError without mpi4py, RuntimeError without an MPI library for it."""
    return import_extra("mpi4py.MPI", "mpi", "training on several ranks")


def _fair_threads(neighbours: Any) -> int:
    """This rank's part of the threads of its machine, whose ranks are `neighbours`, at least 1.

    A processor that several ranks may use counts among them in equal parts.
    """
    mine = np.zeros(_PROCESSORS, np.int64)
    if hasattr(os, "sched_getaffinity"):
        mine[list(os.sched_getaffinity(0))] = 1
    else:
        mine[: os.cpu_count() or 1] = 1
    holders = np.zeros_like(mine)
    neighbours.Allreduce(mine, holders)
    part = float((mine / np.maximum(holders, 1)).sum() / mine.sum())
    return max(1, int(kernels.num_threads() * part + 1e-6))


class DataParallel(Alone):
    """The ranks of an MPI communicator (mpi4py's), this process among them; see launched.

    Gradients live in buckets, in about the order in which backward completes them. A bucket is
    sent, without waiting, as soon as its last gradient is complete (Iallreduce); so most of it is
    on its way while backward computes the rest. As PyTorch's DistributedDataParallel does it:
    Li et al., 2020 (arXiv:2006.15704). MPI gets on with it when it is called, which a thread does
    meanwhile, where MPI allows for several. The thread also ends a run whose other ranks don't
    answer any more: a cut cable is no error to MPI until the system gives its connections up.
    """

    def __init__(self, communicator: Any, bucket_bytes: int = BUCKET) -> None:
        self.rank, self.size = communicator.rank, communicator.size
        self._mpi = import_mpi()
        self._communicator = communicator
        self.bucket_bytes = bucket_bytes
        self.buckets: list[np.ndarray] = []
        self._bucket_of: dict[Parameter, int] = {}
        self._missing: list[set[Parameter]] = []  # of each bucket, in this step
        self.sent: list[Any] = []  # requests of the buckets so far, in order
        self.patience = _PATIENCE
        self._waiting_since: float | None = None
        self._under_way = threading.Event()
        threading.Thread(target=self._attend, daemon=True).start()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        if self.rank:
            time.sleep(_HEAD_START)
        if isinstance(error, KeyboardInterrupt):
            self._end("interrupted", _INTERRUPTED)
        self._end(_said(error))

    def begin(self, parameters: Iterable[Parameter], state: Sequence[np.ndarray]) -> None:
        for array in state:
            self._communicator.Bcast(array, root=0)
        self.buckets, self._bucket_of = [], {}
        for number, group in enumerate(groups(list(parameters)[::-1], self.bucket_bytes)):
            bucket = np.zeros(sum(p.size for p in group), np.float32)
            self.buckets.append(bucket)
            start = 0
            for parameter in group:
                part = bucket[start : start + parameter.size]
                parameter.keep_grad_in(part.reshape(parameter.shape))
                self._bucket_of[parameter] = number
                start += parameter.size
        self._await_all()

    def completed(self, parameters: Iterable[Parameter]) -> None:
        for parameter in parameters:
            if parameter in self._bucket_of:
                self._missing[self._bucket_of[parameter]].discard(parameter)
        # In one order on all ranks, which MPI asks for: a bucket waits for the ones before it.
        while len(self.sent) < len(self.buckets) and not self._missing[len(self.sent)]:
            self._send()
        self._mpi.Request.Testall(self.sent)

    def add_gradients(self) -> None:
        while len(self.sent) < len(self.buckets):
            self._send()
        self._under_way.clear()
        with self._waiting():
            self._mpi.Request.Waitall(self.sent)
        self._await_all()

    def total(self, values: Sequence[float]) -> list[float]:
        sums = np.array(values, np.float64)
        with self._waiting():
            self._communicator.Allreduce(self._mpi.IN_PLACE, sums)
        return [float(value) for value in sums]

    def meet(self) -> None:
        self._communicator.Barrier()

    def same(self, **words: str) -> None:
        for name, word in words.items():
            digest = np.frombuffer(hashlib.sha256(word.encode()).digest(), np.uint8)
            every = np.empty((self.size, len(digest)), np.uint8)
            self._communicator.Allgather(digest, every)
            others = np.flatnonzero((every != every[0]).any(axis=1))
            if len(others):
                raise ValueError(
                    f"all ranks must have the same {name}; rank {others[0]} has another than rank 0"
                )

    def _send(self) -> None:
        bucket = self.buckets[len(self.sent)]
        self.sent.append(self._communicator.Iallreduce(self._mpi.IN_PLACE, bucket))
        self._under_way.set()

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self._waiting_since = time.monotonic()
        yield
        self._waiting_since = None

    def _attend(self) -> None:
        several = self._mpi.Query_thread() == self._mpi.THREAD_MULTIPLE
        while True:
            if self._under_way.wait(_LOOK):
                if several:
                    self._communicator.Iprobe()  # for no message: a call like any other
                time.sleep(_POLL)
            since = self._waiting_since
            if since is not None and time.monotonic() - since > self.patience:
                self._end(f"the others have not answered for {self.patience:.0f} seconds")

    def _end(self, why: str, code: int = 1) -> NoReturn:
        """Ends all ranks after a line that says why."""
        print(f"litegpt: rank {self.rank} of {self.size}: {why}", file=sys.stderr)
        sys.stderr.flush()
        time.sleep(_PASSED_ON)
        self._communicator.Abort(code)
        os._exit(code)  # should that have come back

    def _await_all(self) -> None:
        self.sent = []
        self._missing = [set() for _ in self.buckets]
        for parameter, number in self._bucket_of.items():
            self._missing[number].add(parameter)


def _said(error: BaseException) -> str:
    """An error in a line; one that nobody made to be read comes after its traceback."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ValueError | OSError) or type(error).__module__ != "builtins":
        return str(error)
    traceback.print_exception(error)
    return f"{type(error).__name__}: {error}"


def groups(parameters: Sequence[Parameter], most_bytes: int) -> list[list[Parameter]]:
    """Parameters, in their order, in groups with gradients of most_bytes; a larger one is alone."""
    found: list[list[Parameter]] = [[]]
    held = 0
    for parameter in parameters:
        if found[-1] and held + 4 * parameter.size > most_bytes:
            found.append([])
            held = 0
        found[-1].append(parameter)
        held += 4 * parameter.size
    return found
