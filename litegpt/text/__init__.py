"""Tokenizers: text to ids and back."""

from pathlib import Path

from litegpt.text.byte import ByteTokenizer
from litegpt.text.char import CharTokenizer
from litegpt.text.stream import StreamDecoder
from litegpt.text.tokenizer import Tokenizer
from litegpt.text.tokenizer_json import FILE_NAME, read_tokenizer_json

TOKENIZERS: dict[str, type[Tokenizer]] = {t.kind: t for t in (CharTokenizer, ByteTokenizer)}


def load_tokenizer(directory: str | Path) -> Tokenizer:
    """The tokenizer in directory/tokenizer.json, whatever its kind; ValueError if unknown."""
    content = read_tokenizer_json(directory)
    for tokenizer_class in TOKENIZERS.values():
        tokenizer = tokenizer_class.from_json(content)
        if tokenizer is not None:
            return tokenizer
    raise ValueError(
        f"{Path(directory) / FILE_NAME}: a kind of tokenizer that isn't supported "
        f"(supported: {', '.join(TOKENIZERS)})"
    )


__all__ = [
    "TOKENIZERS",
    "ByteTokenizer",
    "CharTokenizer",
    "StreamDecoder",
    "Tokenizer",
    "load_tokenizer",
]
