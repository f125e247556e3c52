"""tokenizer.json, the file format of Hugging Face's `tokenizers`, as far as our own kinds need it.

Our tokenizers are byte-pair encodings, those of characters and of bytes without any merge: there,
what differs is the alphabet, and how text is cut into it. The `tokenizers` package loads these
files and gives the same ids.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from litegpt import json_text

FILE_NAME = "tokenizer.json"
CONFIG_NAME = "tokenizer_config.json"  # what a model expects around the text
# there: without it transformers takes the class that models of the kind have, and cuts text its way
FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}
GENERATION_NAME = "generation_config.json"  # all ids that end a text
EOS_IDS = "eos_token_id"  # there
_LARGEST = 64 * 2**20  # bytes; the largest vocabularies in use take some 30 MB
_MOST_LISTS, _MOST_VALUES = 1 << 20, 1 << 21  # those have 600,000 merges, and 1.5 million values
_VALUES_OF_A_TOKEN, _VALUES_BESIDE = 16, 1 << 16  # its id, a merge, as an added token properties

_FRAME: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": None,
    "post_processor": None,
    "decoder": None,
}
_MODEL: dict[str, Any] = {
    "type": "BPE",
    "dropout": None,
    "unk_token": None,
    "continuing_subword_prefix": None,
    "end_of_word_suffix": None,
    "fuse_unk": False,
    "byte_fallback": False,
    "ignore_merges": False,
}


def tokenizer_json(
    vocabulary: dict[str, int], merges: list[list[str]], ignore_merges: bool = False, **parts: Any
) -> dict[str, Any]:
    """A tokenizer.json of a byte-pair encoding; parts are fields beside that of the model."""
    model = {"ignore_merges": ignore_merges, "vocab": vocabulary, "merges": merges}
    return _FRAME | parts | {"model": _MODEL | model}


def byte_level(use_regex: bool) -> dict[str, Any]:
    """What stands for bytes in a tokenizer.json; with use_regex it cuts as GPT-2 does."""
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


def without_merges(
    tokens: list[str], pre_tokenizer: dict[str, Any] | None, decoder: dict[str, Any]
) -> dict[str, Any]:
    """A tokenizer.json whose tokens (in order of their ids) never merge."""
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return tokenizer_json(vocabulary, [], pre_tokenizer=pre_tokenizer, decoder=decoder)


def tokens_without_merges(
    content: dict[str, Any], pre_tokenizer: dict[str, Any] | None
) -> list[str] | None:
    """The tokens, in order of their ids, of a file that without_merges can have made.

    None when the file says anything else than without_merges would, except about its decoder.
    """
    model = content.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(vocabulary, dict) or not all(type(i) is int for i in vocabulary.values()):
        return None
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    expected = without_merges(tokens, pre_tokenizer, content.get("decoder"))  # type: ignore[arg-type]
    return tokens if content == expected else None


def read_tokenizer_json(directory: str | Path) -> dict[str, Any]:
    """The content of directory/tokenizer.json; ValueError if it isn't a JSON object."""
    return read_object(Path(directory) / FILE_NAME)


def read_object(path: Path, rows: int | None = None) -> dict[str, Any]:
    """The content of a file; ValueError if it isn't a JSON object. rows: see parse_object."""
    return parse_object(read_bounded(path), str(path), rows)


def parse_object(text: str | bytes, name: str, rows: int | None = None) -> dict[str, Any]:
    """A JSON object from what stands at a place of that name; ValueError if it isn't one.

    rows: see load_tokenizer.
    """
    written = text.encode(errors="replace") if isinstance(text, str) else text
    lists, values = written.count(b"[") + written.count(b"{"), written.count(b",")
    for parts, most, what in (
        (lists, _MOST_LISTS, "lists and objects"),
        (values, _MOST_VALUES, "values"),
    ):
        if parts > most:  # before memory is taken for them
            raise ValueError(f"{name}: more than {most} {what}, which no tokenizer has")
    if rows is not None and values > _VALUES_OF_A_TOKEN * rows + _VALUES_BESIDE:
        raise ValueError(f"{name}: {values} values, too many for a model of {rows} tokens")
    try:
        content = json_text.parse(text)
    except ValueError as error:
        raise ValueError(f"{name}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{name}: not a JSON object")
    return content


def read_bounded(path: Path) -> bytes:
    """What is in a file; ValueError if it is larger than any of a tokenizer's."""
    with path.open("rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(f"{path}: larger than {_LARGEST // 2**20} MB, which no tokenizer is")
    return data


def write_objects(directory: str | Path, contents: Mapping[str, Any]) -> None:
    """Writes JSON files by name; each appears whole, or the old one stays."""
    paths = {Path(directory) / name: content for name, content in contents.items()}
    partials = {path: path.with_name(f".{path.name}.partial") for path in paths}
    try:
        for path, content in paths.items():
            text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
            partials[path].write_text(text, "utf-8")
        for path, partial in partials.items():
            partial.replace(path)
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)
