"""Tokenizers from files, whatever kind they are of."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from litegpt.text.byte import ByteTokenizer
from litegpt.text.byte_pairs import BytePairTokenizer
from litegpt.text.char import CharTokenizer
from litegpt.text.subword import SubwordTokenizer
from litegpt.text.tokenizer import Tokenizer
from litegpt.text.tokenizer_json import (
    CONFIG_NAME,
    EOS_IDS,
    FILE_NAME,
    GENERATION_NAME,
    read_bounded,
    read_object,
)
from litegpt.text.vocabulary import VocabularyTokenizer

TOKENIZERS: dict[str, type[Tokenizer]] = {t.kind: t for t in (CharTokenizer, ByteTokenizer)}

_TEMPLATE_NAME = "chat_template.jinja"
_VOCAB, _MERGES = "vocab.json", "merges.txt"


def load_tokenizer(path: str | Path, rows: int | None = None) -> Tokenizer:
    """The tokenizer in a directory or file.

    A directory holds tokenizer.json, or vocab.json and merges.txt as GPT-2 has them; the ids that
    end a text and the chat template are looked for in the files beside. A file is a tokenizer.json
    of any name, or one of the pair (..vocab.json, ..merges.txt). ValueError naming the file if it
    is of no kind that is supported; MissingExtraError if the package `tokenizers` is needed.

    rows is the vocab_size of the model that it is for: then a file of far more tokens is refused
    before memory is taken for them.
    """
    path = Path(path)
    if not path.is_dir():
        return _from_file(path, rows)
    pair = not (path / FILE_NAME).exists() and (path / _VOCAB).exists()
    tokenizer = _from_file(path / (_VOCAB if pair else FILE_NAME), rows)
    if isinstance(tokenizer, VocabularyTokenizer):
        ends, template, bos_id = _end_ids(path, tokenizer), _chat_template(path), None
        if isinstance(bos := _name(_beside(path / CONFIG_NAME).get("bos_token")), str):
            bos_id = tokenizer.token_id(bos)
        try:
            return tokenizer.surrounded(ends, template, bos_id)
        except IndexError as error:
            raise ValueError(f"{path}: the id that ends a text: {error}") from None
    return tokenizer


def _from_file(path: Path, rows: int | None) -> Tokenizer:
    for end, other in ((_VOCAB, _MERGES), (_MERGES, _VOCAB)):
        if path.name.endswith(end):
            beside = path.with_name(path.name.removesuffix(end) + other)
            vocab, merges = (path, beside) if end == _VOCAB else (beside, path)
            for needed in (vocab, merges):
                needed.open("rb").close()  # an OSError that names it
            return BytePairTokenizer.from_vocab_and_merges(vocab, merges, rows)
    return tokenizer_from_json(read_object(path, rows), str(path))


def tokenizer_from_json(content: dict[str, Any], name: str) -> Tokenizer:
    """The tokenizer that the content of a tokenizer.json describes; errors are those of `name`."""
    if not isinstance(content.get("model"), dict):
        raise ValueError(f'{name}: no tokenizer.json (it has no object "model")')
    try:
        ours: list[type[Tokenizer]] = [*TOKENIZERS.values(), BytePairTokenizer]
        for tokenizer_class in ours:
            tokenizer = tokenizer_class.from_json(content)
            if tokenizer is not None:
                return tokenizer
        return SubwordTokenizer.from_json(content)
    except ValueError as error:
        raise ValueError(f"{name}: a tokenizer that isn't supported: {error}") from None


def _end_ids(directory: Path, tokenizer: VocabularyTokenizer) -> list[int]:
    """The ids that end a text, by all files that say so."""
    found = list(tokenizer.eos_ids)
    for name, field in (
        (CONFIG_NAME, "eos_token"),
        (GENERATION_NAME, EOS_IDS),
        ("config.json", EOS_IDS),
    ):
        content = _beside(directory / name)
        said = content.get(field)
        for value in map(_name, said if isinstance(said, list) else [said]):
            token_id = tokenizer.token_id(value) if isinstance(value, str) else value
            if isinstance(token_id, int) and not isinstance(token_id, bool):
                found.append(token_id)
            elif value is not None:
                raise ValueError(f"{directory / name}: {field} {value!r} is no token")
    return found


def _name(token: Any) -> Any:
    """What an added token is called that may be there with its properties."""
    return token.get("content") if isinstance(token, dict) else token


def _chat_template(directory: Path) -> str | None:
    if (directory / _TEMPLATE_NAME).exists():
        return read_bounded(directory / _TEMPLATE_NAME).decode(errors="replace")
    template = _beside(directory / CONFIG_NAME).get("chat_template")
    if isinstance(template, list):  # several by name
        template = next(_named_default(template), None)
    if not isinstance(template, str | None):
        raise ValueError(f"{directory / CONFIG_NAME}: chat_template must be a text")
    return template


def _named_default(templates: list[Any]) -> Iterator[Any]:
    for entry in templates:
        if isinstance(entry, dict) and entry.get("name") == "default":
            yield entry.get("template")


def _beside(path: Path) -> dict[str, Any]:
    return read_object(path) if path.exists() else {}
