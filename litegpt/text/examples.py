"""Lines of JSON as token ids, with the tokens that a model is to learn marked."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from litegpt import json_text
from litegpt.text.chat import ChatTemplate
from litegpt.text.tokenizer import Tokenizer

LONGEST_LINE = 1 << 26  # bytes
_FORMS = '"messages", "prompt" and "completion", or "text"'


@dataclass(frozen=True)
class Example:
    """ids (T,) int64, and which of them a model is to foretell: learned (T,) bool."""

    ids: np.ndarray
    learned: np.ndarray


class ExampleEncoder:
    """Makes an Example of an object that holds (the first of these that is there):

    - "messages": a conversation, [{"role": ..., "content": ...}, ...], written as the tokenizer's
      chat template has it, or in ChatTemplate's plain form; answers (role "assistant") are learned,
      each up to the token that ends it,
    - "prompt" and "completion": texts that follow each other as they are; the completion is
      learned, and the tokenizer's id for the end of a text, if it has one,
    - "text": all of it is learned, and the end.

    A prompt and a text begin with tokenizer.prefix. Other fields are ignored.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._template = tokenizer, ChatTemplate.of(tokenizer)

    def encode(self, record: Any) -> Example:
        """ValueError naming the field, for what isn't of one of these forms or has no answer."""
        if not isinstance(record, Mapping):
            raise ValueError(f"must be a JSON object, not {type(record).__name__}")
        if "messages" in record:
            return self._conversation(record["messages"])
        if "prompt" in record and "completion" in record:
            prompt, completion = _text(record, "prompt"), _text(record, "completion")
            if not completion:
                raise ValueError('"completion" is empty; there is nothing to learn')
            prefix = np.array(self._tokenizer.prefix, np.int64)
            given = self._tokenizer.encode(prompt)
            learned = self._ended(self._following(prompt, given, completion))
            return _joined([(prefix, False), (given, False), (learned, True)])
        if "text" in record:
            return self.part(_text(record, "text"))
        held = ", ".join(f'"{name}"' for name in list(record)[:5]) or "nothing"
        raise ValueError(f"must hold {_FORMS}; it holds {held}")

    def part(self, text: str | bytes, begins: bool = True, ends: bool = True) -> Example:
        """A text, or a part of one, that is learned whole: without tokens, nothing at all."""
        ids = self._tokenizer.encode(text)
        if not len(ids):
            return Example(ids, np.zeros(0, bool))
        prefix = np.array(self._tokenizer.prefix if begins else (), np.int64)
        return _joined([(prefix, False), (self._ended(ids) if ends else ids, True)])

    def _following(self, before: str, ids_before: np.ndarray, text: str) -> np.ndarray:
        """The ids of a text that goes on from another one.

        Where a space is put before every text, that of the whole is there once and for all.
        """
        if not (self._tokenizer.space_first and before):
            return self._tokenizer.encode(text)
        whole = self._tokenizer.encode(before + text)
        if np.array_equal(whole[: len(ids_before)], ids_before):
            return whole[len(ids_before) :]
        return self._tokenizer.encode(text.removeprefix(" "))

    def _ended(self, ids: np.ndarray) -> np.ndarray:
        return np.append(ids, self._tokenizer.eos_ids[:1]).astype(np.int64)

    def _conversation(self, messages: Any) -> Example:
        pieces = self._template.pieces(_checked(messages))
        if not pieces:
            raise ValueError('"messages" holds no answer (role "assistant"): nothing to learn')
        parts: list[tuple[np.ndarray, bool]] = []
        written, before = "", np.zeros(0, np.int64)
        for text, learned in pieces:
            ids = self._following(written, before, text)
            written, before = written + text, np.concatenate([before, ids])
            ends = np.flatnonzero(np.isin(ids, self._tokenizer.eos_ids))
            if learned and len(ends):  # what the template writes after the end, nobody has to say
                parts += [(ids[: ends[-1] + 1], True), (ids[ends[-1] + 1 :], False)]
            else:
                parts.append((ids, learned))
        return _joined(parts)


def read_examples(path: str | Path, tokenizer: Tokenizer) -> Iterator[Example]:
    """The examples in a file of JSON lines; see ExampleEncoder for what a line holds.

    ValueError naming file and line for one that can't be used; empty lines, and texts without a
    token, are left out.
    """
    with open(path, "rb") as file:
        yield from examples_of_lines(file_lines(file), path, ExampleEncoder(tokenizer))


def examples_of_lines(
    lines: Iterable[bytes], path: str | Path, encoder: ExampleEncoder, first: int = 1
) -> Iterator[Example]:
    """The same for lines at hand, of which the first has the number `first` in the file."""
    for number, line in enumerate(lines, first):
        if not line.strip():
            continue
        try:
            if len(line) > LONGEST_LINE:
                raise ValueError(f"longer than {LONGEST_LINE >> 20} MiB")
            example = encoder.encode(_parsed(line))
        except ValueError as error:
            raise ValueError(f"{path}: line {number}: {error}") from None
        if len(example.ids):
            yield example


def file_lines(file: Any) -> Iterator[bytes]:
    """Lines of a binary file; of one that is too long only the beginning, and nothing after it."""
    while line := file.readline(LONGEST_LINE + 1):
        yield line
        if len(line) > LONGEST_LINE:
            return


def _parsed(line: bytes) -> Any:
    try:
        text = line.removeprefix(b"\xef\xbb\xbf").decode()  # a byte order mark
        return json_text.parse(text.rstrip("\r\n"))
    except UnicodeDecodeError as error:
        wrong = line[error.start]
        raise ValueError(f"not UTF-8: byte 0x{wrong:02x} at offset {error.start}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg}, column {error.pos + 1}") from None
    except ValueError as error:  # too deep, or a number of more digits than Python reads
        raise ValueError(f"not JSON ({error})") from None


def _text(record: Mapping[str, Any], name: str) -> str:
    if not isinstance(record[name], str):
        raise ValueError(f'"{name}" must be a text, not {type(record[name]).__name__}')
    return record[name]


def _checked(messages: Any) -> list[Mapping[str, str]]:
    if not isinstance(messages, list) or not messages:
        raise ValueError('"messages" must be a list of objects with "role" and "content"')
    for number, message in enumerate(messages, 1):
        if not isinstance(message, Mapping):
            raise ValueError(f"message {number} must be an object, not {type(message).__name__}")
        for name in ("role", "content"):
            if not isinstance(message.get(name), str):
                raise ValueError(f'message {number} must have a text as "{name}"')
        if message["role"] not in ("system", "user", "assistant"):
            raise ValueError(
                f'message {number} has the role "{message["role"]}"; '
                "allowed are system, user and assistant"
            )
    return messages


def _joined(parts: list[tuple[np.ndarray, bool]]) -> Example:
    ids = np.concatenate([ids for ids, _ in parts])
    learned = np.concatenate([np.full(len(ids), is_learned) for ids, is_learned in parts])
    return Example(ids, learned)
