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

os.environ["LITEGPT_NUM_THREADS"] = "1"  # so that processor time is this thread's

import atheris

with atheris.instrument_imports(include=["litegpt"]):
    from fuzz_targets import TARGETS, Target

FOLDER = Path(__file__).parents[2] / "build" / "fuzz"
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


def _fuzz(name: str, options: list[str], inputs: Path) -> None:
    target = TARGETS[name]
    memory = Path("/dev/shm")  # which needn't be synchronised with a disk
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as temporary:
        folder = Path(temporary)
        fuzzed, seeds = target.make(folder)
        if inputs.suffix == "":
            inputs.mkdir(exist_ok=True)
            for i, seed in enumerate(seeds):
                (inputs / f"sound-{i}").write_bytes(seed)

        def try_one(data: bytes) -> None:
            _tried(target, folder, data, folder / fuzzed)

        def mutate(data: bytes, most: int, seed: int) -> bytes:
            rng = random.Random(seed)
            if target.mutate and rng.random() < 0.7:
                try:
                    changed = target.mutate(data, rng)
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    pass  # not well-formed any more
                else:
                    return changed[:most]
            return atheris.Mutate(data, most)

        for seed in seeds:
            try_one(seed)  # which also imports what comes late
        command = [sys.argv[0], *options, f"-artifact_prefix={FOLDER}/{name}-", str(inputs)]
        atheris.Setup(command, try_one, custom_mutator=mutate)
        atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", choices=["all", *TARGETS])
    parser.add_argument("--runs", type=int, default=-1, help="how many files are tried")
    parser.add_argument("--seconds", type=int, default=0, help="for how long (0: without end)")
    parser.add_argument("--file", type=Path, help="this file, once")
    arguments = parser.parse_args()
    if arguments.target == "all":
        for name in TARGETS:
            command = [sys.executable, __file__, name, *sys.argv[2:]]
            subprocess.run(command, check=True)
        return
    warnings.simplefilter("ignore")
    FOLDER.mkdir(parents=True, exist_ok=True)
    options = [f"-runs={arguments.runs}", f"-max_total_time={arguments.seconds}"]
    options += [f"-max_len={LONGEST}", "-timeout=60", "-len_control=0", "-print_final_stats=1"]
    _fuzz(arguments.target, options, arguments.file or FOLDER / arguments.target)


if __name__ == "__main__":
    main()
