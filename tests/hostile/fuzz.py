"""Coverage-guided fuzz of everything that reads files of others, with atheris.

    pip install -e '.[fuzz]'
    python tests/hostile/fuzz.py gguf --runs 10000
    python tests/hostile/fuzz.py all --seconds 600     each target for so long
    python tests/hostile/fuzz.py gguf --file PATH      a finding again

A finding is whatever isn't the error that is documented, takes more than a second of processor
time, or more memory than the file's size and 64 MB. It ends the run; the file that did it is in
build/fuzz, as is what was learned so far (build/fuzz/TARGET), with which the next run begins.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import NoReturn

os.environ["LITEGPT_NUM_THREADS"] = "1"  # so that processor time is this thread's

import atheris

with atheris.instrument_imports(include=["litegpt"]):
    from fuzz_targets import TARGETS, Target

OUT = Path(__file__).parents[2] / "build" / "fuzz"
SECONDS, MEMORY = 1.0, 64 << 20
LONGEST = 1 << 16  # bytes of a file


class Finding(Exception):
    """What should never happen."""


def _peak() -> int:
    """The most resident memory since it was last asked for, in bytes."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(status.split("VmHWM:")[1].split()[0]) << 10


def _tried(target: Target, folder: Path, data: bytes, file: Path) -> None:
    """Reads the file; Finding for anything but success or the documented error."""
    file.write_bytes(data)
    _peak()
    before, began = _peak(), time.process_time()
    try:
        target.use(folder)
    except target.error as error:
        if (target.named or str(folder)) not in str(error):
            raise Finding("the error doesn't say where") from error
        if "\n" in str(error):
            raise Finding("the error is longer than a line") from error
    seconds, memory = time.process_time() - began, _peak() - before
    if seconds > SECONDS:
        raise Finding(f"took {seconds:.2f} s")
    if memory > len(data) + MEMORY:
        raise Finding(f"took {memory >> 20} MB")


def _fuzz(target: Target, folder: Path, options: list[str], inputs: Path) -> NoReturn:
    """Tries what is made from inputs, a folder of files, or one file; `folder` is the target's."""
    fuzzed, seeds = target.make(folder)
    if inputs.is_dir():
        for i, seed in enumerate(seeds):
            (inputs / f"sound-{i}").write_bytes(seed)

    def try_one(data: bytes) -> None:
        _tried(target, folder, data, folder / fuzzed)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if target.mutate and rng.random() < 0.7:
            try:
                changed = target.mutate(data, rng)
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                pass  # not well-formed any more
            else:
                return changed[:most]
        return atheris.Mutate(data, most)

    for seed in seeds:
        try_one(seed)  # which also imports what comes late
    atheris.Setup([sys.argv[0], *options, str(inputs)], try_one, custom_mutator=mutate)
    atheris.Fuzz()  # ends the process
    raise AssertionError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", choices=["all", *TARGETS])
    parser.add_argument("--runs", type=int, default=-1, help="how many files are tried")
    parser.add_argument("--seconds", type=int, default=0, help="for how long (0: without end)")
    parser.add_argument("--file", type=Path, help="this file, once")
    parser.add_argument("--out", type=Path, default=OUT, help="what was found and learned")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # the target's
    arguments = parser.parse_args()
    if arguments.folder is None:
        memory = Path("/dev/shm")  # which needn't be synchronised with a disk
        for name in TARGETS if arguments.target == "all" else [arguments.target]:
            with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
                command = [sys.executable, __file__, name, *sys.argv[2:], "--folder", folder]
                if status := subprocess.run(command).returncode:
                    sys.exit(status)
        return
    warnings.simplefilter("ignore")
    inputs = arguments.file or arguments.out / arguments.target
    if arguments.file is None:
        inputs.mkdir(parents=True, exist_ok=True)
    options = [f"-runs={arguments.runs}", f"-max_total_time={arguments.seconds}", "-timeout=60"]
    options += [f"-max_len={LONGEST}", "-len_control=0", "-print_final_stats=1"]
    options += [f"-artifact_prefix={arguments.out}/{arguments.target}-"]
    _fuzz(TARGETS[arguments.target], arguments.folder, options, inputs)


if __name__ == "__main__":
    main()
