"""`litegpt train`: a text file turned into a model."""

import argparse
import os
import shlex
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

from litegpt.cli.errors import InputError, bad_values, check_backend
from litegpt.cli.output import say
from litegpt.cli.progress import clock, progress
from litegpt.cli.run_directory import LOG, claim, release
from litegpt.models import GPTConfig, GPTModel
from litegpt.text import TOKENIZERS, Tokenizer, load_tokenizer
from litegpt.training import (
    CHOICES,
    JsonLinesLog,
    TextWindows,
    TrainConfig,
    Trainer,
    interrupts_deferred,
)

_SETTINGS = {
    "batch_size": "windows read at once",
    "accumulate": "batches in a step",
    "max_steps": "steps",
    "learning_rate": "highest learning rate",
    "min_learning_rate": "learning rate at the end",
    "warmup_steps": "steps of rising learning rate",
    "schedule": "how the learning rate falls",
    "decay_share": "part of the steps in which the schedule wsd falls",
    "optimizer": "how weights move",
    "weight_decay": "pull of the matrices towards zero",
    "beta2": "memory of the squared gradients",
    "grad_clip": "largest norm of the gradients; 0 is no limit",
    "eval_interval": "steps between evaluations",
    "eval_steps": "batches in an evaluation",
    "seed": "start of everything random",
}


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "train",
        help="turn a text file into a model",
        description="Trains a GPT on the first 90 % of FILE and validates on the last 10 %. "
        "Without FILE it learns the help texts that Python itself carries. Ctrl-C ends the run "
        "and keeps what was learned.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="the text; UTF-8, unless the tokenizer is byte",
    )
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="directory for the model; new, empty, or of an earlier run, which is replaced",
    )
    parser.add_argument(
        "--tokenizer",
        default="char",
        metavar="KIND",
        help=f"text to ids: {', '.join(TOKENIZERS)}, or the directory or file of a tokenizer",
    )
    model = parser.add_argument_group("model")
    for flag, default, help_text in (
        ("--num-layers", 4, "blocks"),
        ("--num-heads", 4, "attention heads in a block"),
        ("--hidden-dim", 128, "width; a multiple of the heads"),
        ("--max-seq-len", 64, "tokens that the model sees at once"),
    ):
        model.add_argument(flag, type=int, default=default, metavar="N", help=help_text)
    model.add_argument(
        "--dropout", type=float, default=0.0, metavar="P", help="share dropped while training"
    )
    run_group = parser.add_argument_group("training")
    settings = {field.name: field for field in fields(TrainConfig)}
    for name, help_text in _SETTINGS.items():
        field: Any = settings[name]
        run_group.add_argument(
            "--" + name.replace("_", "-"),
            type=field.type,
            default=field.default,
            metavar={int: "N", float: "X"}.get(field.type, "NAME"),
            help=help_text + (f": {', '.join(CHOICES[name])}" if name in CHOICES else ""),
        )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    check_backend()
    with bad_values(flags=arguments):
        config = TrainConfig(**{name: getattr(arguments, name) for name in _SETTINGS})
    name, text = read_text(getattr(arguments, "file", None))
    tokenizer = choose_tokenizer(arguments.tokenizer, name, text)
    with bad_values(name):
        ids = tokenizer.encode(text)
    with bad_values(flags=arguments):
        shape = model_shape(arguments, tokenizer.vocab_size)
    with bad_values(name, flags=arguments):
        data = TextWindows(ids, arguments.max_seq_len)
    check_memory(shape)
    model = GPTModel.from_config(shape, seed=arguments.seed)
    made = claim(arguments.out)
    try:
        say(
            f"{name}: {len(ids):,} tokens ({tokenizer.vocab_size} different, "
            f"{tokenizer.kind}); model: {model.get_num_parameters():,} parameters"
        )
        return _train(arguments.out, Trainer(model, data, config), tokenizer)
    finally:
        release(arguments.out, made)


def choose_tokenizer(kind: str, name: str, text: bytes) -> Tokenizer:
    """The tokenizer of a kind that suits the text, or the one that a path leads to."""
    if kind in TOKENIZERS:
        with bad_values(name):
            return TOKENIZERS[kind].from_text(text)
    if not Path(kind).exists():
        raise InputError(f"--tokenizer {kind}: no such path, nor one of {', '.join(TOKENIZERS)}")
    with bad_values("--tokenizer"):
        return load_tokenizer(kind)


def model_shape(arguments: argparse.Namespace, vocab_size: int) -> GPTConfig:
    """GPTModel's default parts: among them a head of its own, which learns faster at this size
    than one that shares the embedding's table (measured: benchmarks/LOG.md).
    """
    return GPTConfig(
        vocab_size,
        arguments.max_seq_len,
        arguments.num_layers,
        arguments.num_heads,
        arguments.hidden_dim,
        dropout=arguments.dropout,
    )


def check_memory(shape: GPTConfig) -> None:
    """Refuses a model whose matrices alone can't be trained in this machine's memory."""
    width = shape.hidden_dim
    tables = (2 * shape.vocab_size + shape.max_seq_len) * width
    parameters = tables + shape.num_layers * (4 * width + 2 * shape.ffn_dim) * width
    needed = 16 * parameters  # bytes: weight, gradient and two moments, float32 each
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise InputError(
            f"a model of {parameters:,} parameters takes {needed / 2**30:,.0f} GiB to train; "
            f"this machine has {there / 2**30:,.0f}"
        )


def read_text(file: str | None) -> tuple[str, bytes]:
    """The name and content of the text to learn; without a file, pydoc's topics."""
    if file is None:
        try:
            from pydoc_data.topics import topics
        except ImportError:
            raise InputError(
                "this Python carries no pydoc_data to learn from: name a FILE"
            ) from None
        return "pydoc_data", "\n".join(topics[name] for name in sorted(topics)).encode()
    path = Path(file)
    if path.is_dir():
        raise InputError(f"{path}: a directory; a text file is needed")
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if not text:
        raise InputError(f"{path}: empty; there is nothing to learn from")
    return str(path), text


def _train(out: Path, trainer: Trainer, tokenizer: Tokenizer) -> int:
    """Runs the trainer and leaves in `out` what it learned, however the run ended."""
    trainer.callbacks = (JsonLinesLog(out / LOG), progress())
    start = time.monotonic()
    ended: BaseException | None = None
    try:
        trainer.fit()
    except BaseException as error:  # whatever it is: first save
        ended = error
    kept = "nothing was kept"
    if trainer.step:
        with interrupts_deferred():
            tokenizer.save(out)
            trainer.model.save_pretrained(out)
        kept = f"{out} holds the model of step {trainer.step}"
    if isinstance(ended, FloatingPointError):
        raise InputError(f"{ended}; {kept}") from ended
    if ended:
        say(f"stopped; {kept}")
        raise ended
    val_loss = trainer.records[-1].val_loss
    say(f"validation loss {val_loss:.4f} after {clock(time.monotonic() - start)}; {kept}")
    say(f"try: litegpt generate --model {shlex.quote(str(out))}")
    return 0
