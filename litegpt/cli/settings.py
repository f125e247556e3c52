"""The flags of a training run: the fields of TrainConfig."""

import argparse
import re
from dataclasses import Field, fields
from typing import Any

from litegpt.cli.errors import bad_values
from litegpt.training import CHOICES, TrainConfig

_HELP = {
    "batch_size": "windows read at once",
    "accumulate": "batches in a step",
    "max_steps": "steps",
    "max_time": "instead of --max-steps: as many steps as fit into this time (90s, 20m, 1h30m)",
    "learning_rate": "highest learning rate",
    "min_learning_rate": "learning rate at the end",
    "warmup_steps": "steps of rising learning rate",
    "schedule": "how the learning rate falls",
    "decay_share": "part of the steps in which the schedule wsd falls",
    "optimizer": "how weights move",
    "weight_decay": "pull of the matrices towards zero",
    "beta1": "memory of the gradients",
    "beta2": "memory of the squared gradients",
    "precision": "how products are multiplied; bfloat16 is faster on processors that have it",
    "recompute": "compute blocks again in backward: less memory, a third more work",
    "freeze": "parameters that stay as they are: a name or a pattern (blocks.0.*); may be repeated",
    "grad_clip": "largest norm of the gradients; 0 is no limit",
    "log_interval": "steps between records in log.jsonl",
    "eval_interval": "steps between evaluations",
    "eval_steps": "batches in an evaluation",
    "patience": "evaluations without a better one that end the run; 0 is no limit",
    "save_interval": "steps between checkpoints",
    "keep_last": "checkpoints kept, beside the best",
    "on_save_error": "what happens when a checkpoint can't be written",
    "on_spike": "what happens when the loss leaps up",
    "spike_factor": "how far it has to, in median distances of the losses from their median",
    "max_rollbacks": "how often --on-spike rollback goes back",
    "seed": "start of everything random",
}
_INSTEAD = ("max_steps", "max_time")  # one or the other
_UNITS = (3600.0, 60.0, 1.0)


def add_settings(parser: argparse.ArgumentParser, **defaults: object) -> None:
    """Adds a flag for every setting; its default is the one named, or that of TrainConfig."""
    group = parser.add_argument_group("training")
    end = group.add_mutually_exclusive_group()
    known = {field.name: field for field in fields(TrainConfig)}
    parser.set_defaults(max_time=known["max_time"].default)  # which is no time to speak of
    defaults = {"max_time": argparse.SUPPRESS} | defaults
    for name, help_text in _HELP.items():
        allowed = f": {', '.join(CHOICES[name])}" if name in CHOICES else ""
        (end if name in _INSTEAD else group).add_argument(
            "--" + name.replace("_", "-"),
            default=defaults.get(name, known[name].default),
            help=help_text + allowed,
            **_kind(known[name]),
        )


def settings(arguments: argparse.Namespace) -> TrainConfig:
    """What the flags say; InputError if that makes no sense."""
    with bad_values(flags=arguments):
        values = {name: getattr(arguments, name) for name in _HELP}
        return TrainConfig(**values | {"freeze": tuple(values["freeze"])})


def _kind(field: "Field[Any]") -> dict[str, Any]:
    """How a flag's text is read, and what stands for it in the help."""
    if field.name == "max_time":
        return {"type": _duration, "metavar": "TIME"}
    if field.type is bool:
        return {"action": "store_true"}
    if field.name == "freeze":
        return {"action": _Append, "metavar": "PATTERN"}
    metavar = {str: "NAME", int: "N", float: "X"}
    return {"type": field.type, "metavar": next(m for t, m in metavar.items() if field.type is t)}


class _Append(argparse.Action):
    """One more of several, beside none by default."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option: Any = None
    ) -> None:
        setattr(namespace, self.dest, (*getattr(namespace, self.dest), values))


def _duration(text: str) -> float:
    """Seconds of 90s, 20m or 1h30m; a bare number is seconds."""
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text)
    seconds = 0.0
    if parts:
        seconds = sum(float(n) * unit for n, unit in zip(parts.groups(), _UNITS, strict=True) if n)
    if not seconds:
        raise argparse.ArgumentTypeError(f"{text!r} is no time (allowed: 90s, 20m, 1h30m)")
    return seconds
