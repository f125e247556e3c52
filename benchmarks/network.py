"""What sending gradients during backward saves: two ranks, and a shaped link between them.

    sudo python benchmarks/network.py            at 1 and 10 Gbit/s, the models of scaling.py
    sudo python benchmarks/network.py --first    the ranks before all else: on a busy machine

Two network namespaces stand for two machines. The cable between them is a pair of virtual devices
that tc holds to the rate, and carries MPICH's TCP; each rank has one processor and one thread.
Steps that send every bucket of gradients when it is complete alternate with steps that send all of
them after backward. Beside their medians stands what scaling.py computes, from a step alone and
from the link as they are measured in the same run. Needs root, ip, tc, mpi4py and MPICH's mpiexec.
"""

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from scaling import USED, WORKS, Work, measure, step_seconds

from litegpt import AdamW, GPTModel, kernels
from litegpt.nn import Parameter
from litegpt.training.parallel import DataParallel, import_mpi

NAMESPACES = ("litegpt-0", "litegpt-1")
DEVICE = "eth0"  # in both of them
LONG = 64 << 20  # bytes, by which the link's rate is measured
OVER_THE_LINK = {
    "MPIR_CVAR_NOLOCAL": "1",  # no shared memory, although this is one machine
    "UCX_TLS": "tcp,self",
    "UCX_NET_DEVICES": DEVICE,
}


class Ranks(DataParallel):
    """Send gradients while backward goes on, or after it."""

    early = True

    def completed(self, parameters: Iterable[Parameter]) -> None:
        if self.early:
            super().completed(parameters)


def run_rank(work: Work, steps: int) -> None:
    """This rank's part; rank 0 prints a row of the table."""
    world = import_mpi().COMM_WORLD
    kernels.set_num_threads(1)
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[world.rank]})
    one = measure(work, time.perf_counter)

    def seconds(action: Callable[[], object]) -> float:
        world.Barrier()
        start = time.perf_counter()
        action()
        return time.perf_counter() - start

    def seconds_to_add(size: int, times: int) -> float:
        mine, summed = np.zeros((2, size // 4), np.float32)
        taken = [seconds(lambda: world.Allreduce(mine, summed)) for _ in range(1 + times)]
        return statistics.median(taken[1:])

    latency = seconds_to_add(4, 200) / 2  # which is there and back
    gbit = 8e-9 * LONG / seconds_to_add(LONG, 5)
    model = GPTModel(**work.shape, max_seq_len=work.length, dropout=0.0, tie_embeddings=True)
    optimizer = AdamW(model.named_parameters(), 1e-4)
    ids = np.random.default_rng(0).integers(0, model.vocab_size, (work.rows, work.length + 1))
    with Ranks(world) as ranks:
        if os.sched_getscheduler(0) == os.SCHED_RR:  # where a thread that wakes waits for its turn
            for thread in threading.enumerate()[1:]:
                assert thread.native_id
                os.sched_setscheduler(thread.native_id, os.SCHED_RR, os.sched_param(2))
        ranks.begin(model.parameters(), [p.data for p in model.parameters()])

        def step() -> None:
            model.zero_grad()
            model.loss_and_backward(ids[:, :-1], ids[:, 1:], when_complete=ranks.completed)
            ranks.add_gradients()
            optimizer.grad_norm()
            optimizer.step()

        taken: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(1 + steps):
            for ranks.early in taken:
                taken[ranks.early].append(seconds(step))
    cells = [f"{gbit:.2f} Gbit/s, {latency * 1e6:.0f} us", f"{one.step:.2f} s"]
    for early, (_, *measured) in taken.items():
        computed = step_seconds(one, 2, gbit / USED, latency, early)
        cells.append(f"{statistics.median(measured):.2f} s ({computed:.2f})")
    if not world.rank:
        print(f"| {work.name}, {work.rows} x {work.length} |", " | ".join(cells), "|", flush=True)


@contextmanager
def link(gbit: float) -> Iterator[None]:
    """The namespaces, and between their devices so many Gbit/s either way."""
    first, second = NAMESPACES
    try:
        for name in NAMESPACES:
            _do(f"ip netns add {name}")
        _do(f"ip link add {DEVICE} netns {first} type veth peer name {DEVICE} netns {second}")
        for number, name in enumerate(NAMESPACES, 1):
            _do(f"ip -n {name} address add 10.77.0.{number}/24 dev {DEVICE}")
            _do(f"ip -n {name} link set lo up")  # a rank speaks with itself, too
            _do(f"ip -n {name} link set {DEVICE} up")
            rate = f"rate {gbit:g}gbit burst 512kb latency 100ms"
            _do(f"tc -n {name} qdisc add dev {DEVICE} root tbf {rate}")
        while any(_of_device(name, "operstate") != "up" for name in NAMESPACES):
            time.sleep(0.1)
        yield
    finally:
        for name in NAMESPACES:
            subprocess.run(["ip", "netns", "delete", name], check=False)


def _do(command: str) -> None:
    subprocess.run(command.split(), check=True)


def _of_device(name: str, what: str) -> str:
    """What the kernel says of a namespace's device."""
    command = ["ip", "netns", "exec", name, "cat", f"/sys/class/net/{DEVICE}/{what}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gbit", type=float, nargs="+", default=[1, 10], metavar="X")
    parser.add_argument("--works", type=int, nargs="+", default=[0, 1], help="of scaling.WORKS")
    parser.add_argument("--rows", type=int, help="in a step (default: scaling.py's)")
    parser.add_argument("--steps", type=int, default=5, help="of each kind, whose medians count")
    parser.add_argument("--first", action="store_true", help="the ranks before all else")
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    works = [WORKS[number] for number in arguments.works]
    if arguments.rows:
        works = [replace(work, rows=arguments.rows) for work in works]
    if arguments.rank:
        for work in works:
            run_rank(work, arguments.steps)
        return
    print("| model, rows of a rank | link as MPI has it | alone | after backward | during it |")
    print("|---|---|---|---|---|", flush=True)
    before_all = ["chrt", "--rr", "1"] if arguments.first else []
    program = [*before_all, sys.executable, *sys.argv, "--rank"]
    in_both = [["-n", "1", "ip", "netns", "exec", name, *program] for name in NAMESPACES]
    for gbit in arguments.gbit:
        with link(gbit):
            command = ["mpiexec", *in_both[0], ":", *in_both[1]]
            subprocess.run(command, check=True, env=os.environ | OVER_THE_LINK)
            through = int(_of_device(NAMESPACES[0], "statistics/tx_bytes"))
            print(f"{gbit:g} Gbit/s: {through / 1e6:,.0f} MB went through the link")


if __name__ == "__main__":
    main()
