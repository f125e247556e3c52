"""A training run as a command: begun or resumed, ended by itself or by a signal, and told of."""

import argparse
import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

from litegpt.cli.corpus import Sources, batches
from litegpt.cli.errors import InputError, bad_values, check_backend
from litegpt.cli.machine import in_bytes, memory_available
from litegpt.cli.output import discard_stdout, say
from litegpt.cli.progress import clock, progress
from litegpt.cli.run_directory import LOG, SAMPLES, claimed
from litegpt.models.memory import TrainingMemory
from litegpt.text import Tokenizer
from litegpt.training import (
    Alone,
    CheckpointError,
    Documents,
    DocumentWindows,
    JsonLinesLog,
    PackedDocuments,
    Samples,
    Trainer,
    launched,
)
from litegpt.training.forecast import memory_of_run
from litegpt.training.interrupt import SIGNALS


def add_out(parser: argparse.ArgumentParser) -> None:
    """The flags of where a run is kept."""
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="directory for what is learned: new, empty, or of an earlier run, which goes on",
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="begin anew where there is an earlier run, which is replaced",
    )


def on_ranks(
    train: Callable[[argparse.Namespace, Alone], int], arguments: argparse.Namespace
) -> int:
    """train(arguments, ranks), the ranks being those that a launcher started: what fails on one of
    them ends all, and rank 0 alone has a standard output.
    """
    check_backend()
    try:
        team = launched()
    except RuntimeError as error:  # of MPI
        raise InputError(": ".join(str(error).splitlines())) from error
    with team:
        if team.rank:
            discard_stdout()
        with nullcontext() if team.size > 1 else _ended_by_signals():
            return train(arguments, team)


@contextmanager
def prepared(
    arguments: argparse.Namespace, team: Alone, sources: Sources, window: int
) -> Iterator[tuple[Documents, DocumentWindows | PackedDocuments]]:
    """The sources as tokens, and as what steps read; within the block out is this run's alone."""
    with nullcontext() if team.rank else claimed(arguments.out, arguments.restart):
        with team.after_first():
            documents = sources.documents(arguments.out)
        with bad_values(sources.name, flags=arguments):
            data = batches(documents, sources.tokenizer, window, arguments)
        yield documents, data


def check_fits(trainer: Trainer, window: int, or_else: str = "") -> tuple[TrainingMemory, int]:
    """What the run takes, and how many bytes there are for it, the model's own among them.

    InputError if these are too few; or_else: what would help, too.
    """
    needed = memory_of_run(trainer.model, window, trainer.config)
    there = memory_available() + sum(p.nbytes for p in trainer.model.parameters())
    if needed.total > there:
        raise InputError(
            f"the run takes {in_bytes(needed.total)} of memory, {in_bytes(there)} are there: a "
            f"smaller --batch-size (with --accumulate) or --max-seq-len, or --recompute{or_else}"
        )
    return needed, there


def run_training(
    trainer: Trainer,
    arguments: argparse.Namespace,
    tokenizer: Tokenizer,
    generate_flags: str | None = None,
) -> int:
    """Trains into arguments.out, from where an earlier run stopped unless told to restart.

    generate_flags tell `litegpt generate` to use what was learned: by default, a model in out. Of
    several ranks the first alone writes and speaks.
    """
    out: Path = arguments.out
    flags = generate_flags or f"--model {shlex.quote(str(out))}"
    if trainer.ranks.rank == 0:
        samples = Samples(out / SAMPLES, tokenizer)
        trainer.callbacks = (JsonLinesLog(out / LOG), samples, progress(samples))
        if not arguments.restart:
            _resume(trainer, out, arguments)
    done = trainer.ended is not None and trainer.state.settled
    if trainer.ranks.total([done])[0]:
        say(
            f"{out}: {trainer.ended}; {_kept(trainer, out)}. "
            "Higher limits go on from there, --restart begins anew"
        )
        return 0
    signalled: list[int] = []
    several = trainer.ranks.size > 1
    try:
        with _stopped_by_signals(trainer, signalled) if several else nullcontext():
            trainer.fit()
    except FloatingPointError as error:
        raise InputError(f"{error}; {_kept(trainer, out)}") from error
    except IndexError as error:  # tokens that no tokenizer of this size has made
        raise InputError(f"the data: {error}; {_kept(trainer, out)}") from error
    except BaseException:
        say(f"stopped at step {trainer.step}; {_kept(trainer, out)}")
        raise
    if trainer.ended is None:  # a signal, perhaps to another rank
        say(f"stopped at step {trainer.step}; {_kept(trainer, out)}")
        return 128 + (signalled or [signal.SIGTERM])[0]
    val_loss, best = trainer.records[-1].val_loss, trainer.state.best_loss
    if best is None:
        validation = "no validation loss: its windows hold nothing to learn"
    else:
        validation = f"validation loss {val_loss:.4f}"
        validation += f" (best: {best:.4f})" if best != val_loss else ""
    say(
        f"{validation} after {clock(trainer.state.seconds)}; {trainer.ended}; {_kept(trainer, out)}"
    )
    say(f"try: litegpt generate {flags}")
    return 0


def _resume(trainer: Trainer, out: Path, arguments: argparse.Namespace) -> None:
    try:
        with bad_values(flags=arguments):
            if trainer.resume():
                say(f"{out}: goes on from step {trainer.step}")
    except InputError as error:
        raise InputError(
            f"{out}: {error}; the settings it has go on with it, --restart begins anew"
        ) from error
    except CheckpointError as error:
        raise InputError(f"{out}: {error}; --restart begins anew") from error


def _kept(trainer: Trainer, out: Path) -> str:
    checkpoints = trainer.checkpoints
    if checkpoints is None or checkpoints.published_step is None:
        return "nothing was kept"
    kept = f"{out} holds the model of step {checkpoints.published_step}"
    later = checkpoints.step != checkpoints.published_step
    return f"{kept}, and a checkpoint of step {checkpoints.step}" if later else kept


@contextmanager
def _stopped_by_signals(trainer: Trainer, signalled: list[int]) -> Iterator[None]:
    """Within the block a signal ends the run after its step, on all ranks, and goes on the list.

    A second one is obeyed at once.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        trainer.stop()
        signalled.append(number)
        for other, handler in before.items():
            signal.signal(other, handler)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, with the exit code that shells expect."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {n: signal.getsignal(n) for n in SIGNALS if signal.getsignal(n) is signal.SIG_DFL}
    for number in before:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
