"""`litegpt finetune`: a model that others trained, trained on."""

import argparse
import math
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from litegpt.cli.corpus import PATHS_HELP, add_data, described, find
from litegpt.cli.errors import InputError, bad_values
from litegpt.cli.generate import add_model, load_to_train
from litegpt.cli.machine import in_bytes
from litegpt.cli.output import counted, say
from litegpt.cli.progress import clock
from litegpt.cli.settings import add_settings, settings
from litegpt.cli.training_run import add_out, check_fits, on_ranks, prepared, run_training
from litegpt.generation import TextModel
from litegpt.models import GPTModel, LoRAConfig, add_lora, load_lora, save_lora
from litegpt.training import (
    Alone,
    Checkpoints,
    DocumentWindows,
    PackedDocuments,
    TrainConfig,
    Trainer,
)
from litegpt.training.checkpoint import load_pretrained
from litegpt.training.forecast import seconds_of_batch

_WINDOW = 512  # tokens, where the model sees more
_RATES = {True: 5e-4, False: 3e-5}  # with LoRA, without: the highest learning rate
_FROM_THE_DATA = ("max_steps", "learning_rate", "warmup_steps", "eval_interval", "save_interval")
_ADAPTERS = {
    "lora_r": (int, "N", "rank of the adapters (default: 8)"),
    "lora_alpha": (float, "X", "they count alpha / r times (default: 2 r)"),
    "lora_dropout": (float, "P", "share of their input dropped while training (default: 0)"),
    "lora_targets": (str, "NAMES", "q_proj,v_proj and so on (default: all-linear)"),
}


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "finetune",
        help="train a model of others further, whole or by LoRA",
        description="Trains a model on examples, a tenth of which are kept for validation, and "
        "says beforehand what that takes. With --lora the model stays as it is, in the format of "
        "its file, and small adapters beside its layers are trained. Ctrl-C ends the run and keeps "
        "what was learned; the same command again goes on with it.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help=f"{PATHS_HELP}; or a directory that `litegpt tokenize` wrote",
    )
    add_model(parser, default=None, required=True)
    add_out(parser)
    add_adapters(parser)
    add_data(parser)
    parser.add_argument(
        "--max-seq-len",
        type=int,
        metavar="N",
        default=argparse.SUPPRESS,
        help=f"tokens in a row (default: {_WINDOW}, or all that the model sees)",
    )
    parser.add_argument(
        "--passes",
        type=float,
        default=3.0,
        metavar="X",
        help="times that the data are gone through, where neither steps nor time are said",
    )
    add_settings(
        parser,
        batch_size=4,
        weight_decay=0.0,
        min_learning_rate=0.0,
        **dict.fromkeys(_FROM_THE_DATA, argparse.SUPPRESS),
    )
    parser.set_defaults(run=partial(on_ranks, run))


def run(arguments: argparse.Namespace, team: Alone) -> int:
    lora = lora_config(arguments)
    if lora is None:
        if getattr(arguments, "dtype", "float32") != "float32":
            raise InputError(
                f"--dtype {arguments.dtype} keeps weights that can't be trained; --lora trains "
                "adapters beside them"
            )
        arguments.dtype = "float32"
    elif hasattr(arguments, "adapter"):
        raise InputError(
            "--adapter with --lora would train adapters for a model that no file holds; write it "
            f"with `litegpt convert {arguments.model} DIR --merge {arguments.adapter}`, and train "
            "adapters for DIR"
        )
    base = load_to_train(arguments)
    window = _window(arguments, base.model)
    sources = find(arguments.paths, base.tokenizer, arguments.out)
    if lora is not None:
        with bad_values("--lora"):
            add_lora(base.model, lora, seed=arguments.seed)
    with prepared(arguments, team, sources, window) as (documents, data):
        config = _complete(arguments, math.ceil(data.rows / team.size))
        with bad_values(flags=arguments):
            kept = None if team.rank else _checkpoints(arguments, base)
            trainer = Trainer(base.model, data, config, checkpoints=kept, ranks=team)
        say(described(sources, documents))
        _foretell(trainer, data)
        say(f"before training: validation loss {trainer.evaluate():.4f}")
        return run_training(trainer, arguments, base.tokenizer, _generate_flags(arguments))


