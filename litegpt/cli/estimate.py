"""`litegpt estimate`: what a model takes, in memory and in time."""

import argparse
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from litegpt.cli.errors import InputError, bad_values, check_backend
from litegpt.cli.finetune import add_adapters, lora_config
from litegpt.cli.machine import in_bytes, memory_available
from litegpt.cli.output import counted, say, say_json
from litegpt.cli.progress import clock
from litegpt.cli.settings import add_settings, settings
from litegpt.models import GPTModel, LoRAConfig, add_lora, pretrained
from litegpt.models.memory import PER_BLOCK, generation_memory
from litegpt.training import TrainConfig
from litegpt.training.forecast import median_seconds, memory_of_run, seconds_of_batch

_NEW_TOKENS = 32
_SECONDS = 1.0  # that each speed is measured for, at least


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "estimate",
        help="say what a model takes to train and to run",
        description="Parameters, memory for training and for generation (computed), tokens per "
        "second (measured here, for some seconds), and the time that a run of --max-steps would "
        "take, or the steps that fit into --max-time. What doesn't fit into memory isn't measured.",
    )
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="a config.json as transformers and litegpt write it, a directory with one, or a GGUF "
        "file",
    )
    parser.add_argument(
        "--max-seq-len",
        type=int,
        metavar="N",
        default=argparse.SUPPRESS,
        help="tokens in a row (default: all that the model sees)",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    add_adapters(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    check_backend()
    config, lora = settings(arguments), lora_config(arguments)
    there = memory_available()  # before the model takes its part
    model = _model(arguments, lora is not None, None)
    length = getattr(arguments, "max_seq_len", model.max_seq_len)
    if not 1 <= length <= model.max_seq_len:
        raise InputError(
            f"--max-seq-len must be from 1 to the model's {model.max_seq_len}, not {length}"
        )
    parameters, generation = model.get_num_parameters(), generation_memory(model, length)
    _adapt(model, lora, config, arguments)
    training = memory_of_run(model, length, config)
    facts: dict[str, Any] = {
        "parameters": parameters,
        "trained": sum(p.size for p in model.parameters() if p.trainable),
        "available": there,
        "training": asdict(training) | {"total": training.total},
        "generation": asdict(generation) | {"total": generation.total},
    }
    if max(training.total, generation.total) <= there:
        model = _model(arguments, lora is not None, config.seed)
        speed = _generation_speed(model, length)
        _adapt(model, lora, config, arguments)
        facts["training"] |= _training_speed(model, length, config)
    else:
        speed = None
        facts["training"] |= {"tokens_per_s": None, "steps": None, "seconds": None}
    facts["generation"]["tokens_per_s"] = speed
    if arguments.json:
        say_json(facts)
    else:
        _tell(facts, length, config)
    return 0


def _model(arguments: argparse.Namespace, quantised: bool, seed: int | None) -> GPTModel:
    """A model of that shape, with the file's weights if it is GGUF, else random ones.

    Without a seed these are zeros, which take no memory.
    """
    path = arguments.model
    with bad_values():
        if path.suffix != ".json" and not path.is_dir():
            return GPTModel.from_pretrained(path, None if quantised else "float32")
        _, shape = pretrained.read_config(path)
        if shape.num_layers * PER_BLOCK > memory_available():
            raise ValueError(f"{path}: {shape.num_layers:,} layers are too many for this machine")
        std = 0.0 if seed is None else shape.init_std
        return GPTModel.from_config(replace(shape, init_std=std), seed=seed)


def _adapt(
    model: GPTModel, lora: LoRAConfig | None, config: TrainConfig, arguments: argparse.Namespace
) -> None:
    """What the flags want to be trained."""
    with bad_values(flags=arguments):
        if lora is not None:
            add_lora(model, lora, seed=0)
        config.freeze_in(model)


def _generation_speed(model: GPTModel, length: int) -> float | None:
    """Tokens per second of one row from its beginning on."""
    new = min(_NEW_TOKENS, length - 1)
    if not new:
        return None
    prompt = np.zeros(1, np.int64)
    with model.packed_weights():  # which aren't packed again for every call
        run = partial(model.generate, prompt, new, temperature=0)
        return new / median_seconds(run, _SECONDS)


def _training_speed(model: GPTModel, length: int, config: TrainConfig) -> dict[str, float]:
    """Tokens per second, the run's steps, and the seconds that they take."""
    ids = np.random.default_rng(0).integers(0, model.vocab_size, (config.batch_size, length))
    speed = ids.size / seconds_of_batch(model, (ids, ids), config, _SECONDS)
    of_step = _tokens_of_step(length, config)
    steps = int(config.max_time * speed / of_step) if config.max_time else config.max_steps
    return {"tokens_per_s": speed, "steps": steps, "seconds": steps * of_step / speed}


def _tokens_of_step(length: int, config: TrainConfig) -> int:
    return config.batch_size * config.accumulate * length


def _tell(facts: dict[str, Any], length: int, config: TrainConfig) -> None:
    training, generation = facts["training"], facts["generation"]
    say(f"parameters: {facts['parameters']:,}, {facts['trained']:,} of them trained")
    say(
        f"training, {counted(config.batch_size, 'row')} of {length} at once: "
        f"{in_bytes(training['total'])} (weights {in_bytes(training['weights'])}, "
        f"gradients {in_bytes(training['gradients'])}, "
        f"moments {in_bytes(training['moments'])}, "
        f"activations {in_bytes(training['activations'])})"
    )
    say(
        f"generation, {counted(length, 'position')}: {in_bytes(generation['total'])} "
        f"(weights {in_bytes(generation['weights'])}, cache {in_bytes(generation['cache'])})"
    )
    say(f"memory there: {in_bytes(facts['available'])}")
    if generation["tokens_per_s"]:
        say(f"generation: {generation['tokens_per_s']:,.1f} tokens/s")
    if training["tokens_per_s"]:
        tokens = training["steps"] * _tokens_of_step(length, config)
        run = f"{counted(training['steps'], 'step')} ({counted(tokens, 'token')})"
        say(
            f"training: {training['tokens_per_s']:,.0f} tokens/s, so "
            + (
                f"about {run} fit into {clock(config.max_time)}"
                if config.max_time
                else f"{run} take about {clock(training['seconds'])}"
            )
        )
    else:
        say("training: doesn't fit into memory; fewer rows, --recompute or --lora take less")
