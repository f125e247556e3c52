"""Kills a training run at random moments (SIGKILL), and lets the same command go on with it.

    python benchmarks/kills.py 200

A tiny model writes a checkpoint after every step, so that most kills hit one being written. After
each kill the run's directory must hold a model that loads, the next start must go on from the
newest checkpoint that was there, and at the end weights, moments and log must be those of a run
that was left alone. Prints how many of the kills were survived; exits with 1 if one wasn't.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.numpy import load_file

from litegpt import GPTModel

TEXT = "To be, or not to be, that is the question:\n" * 30
FLAGS = (
    "--num-layers 1 --num-heads 2 --hidden-dim 8 --max-seq-len 8 --batch-size 4 --dropout 0.1 "
    "--warmup-steps 2 --schedule constant --eval-interval 3 --eval-steps 1"
).split()  # a schedule that doesn't depend on the steps still to come
ENDLESS = 10**6
LONGEST = 0.6  # seconds from the first line to the kill
EARLY = 0.1  # share of the kills that don't wait for the first line


@dataclass
class Outcome:
    kills: int = 0
    problems: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)  # what the kills interrupted
    steps: int = 0

    @property
    def survived(self) -> int:
        return self.kills - len(self.problems)


def train(folder: Path, out: str, *flags: object) -> list[str]:
    command = [sys.executable, "-m", "litegpt", "train", folder / "text", "--out", folder / out]
    return [str(part) for part in (*command, *FLAGS, *flags)]


def kill_once(command: list[str], out: Path, rng: random.Random) -> str | None:
    """Starts a run and kills it; says what is wrong, if anything is."""
    expected = newest(out)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    seen = ""
    if rng.random() < EARLY:
        time.sleep(rng.uniform(0.0, 0.5))
    else:
        seen = process.stdout.readline()  # the run's data and model
        if expected is not None:
            seen += process.stdout.readline()
        time.sleep(rng.uniform(0.0, LONGEST))
    process.kill()
    seen += process.communicate()[0]
    if "error" in seen or "not as it was written" in seen:
        return seen.strip().splitlines()[-1]
    if expected is not None and "goes on from" in seen:
        went_on = int(seen.split("goes on from step ")[1].split()[0])
        if went_on != expected:
            return f"went on from step {went_on}, though there was one of step {expected}"
    after = newest(out)
    if expected is not None and (after is None or after < expected):
        return f"lost the checkpoint of step {expected}"
    try:
        if (out / "model.safetensors").exists():
            GPTModel.from_pretrained(out)
        if after is not None:
            GPTModel.from_pretrained(out / "checkpoints" / f"step-{after:06}")
    except (OSError, ValueError) as error:
        return f"{error}"
    return None


def newest(out: Path) -> int | None:
    """The step of the newest checkpoint."""
    return max((int(path.name[5:]) for path in out.glob("checkpoints/step-*")), default=None)


def interrupted(out: Path) -> str:
    """What the kill came into, as far as files tell."""
    for pattern, what in (
        ("checkpoints/.*.partial", "writing a checkpoint"),
        ("checkpoints/.*.discarded", "removing an old checkpoint"),
        (".*.partial", "bringing the best model up to date"),
    ):
        if list(out.glob(pattern)):
            return what
    return "something else"


def differences(one: Path, other: Path, step: int) -> list[str]:
    """In what two runs differ at a step."""
    found = []
    for name in ("model.safetensors", "optimizer.safetensors"):
        mine, its = (load_file(o / "checkpoints" / f"step-{step:06}" / name) for o in (one, other))
        if {n: a.tobytes() for n, a in mine.items()} != {n: a.tobytes() for n, a in its.items()}:
            found.append(f"{name} isn't that of a run left alone")
    logs = [
        [{**json.loads(line), "tokens_per_s": None} for line in open(out / "log.jsonl")]
        for out in (one, other)
    ]
    return found + (["log.jsonl isn't that of a run left alone"] if logs[0] != logs[1] else [])


def kill_and_resume(kills: int, seed: int, folder: Path) -> Outcome:
    """A run killed so often, in a folder, compared with one that wasn't."""
    rng, outcome, out = random.Random(seed), Outcome(), folder / "killed"
    (folder / "text").write_text(TEXT)
    endless = train(folder, "killed", "--save-interval", 1, "--max-steps", ENDLESS)
    for _ in range(kills):
        problem = kill_once(endless, out, rng)
        outcome.kills += 1
        outcome.states[interrupted(out)] += 1
        if problem:
            outcome.problems.append(problem)
    outcome.steps = (newest(out) or 0) + 5
    for name in ("killed", "alone"):
        flags = ["--save-interval", ENDLESS, "--max-steps", outcome.steps]
        done = subprocess.run(train(folder, name, *flags), capture_output=True, text=True)
        if done.returncode:
            outcome.problems.append(done.stderr.strip())
            return outcome
    outcome.problems += differences(out, folder / "alone", outcome.steps)
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("kills", type=int, nargs="?", default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        outcome = kill_and_resume(arguments.kills, arguments.seed, folder)
    finally:
        shutil.rmtree(folder)
    for problem in outcome.problems:
        print(problem)
    print(f"{outcome.survived} of {outcome.kills} resumed, over {outcome.steps} steps; killed in:")
    for what, count in outcome.states.most_common():
        print(f"{count:6} x {what}")
    return bool(outcome.problems)


if __name__ == "__main__":
    sys.exit(main())
