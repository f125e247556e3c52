"""A model's directory: config.json and model.safetensors, beside what else belongs to a model."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from litegpt.formats.files import partial_name, write_together
from litegpt.formats.weights import WEIGHTS

CONFIG = "config.json"
# of a model, or of the run that makes one
_BESIDE = (
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "log.jsonl",
    "samples.jsonl",
    "report.html",
    "checkpoints",
    "tokens.safetensors",
)
_OF_A_MODEL = {CONFIG, WEIGHTS, *_BESIDE, partial_name(CONFIG), partial_name(WEIGHTS)}


def check_destination(directory: Path) -> None:
    """ValueError unless the directory is absent, empty, or a model's, and so may be written to."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise ValueError(f"{directory}: a file; a model needs a directory")
    names = {path.name for path in directory.iterdir()}
    foreign = names - _OF_A_MODEL
    if foreign and not {CONFIG, WEIGHTS} <= names:
        raise ValueError(
            f"{directory}: holds something else ({min(foreign)}); "
            f"a model needs a directory that is new, empty, or a model's"
        )


def save_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a safetensors file; OSError if that fails."""
    try:
        save_file(dict(tensors), path, metadata={"format": "pt"})  # which transformers wants
    except SafetensorError as error:
        if said := re.search(r"\(os error (\d+)\)", str(error)):
            number = int(said[1])
            raise OSError(number, os.strerror(number), str(path)) from error
        raise OSError(f"{path}: can't be written ({error})") from error


def write_checkpoint(
    directory: Path, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> None:
    """Writes both files, or, if anything fails (OSError, ValueError), leaves all as it was.

    The directory is made if need be; see check_destination for what it may hold.
    """
    check_destination(directory)
    text = json.dumps(config, indent=2, allow_nan=False) + "\n"

    def write_weights(path: Path) -> None:
        save_tensors(path, tensors)

    def write_config(path: Path) -> None:
        path.write_text(text, encoding="utf-8")

    new = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    try:
        write_together({directory / WEIGHTS: write_weights, directory / CONFIG: write_config})
    except BaseException:
        if new:
            directory.rmdir()
        raise
