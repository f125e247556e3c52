"""`litegpt convert`: a model written in another kind of file."""

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from litegpt.cli.errors import InputError, bad_values, check_backend
from litegpt.cli.output import say
from litegpt.formats import GgufFile
from litegpt.models import GPTModel, hub, load_lora, merge_lora
from litegpt.models.gguf_export import GGUF_DTYPES, save_gguf
from litegpt.text import load_tokenizer, tokenizer_from_gguf
from litegpt.text.gguf_entries import gguf_entries
from litegpt.text.gguf_vocabulary import WHOLE
from litegpt.text.tokenizer_json import CONFIG_NAME, FILE_NAME, GENERATION_NAME

_BESIDE = (FILE_NAME, CONFIG_NAME, GENERATION_NAME, "chat_template.jinja")
_GGUF = ".gguf"


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "convert",
        help="write a model as a directory or as a GGUF file",
        description="Writes the model SRC as DEST: a GGUF file if that name ends in .gguf, else a "
        "directory (config.json, model.safetensors) as transformers and litegpt read it. The "
        "tokenizer comes along.",
    )
    parser.add_argument("source", metavar="SRC", help="a directory, a GGUF file, or owner/name")
    parser.add_argument("destination", type=Path, metavar="DEST", help="what to write")
    parser.add_argument(
        "--dtype",
        choices=list(GGUF_DTYPES),
        help="of the weights in a GGUF file (default: float16); directories are float32",
    )
    parser.add_argument(
        "--merge",
        metavar="ADAPTER",
        help="a directory of LoRA adapters whose additions the weights are to have in them",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    check_backend()
    source, destination = Path(arguments.source), arguments.destination
    to_gguf = destination.name.lower().endswith(_GGUF)
    if arguments.dtype not in (None, "float32") and not to_gguf:
        raise InputError(f"--dtype {arguments.dtype} is for a DEST that ends in {_GGUF}")
    if to_gguf and not destination.parent.is_dir():
        raise InputError(f"{destination.parent}: no such directory")
    if destination.exists() and destination.is_dir() == to_gguf:
        raise InputError(f"{destination}: {'a directory' if to_gguf else 'a file'} stands there")
    if destination.exists() and source.exists() and destination.samefile(source):
        raise InputError(f"{destination}: SRC and DEST are the same")
    with bad_values():
        source = hub.local(source)
        model = GPTModel.from_pretrained(source, "float32")
        if arguments.merge is not None:
            load_lora(model, arguments.merge)
            merge_lora(model)
        entries = _tokenizer_entries(source, model.vocab_size)
        if to_gguf:
            save_gguf(model, destination, arguments.dtype or "float16", entries)
            carried = bool(entries)
        else:
            model.save_pretrained(destination)
            carried = _tokenizer_into(destination, source, entries)
    size = (
        destination.stat().st_size
        if to_gguf
        else sum(path.stat().st_size for path in destination.iterdir())
    )
    note = "" if carried else ", without a tokenizer"
    say(f"{destination}: {model.get_num_parameters():,} parameters, {size / 1e6:,.1f} MB{note}")
    return 0


def _tokenizer_entries(source: Path, rows: int) -> dict[str, Any]:
    """The entries of a GGUF file that describe its tokenizer, or those for a directory's."""
    if source.is_file():
        metadata = GgufFile(source).metadata
        return {key: metadata[key] for key in metadata if key.startswith("tokenizer.")}
    if not any((source / name).is_file() for name in (FILE_NAME, "vocab.json")):
        return {}
    return gguf_entries(load_tokenizer(source, rows), rows)


def _tokenizer_into(directory: Path, source: Path, entries: dict[str, Any]) -> bool:
    """Writes the tokenizer beside the model, in the place of another's; whether there was one."""
    for name in _BESIDE:
        (directory / name).unlink(missing_ok=True)
    if not source.is_file() and (source / FILE_NAME).is_file():
        for path in (source / name for name in _BESIDE):
            if path.is_file():
                shutil.copyfile(path, directory / path.name)
        return True
    if "tokenizer.ggml.tokens" in entries or WHOLE in entries:
        plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in entries.items()}
        tokenizer_from_gguf(plain).save(directory)
        return True
    return False
