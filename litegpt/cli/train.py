"""`litegpt train`: texts turned into a model."""

import argparse
import os
from functools import partial
from pathlib import Path
from typing import Any

from litegpt.cli.corpus import (
    PATHS_HELP,
    TOKENIZER_HELP,
    add_data,
    described,
    find,
)
from litegpt.cli.errors import InputError, bad_values
from litegpt.cli.output import say
from litegpt.cli.settings import add_settings, settings
from litegpt.cli.training_run import add_out, check_fits, on_ranks, prepared, run_training
from litegpt.models import GPTConfig, GPTModel
from litegpt.models.memory import PER_BLOCK
from litegpt.training import Alone, Checkpoints, Trainer


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "train",
        help="turn texts into a model",
        description="Trains a GPT on texts and validates on a tenth of them: of one text the last "
        "10 %, of many documents whole ones. Without PATH it learns the help texts that Python "
        "itself carries. Ctrl-C ends the run and keeps what was learned; the same command again "
        "goes on with it.",
    )
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        default=argparse.SUPPRESS,
        help=f"{PATHS_HELP}; or a directory that `litegpt tokenize` wrote",
    )
    add_out(parser)
    parser.add_argument(
        "--tokenizer",
        default=argparse.SUPPRESS,
        metavar="KIND",
        help=f"{TOKENIZER_HELP} (default: char, or the one of the tokens)",
    )
    add_data(parser)
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
    parser.set_defaults(run=partial(on_ranks, run))


def run(arguments: argparse.Namespace, team: Alone) -> int:
    config = settings(arguments)
    sources = find(
        getattr(arguments, "paths", ()), getattr(arguments, "tokenizer", None), arguments.out
    )
    tokenizer = sources.tokenizer
    with bad_values(flags=arguments):
        shape = model_shape(arguments, tokenizer.vocab_size)
    check_memory(shape)
    model = GPTModel.from_config(shape, seed=arguments.seed)

    def save(model: GPTModel, directory: Path) -> None:
        model.save_pretrained(directory)
        tokenizer.save(directory)

    checkpoints = Checkpoints(arguments.out, replace=arguments.restart, save_model=save)
    with prepared(arguments, team, sources, arguments.max_seq_len) as (documents, data):
        kept = None if team.rank else checkpoints
        with bad_values(flags=arguments):
            trainer = Trainer(model, data, config, checkpoints=kept, ranks=team)
        check_fits(trainer, arguments.max_seq_len)
        together = f"; {team.size} ranks" if team.size > 1 else ""
        say(
            f"{described(sources, documents)}; "
            f"model: {model.get_num_parameters():,} parameters{together}"
        )
        return run_training(trainer, arguments, tokenizer)


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
    """Refuses a model whose matrices alone can't be trained in this machine's memory.

    Each of their numbers takes 16 bytes: weight, gradient and two moments.
    """
    width = shape.hidden_dim
    tables = (2 * shape.vocab_size + shape.max_seq_len) * width
    parameters = tables + shape.num_layers * (4 * width + 2 * shape.ffn_dim) * width
    needed = 16 * parameters + shape.num_layers * PER_BLOCK  # bytes
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise InputError(
            f"a model of {parameters:,} parameters takes {needed / 2**30:,.0f} GiB to train; "
            f"this machine has {there / 2**30:,.0f}"
        )
