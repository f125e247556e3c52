"""Byte-level byte-pair encoding, GPT-2's and most others', in plain Python.

A text becomes the bytes of its UTF-8, cut into words. In a word, of all neighbours that may merge
those of the lowest rank do, the first of them first, until none may: what is left are its tokens
(Sennrich et al., 2015, arXiv:1508.07909; on bytes: Radford et al., 2019).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, Self

from litegpt.text.byte import byte_alphabet, bytes_of_token, spelled_in_bytes
from litegpt.text.byte_pairs_json import parts_of, to_content
from litegpt.text.pre_tokenizers import PreTokenizer
from litegpt.text.subword import SubwordTokenizer
from litegpt.text.tokenizer_json import parse_object, read_bounded
from litegpt.text.vocabulary import END_OF_TEXT, VocabularyTokenizer

_LARGEST_ID = 2**32 - 1
_WORDS_KEPT, _LONGEST_KEPT = 1 << 16, 32


class BytePairTokenizer(VocabularyTokenizer):
    """Text to ids by merging bytes; needs no package.

    vocabulary: token -> id; some ids may be left out. A byte is written in GPT-2's alphabet, so no
    token holds a space. merges: "left right", by rank. added: tokens that are found in a text
    before anything else, as they are written, and whether they are control tokens. prefix: ids that
    stand before a text. `encode` gives the ids that Hugging Face's `tokenizers` gives, but for
    characters that are newer than the Unicode of this Python.

    ValueError for ids that are none, or that two tokens share, for surrogates, for merges that are
    no pair or don't make a token, for an added token that isn't in the vocabulary, and for an id of
    prefix that no token has; IndexError for one of eos_ids that is outside.
    """

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        merges: Sequence[str],
        pre_tokenizer: PreTokenizer | None = None,
        added: Mapping[str, bool] | None = None,
        prefix: Sequence[int] = (),
        eos_ids: Sequence[int] = (),
        chat_template: str | None = None,
    ) -> None:
        self._ids_of, self._tokens = dict(vocabulary), _tokens_by_id(vocabulary)
        self._ranks = _ranks(merges, vocabulary)
        self._pre_tokenizer = pre_tokenizer or PreTokenizer()
        self._added = dict(added or {})
        if others := self._added.keys() - self._ids_of.keys():
            raise ValueError(f"the added token {min(others)!r} isn't in the vocabulary")
        written = [token for token in self._added if token]
        self._lengths_added = sorted(set(map(len, written)), reverse=True)
        begins = "".join({token[0] for token in written})
        self._begin_added = re.compile(f"[{re.escape(begins)}]" if begins else "(?!)")
        self._kept: dict[str, list[int]] = {}  # ids by word
        self.vocab_size = max(self._tokens, default=-1) + 1
        self.prefix = tuple(prefix)
        if unknown := set(prefix) - self._tokens.keys():
            raise ValueError(f"the id {min(unknown)}, to stand before a text, is no token's")
        self._surround(eos_ids, chat_template)

    @classmethod
    def from_merges(cls, merges: Sequence[str], controls: Sequence[str] = (), **parts: Any) -> Self:
        """With the ids that learning gives: the 256 bytes, what each merge makes, controls."""
        tokens = [*byte_alphabet(), *(merge.replace(" ", "") for merge in merges), *controls]
        vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
        return cls(vocabulary, merges, added=dict.fromkeys(controls, True), **parts)

    @classmethod
    def from_text(cls, text: str | bytes, vocab_size: int = 1024) -> Self:
        """from_texts of one."""
        return cls._of(SubwordTokenizer.from_text(text, vocab_size))

    @classmethod
    def from_texts(cls, texts: Iterable[str], vocab_size: int = 1024) -> Self:
        """Learned by the package `tokenizers` (extra hf): see SubwordTokenizer.from_texts."""
        return cls._of(SubwordTokenizer.from_texts(texts, vocab_size))

    @classmethod
    def _of(cls, learned: SubwordTokenizer) -> Self:
        made = cls.from_json(learned.to_json())
        assert made is not None
        return made.surrounded(learned.eos_ids, learned.chat_template)

    @classmethod
    def from_vocab_and_merges(cls, vocab: Path, merges: Path, rows: int | None = None) -> Self:
        """GPT-2's pair of files, `vocab.json` and `merges.txt`; rows: see load_tokenizer."""
        vocabulary = parse_object(read_bounded(vocab), str(vocab), rows)
        end = vocabulary.get(END_OF_TEXT)
        try:
            lines = read_bounded(merges).decode().replace("\r\n", "\n").split("\n")
            pairs = [line for line in lines if line and not line.startswith("#version")]
            added = {} if end is None else {END_OF_TEXT: True}
            return cls(vocabulary, pairs, added=added, eos_ids=[] if end is None else [end])
        except ValueError as error:
            raise ValueError(f"{vocab} and {merges}: no vocabulary and merges ({error})") from None

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self | None:
        parts = parts_of(content)
        return None if parts is None else cls(*parts)

    def to_json(self) -> dict[str, Any]:
        prefix = [(self._tokens[i], i) for i in self.prefix]
        merges = sorted(self._ranks, key=self._ranks.__getitem__)  # one given twice: its last place
        return to_content(self._ids_of, merges, self._pre_tokenizer, self._added, prefix)

    def token_id(self, token: str) -> int | None:
        return self._ids_of.get(token)

    def token_name(self, token_id: int) -> str | None:
        return self._tokens.get(token_id)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of a token; none for an id that the vocabulary leaves out."""
        token = self._tokens.get(token_id)
        if token is None:
            self._check_id(token_id)
            return b""
        return token.encode() if token in self._added else bytes_of_token(token)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = []
        begin = 0
        for found in self._begin_added.finditer(text):
            place = found.start()
            token = self._added_at(text, place) if place >= begin else None
            if token is not None:
                self._append(ids, text[begin:place])
                ids.append(self._ids_of[token])
                begin = place + len(token)
        self._append(ids, text[begin:])
        return ids

    def _added_at(self, text: str, place: int) -> str | None:
        """The longest of the added tokens that stands there."""
        written = (text[place : place + length] for length in self._lengths_added)
        return next((token for token in written if token in self._added), None)

    def _append(self, ids: list[int], text: str) -> None:
        """Adds the ids of a text in which no added token stands."""
        kept = self._kept
        for word in self._pre_tokenizer.words(text):
            known = kept.get(word)
            if known is None:
                known = self._ids_of_word(word)
                if len(kept) < _WORDS_KEPT and len(word) <= _LONGEST_KEPT:
                    kept[word] = known
            ids += known

    def _ids_of_word(self, word: str) -> list[int]:
        spelled = spelled_in_bytes(word)
        if self._pre_tokenizer.whole_words_first and spelled in self._ids_of:
            return [self._ids_of[spelled]]
        try:
            return [self._ids_of[token] for token in self._merged(spelled)]
        except KeyError as error:  # all that merges make are tokens, so it is a byte
            byte = bytes_of_token(error.args[0])
            raise ValueError(f"the tokenizer has no token for the byte 0x{byte.hex()}") from None

    def _merged(self, word: str) -> list[str]:
        """The tokens of a word of n bytes, in O(n log n): pairs wait in a queue by their rank."""
        parts = [*word, ""]  # parts[i] begins at byte i; none begins within another
        begins = list(range(len(word)))  # begins[e]: where the part begins that ends with byte e
        queue: list[tuple[int, int]] = []  # (rank, where the left one begins)

        def pair(i: int) -> str:
            return f"{parts[i]} {parts[i + len(parts[i])]}"

        def offer(i: int) -> None:
            rank = self._ranks.get(pair(i))
            if rank is not None:
                heappush(queue, (rank, i))

        for i in range(len(word)):
            offer(i)
        while queue:
            rank, i = heappop(queue)
            if self._ranks.get(pair(i)) != rank:
                continue  # one of the two has merged with another
            j = i + len(parts[i])
            end = j + len(parts[j])
            parts[i], parts[j], begins[end - 1] = parts[i] + parts[j], "", i
            offer(i)
            if i:
                offer(begins[i - 1])
        return list(filter(None, parts))


def _tokens_by_id(vocabulary: Mapping[str, int]) -> dict[int, str]:
    """The opposite of a vocabulary; ValueError naming a token whose id is none or another's."""
    ids = vocabulary.values()
    whole = set(map(type, ids)) <= {int}
    if ids and not (whole and min(ids) >= 0 and max(ids) <= _LARGEST_ID):
        allowed = f"a whole number from 0 to {_LARGEST_ID}"
        for token, token_id in vocabulary.items():
            if type(token_id) is not int or not 0 <= token_id <= _LARGEST_ID:
                raise ValueError(f"the id of {token!r} must be {allowed}, not {token_id!r}")
    try:
        "".join(vocabulary).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the tokens hold {error.object[error.start]!r}, a surrogate") from None
    tokens = dict(zip(ids, vocabulary, strict=True))
    if len(tokens) < len(vocabulary):
        first, i = next((t, i) for t, i in vocabulary.items() if tokens[i] != t)
        raise ValueError(f"the tokens {first!r} and {tokens[i]!r} have the same id, {i}")
    return tokens


def _ranks(merges: Sequence[str], vocabulary: Mapping[str, int]) -> dict[str, int]:
    """Places by pair; ValueError naming the first merge that is no pair, or doesn't make a token.

    Whether the two are tokens doesn't matter: what none stands for never comes to be merged.
    """
    for merge in merges:
        left, _, right = merge.partition(" ")
        if not left or not right or left + right not in vocabulary:
            if not left or not right or " " in right:
                raise ValueError(f"the merge {merge!r} is no pair")
            raise ValueError(f"the merge {merge!r} makes {left + right!r}, which is no token")
    return dict(zip(merges, range(len(merges)), strict=True))
