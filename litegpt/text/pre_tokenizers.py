"""How byte-level encodings cut text into words, beyond whose borders nothing merges.

The models say it with regular expressions over Unicode's categories, which Python's `re` doesn't
know. So a word is looked for in the text's shadow: a text as long, in which each character is one
that stands for its category, and for what else the expressions ask of it.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from litegpt.text.tokenizer_json import byte_level

# The regular expressions of the models' own tokenizer.json.
_GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_WORDS_AND_NUMBERS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}|"
    r" ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = _WORDS_AND_NUMBERS.format(digits="{1,3}")
_QWEN2 = _WORDS_AND_NUMBERS.format(digits="")

_DIGITS = {"type": "Digits", "individual_digits": True}
_SHADOWS_KEPT = 1 << 16


@dataclass(frozen=True)
class PreTokenizer:
    """What happens to a text before its bytes merge.

    expression: what a word is. each_digit: before that, the characters of numbers are cut out,
    each alone. nfc: and before that, the text becomes Unicode's normal form C. whole_words_first: a
    word that is a token as a whole stays one, whatever the merges would make of it.
    """

    expression: str = _GPT2
    each_digit: bool = False
    nfc: bool = False
    whole_words_first: bool = False

    @property
    def is_known(self) -> bool:
        """Whether `words` can cut by the expression."""
        return self.expression in (_GPT2, _LLAMA3, _QWEN2)

    def words(self, text: str) -> Iterator[str]:
        """The words, which joined are the text (or its normal form C)."""
        if self.nfc:
            text = unicodedata.normalize("NFC", text)
        shadow = text.translate(_SHADOWS)
        word = _in_shadow(self.expression)
        for part in re.finditer("#|[^#]+" if self.each_digit else "(?s:.+)", shadow):
            for found in word.finditer(shadow, *part.span()):
                yield text[found.start() : found.end()]

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "PreTokenizer | None":
        """What a tokenizer.json says; None if it says what there are no words for here."""
        match content.get("pre_tokenizer"):
            case {"type": "Sequence", "pretokenizers": [*steps]}:
                pass
            case step:
                steps = [step]
        each_digit = steps[:1] == [_DIGITS]
        match steps[each_digit:]:
            case [{"type": "ByteLevel", "add_prefix_space": False} as bytes_of]:
                expression = _GPT2 if bytes_of.get("use_regex", True) else ""
            case [
                {"type": "Split", "pattern": {"Regex": str(expression)}, "behavior": "Isolated",
                 "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ]:  # fmt: skip
                pass
            case _:
                return None
        if (normalizer := content.get("normalizer")) not in (None, {"type": "NFC"}):
            return None
        whole_words_first = bool(content["model"].get("ignore_merges"))
        return cls(expression, each_digit, normalizer is not None, whole_words_first)

    def to_json(self) -> dict[str, Any]:
        """The fields of a tokenizer.json that say so, but for the model's "ignore_merges"."""
        by_gpt2 = self.expression == _GPT2
        steps: list[dict[str, Any]] = [_DIGITS] if self.each_digit else []
        if not by_gpt2:
            pattern = {"Regex": self.expression}
            steps.append(
                {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
            )
        steps.append(byte_level(use_regex=by_gpt2))
        cut = steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": steps}
        return {"normalizer": {"type": "NFC"} if self.nfc else None, "pre_tokenizer": cut}


# By the names of GGUF files' tokenizer.ggml.pre.
PRE_TOKENIZERS = {
    "gpt-2": PreTokenizer(),
    "default": PreTokenizer(),
    "smollm": PreTokenizer(each_digit=True),
    "llama-bpe": PreTokenizer(_LLAMA3, whole_words_first=True),
    "llama3": PreTokenizer(_LLAMA3, whole_words_first=True),
    "qwen2": PreTokenizer(_QWEN2, nfc=True),
}


class _Shadows(dict[int, str]):
    """What stands for each character, by code point: found when it is first met."""

    def __missing__(self, code: int) -> str:
        shadow = _shadow(chr(code))
        if len(self) < _SHADOWS_KEPT:
            self[code] = shadow
        return shadow


def _shadow(character: str) -> str:
    r"""One ASCII character: \w for letters, # for numbers, \s for spaces, ! for all others.

    Those that expressions name stand for themselves: the apostrophe and Latin letters (of the
    others, the long s counts as s where case doesn't matter), the space, the ends of lines.
    """
    if character in "' \r\n":
        return character
    category = unicodedata.category(character)[0]
    if category == "L":
        return character if character.isascii() else "S" if character == "\u017f" else "A"
    if category == "N":
        return "#"
    if character.isspace() and not "\x1c" <= character <= "\x1f":  # spaces to Python alone
        return "\t"
    return "!"


_SHADOWS = _Shadows()


@cache
def _in_shadow(expression: str) -> re.Pattern[str]:
    return re.compile(expression.replace(r"\p{L}", r"\w").replace(r"\p{N}", "#"), re.ASCII)