def add_adapters(parser: argparse.ArgumentParser) -> None:
    """The flags of LoRA."""
    group = parser.add_argument_group("adapters")
    group.add_argument("--lora", action="store_true", help="train LoRA adapters alone")
    for name, (kind, metavar, help_text) in _ADAPTERS.items():
        flag = "--" + name.replace("_", "-")
        group.add_argument(
            flag, type=kind, metavar=metavar, default=argparse.SUPPRESS, help=help_text
        )


def lora_config(arguments: argparse.Namespace) -> LoRAConfig | None:
    """What add_adapters' flags say; None without --lora."""
    given = {name: getattr(arguments, name) for name in _ADAPTERS if hasattr(arguments, name)}
    if not arguments.lora:
        if given:
            raise InputError(f"--{min(given).replace('_', '-')} is for --lora")
        return None
    values = {name.removeprefix("lora_"): value for name, value in given.items()}
    if "targets" in values:
        values["targets"] = tuple(filter(None, values["targets"].split(",")))
    values.setdefault("alpha", 2.0 * values.get("r", LoRAConfig.r))
    with bad_values("--lora"):
        return LoRAConfig(**values)


def _window(arguments: argparse.Namespace, model: GPTModel) -> int:
    longest = model.max_seq_len
    window = getattr(arguments, "max_seq_len", min(_WINDOW, longest))
    if not 1 <= window <= longest:
        raise InputError(f"--max-seq-len must be from 1 to the model's {longest}, not {window}")
    if not 0 < arguments.passes < math.inf:
        raise InputError(f"--passes must be a positive number, not {arguments.passes}")
    return window


def _complete(arguments: argparse.Namespace, rows: int) -> TrainConfig:
    """The settings, where the flags don't say them from how many rows there are."""
    per_pass = max(1, rows // max(1, arguments.batch_size * arguments.accumulate))
    steps = getattr(arguments, "max_steps", max(1, math.ceil(arguments.passes * per_pass)))
    rate = getattr(arguments, "learning_rate", _RATES[arguments.lora])
    for name, value in {
        "max_steps": steps,
        "learning_rate": rate,
        "warmup_steps": min(100, -(-per_pass // 3)),
        "eval_interval": per_pass,
        "save_interval": per_pass,
    }.items():
        setattr(arguments, name, getattr(arguments, name, value))
    return settings(arguments)


def _foretell(trainer: Trainer, data: DocumentWindows | PackedDocuments) -> None:
    """Says what the run will take; InputError if the machine hasn't got that."""
    model, config = trainer.model, trainer.config
    trained = sum(p.size for p in model.parameters() if p.trainable)
    say(
        f"{counted(data.rows, 'row')} of {data.window} to train on; model: "
        f"{model.get_num_parameters():,} parameters, {trained:,} of them trained"
    )
    needed, there = check_fits(trainer, data.window, " or --lora")
    say(
        f"memory: {in_bytes(needed.total)} (weights {in_bytes(needed.weights)}, gradients "
        f"{in_bytes(needed.gradients)}, moments {in_bytes(needed.moments)}, activations "
        f"{in_bytes(needed.activations)}) of {in_bytes(there)}"
    )
    batch = data.batch(config.batch_size, np.random.default_rng(0))
    seconds = seconds_of_batch(model, batch, config) * config.accumulate
    if config.max_time:
        steps = counted(config.max_time / seconds, "step")
        say(f"time: {clock(config.max_time)}, about {steps}")
    else:
        steps = counted(config.max_steps, "step")
        say(f"time: about {clock(seconds * config.max_steps)} for {steps}")


def _generate_flags(arguments: argparse.Namespace) -> str:
    out = shlex.quote(str(arguments.out))
    if not arguments.lora:
        return f"--model {out}"
    return f"--model {shlex.quote(str(arguments.model))} --adapter {out}"


def _checkpoints(arguments: argparse.Namespace, base: TextModel) -> Checkpoints:
    def save_all(model: GPTModel, directory: Path) -> None:
        model.save_pretrained(directory)
        base.tokenizer.save(directory)

    return Checkpoints(
        arguments.out,
        replace=arguments.restart,
        save_model=partial(save_lora, base=str(arguments.model)) if arguments.lora else save_all,
        load_model=load_lora if arguments.lora else load_pretrained,
    )
