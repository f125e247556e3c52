"""`litegpt train`: a text file turned into a model."""

import argparse
import os
from pathlib import Path
from typing import Any

from litegpt.cli.errors import InputError, bad_values, check_backend
from litegpt.cli.output import say
from litegpt.cli.run_directory import claimed
from litegpt.cli.settings import add_settings, settings
from litegpt.cli.training_run import add_restart, run_training
from litegpt.models import GPTConfig, GPTModel
from litegpt.text import TOKENIZERS, Tokenizer, load_tokenizer
from litegpt.training import Checkpoints, TextWindows, Trainer


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "train",
        help="turn a text file into a model",
        description="Trains a GPT on the first 90 % of FILE and validates on the last 10 %. "
        "Without FILE it learns the help texts that Python itself carries. Ctrl-C ends the run "
        "and keeps what was learned; the same command again goes on with it.",
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
        help="directory for the model: new, empty, or of an earlier run, which goes on",
    )
    add_restart(parser)
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
    add_settings(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    check_backend()
    config = settings(arguments)
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

    def save(model: GPTModel, directory: Path) -> None:
        model.save_pretrained(directory)
        tokenizer.save(directory)

    checkpoints = Checkpoints(arguments.out, replace=arguments.restart, save_model=save)
    with claimed(arguments.out, arguments.restart):
        say(
            f"{name}: {len(ids):,} tokens ({tokenizer.vocab_size} different, "
            f"{tokenizer.kind}); model: {model.get_num_parameters():,} parameters"
        )
        trainer = Trainer(model, data, config, checkpoints=checkpoints)
        return run_training(trainer, arguments)


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
