"""A byte-level byte-pair encoding as a tokenizer.json, and the other way."""

from collections.abc import Mapping, Sequence
from typing import Any

from litegpt.text.pre_tokenizers import PreTokenizer
from litegpt.text.tokenizer_json import byte_level, tokenizer_json

# What a model can ask for besides, and what it says when it doesn't.
_NOT_ASKED: dict[str, tuple[Any, ...]] = {
    "dropout": (None, 0),
    "unk_token": (None,),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "byte_fallback": (None, False),
}


def to_content(
    vocabulary: Mapping[str, int],
    merges: Sequence[str],
    pre_tokenizer: PreTokenizer,
    added: Mapping[str, bool],
    prefix: Sequence[tuple[str, int]],
) -> dict[str, Any]:
    """What `parts_of` reads, and so does the package `tokenizers`; prefix holds tokens and ids."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    tokens = [
        {"id": vocabulary[token], "content": token, **flags, "special": special}
        for token, special in added.items()
    ]
    return tokenizer_json(
        dict(vocabulary),
        [merge.split(" ") for merge in merges],
        ignore_merges=pre_tokenizer.whole_words_first,
        added_tokens=sorted(tokens, key=lambda token: token["id"]),
        post_processor=_begin_with(prefix) if prefix else None,
        decoder=byte_level(use_regex=True),
        **pre_tokenizer.to_json(),
    )


def parts_of(content: dict[str, Any]) -> tuple[Any, ...] | None:
    """The arguments of BytePairTokenizer, up to prefix; None if the file asks for more.

    Vocabulary and merges are of the types that they should be; whether they fit is left open.
    """
    model, decoder = content.get("model"), content.get("decoder")
    if not isinstance(model, dict) or model.get("type") != "BPE":
        return None
    if not isinstance(decoder, dict) or decoder.get("type") != "ByteLevel":
        return None
    vocabulary, merges = model.get("vocab"), model.get("merges")
    if not isinstance(vocabulary, dict) or not isinstance(merges, list):
        return None
    if any(model.get(name) not in allowed for name, allowed in _NOT_ASKED.items()):
        return None
    vocabulary = dict(vocabulary)
    pre_tokenizer = PreTokenizer.from_json(content)
    lines = [_line(merge) for merge in merges]
    prefix = _prefix(content.get("post_processor"))
    if pre_tokenizer is None or not pre_tokenizer.is_known or None in lines or prefix is None:
        return None
    added = _added(content.get("added_tokens") or [], vocabulary, pre_tokenizer.nfc)
    return None if added is None else (vocabulary, lines, pre_tokenizer, added, prefix)


def _line(merge: Any) -> str | None:
    """A merge as "left right", in which old files write it too."""
    if isinstance(merge, list) and len(merge) == 2:
        left, right = merge
        if isinstance(left, str) and isinstance(right, str) and " " not in left + right:
            return f"{left} {right}"
    return merge if isinstance(merge, str) else None


def _added(tokens: Any, vocabulary: dict[str, Any], normalized: bool) -> dict[str, bool] | None:
    """Whether each is a control token; those that the vocabulary hasn't are put there.

    None for tokens that are to be found in other ways than as they are written, or whose ids
    aren't those that `tokenizers` would give them.
    """
    if not isinstance(tokens, list):
        return None
    added: dict[str, bool] = {}
    ways = set()
    for token in tokens:
        match token:
            case {"id": int(token_id), "content": str(text), "special": bool(special)}:
                pass
            case _:
                return None
        if any(token.get(name) for name in ("single_word", "lstrip", "rstrip")):
            return None
        ways.add(bool(token.get("normalized")))
        if vocabulary.setdefault(text, len(vocabulary)) != token_id or text in added:
            return None
        added[text] = special
    return None if len(ways) > 1 or (True in ways and normalized) else added


def _prefix(processor: Any) -> list[int] | None:
    """The ids that a post-processor puts before a text; None if it does what isn't known here."""
    match processor:
        case {"type": "Sequence", "processors": [*processors]}:
            pass
        case _:
            processors = [processor]
    adding = [p for p in processors if p is not None and not _moves_offsets(p)]
    match adding:
        case []:
            return []
        case [{"type": "TemplateProcessing", "single": [*pieces], "special_tokens": {**tokens}}]:
            return _before_text(pieces, tokens)
    return None


def _moves_offsets(processor: Any) -> bool:
    """Whether that is all a post-processor does: it says where in the text a token stands."""
    return isinstance(processor, dict) and processor.get("type") == "ByteLevel"


def _before_text(pieces: list[Any], tokens: Mapping[Any, Any]) -> list[int] | None:
    ids: list[int] = []
    for piece in pieces:
        match piece:
            case {"Sequence": {"id": "A"}}:
                return ids
            case {"SpecialToken": {"id": str(name)}}:
                match tokens.get(name):
                    case {"ids": [*own]} if all(type(i) is int for i in own):
                        ids += own
                        continue
        return None
    return None


def _begin_with(tokens: Sequence[tuple[str, int]]) -> dict[str, Any]:
    def texts(*names: str) -> list[dict[str, Any]]:
        parts = []
        for kind, name in enumerate(names):
            parts += [{"SpecialToken": {"id": token, "type_id": kind}} for token, _ in tokens]
            parts.append({"Sequence": {"id": name, "type_id": kind}})
        return parts

    known = {t: {"id": t, "ids": [i], "tokens": [t]} for t, i in tokens}
    return {
        "type": "TemplateProcessing",
        "single": texts("A"),
        "pair": texts("A", "B"),
        "special_tokens": known,
    }
