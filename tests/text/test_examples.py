"""Lines of JSON as examples: which tokens they are, which of them are learned, what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litegpt.text import (
    BytePairTokenizer,
    ByteTokenizer,
    ExampleEncoder,
    SubwordTokenizer,
    Tokenizer,
    read_examples,
)
from litegpt.text.chat import ChatTemplate
from litegpt.text.examples import Example

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "One and one?"},
    {"role": "assistant", "content": "Two."},
    {"role": "user", "content": "And two?"},
    {"role": "assistant", "content": "Four."},
    {"role": "user", "content": "Thanks"},
]


def learned_text(tokenizer: Tokenizer, example: Example) -> list[str]:
    """The stretches that are learned, as text."""
    edges = np.flatnonzero(np.diff(np.r_[0, example.learned.astype(np.int8), 0]))
    spans = edges.reshape(-1, 2)
    return [tokenizer.decode(example.ids[begin:end].tolist()) for begin, end in spans]


@pytest.fixture(scope="module")
def chatml() -> BytePairTokenizer:
    """Byte pairs with the marks of ChatML, of which <|im_end|> ends an answer."""
    pytest.importorskip("jinja2")
    merges, controls = ["Ġ t", "Ġt w", "Ġtw o"], ["<|im_start|>", "<|im_end|>"]
    return BytePairTokenizer.from_merges(merges, controls, eos_ids=[260], chat_template=CHATML)


def test_a_text_is_learned_whole_and_so_is_its_end(chatml) -> None:
    example = ExampleEncoder(chatml).encode({"text": "One and one", "source": "ignored"})
    expected = [*chatml.encode("One and one"), *chatml.eos_ids]
    np.testing.assert_array_equal(example.ids, expected)
    assert example.ids.dtype == np.int64 and example.learned.all()


def test_a_completion_is_learned_and_its_prompt_is_not(chatml) -> None:
    example = ExampleEncoder(chatml).encode({"prompt": "One and one", "completion": " is two"})
    prompt, completion = chatml.encode("One and one"), chatml.encode(" is two")
    np.testing.assert_array_equal(example.ids, [*prompt, *completion, *chatml.eos_ids])
    np.testing.assert_array_equal(example.learned, np.arange(len(example.ids)) >= len(prompt))


def test_what_a_model_expects_before_a_text_is_there_and_not_learned() -> None:
    tokenizer = ByteTokenizer()
    tokenizer.prefix = (7, 8)
    for record in ({"text": "ab"}, {"prompt": "", "completion": "ab"}):
        example = ExampleEncoder(tokenizer).encode(record)
        assert example.ids.tolist() == [7, 8, 97, 98]
        assert example.learned.tolist() == [False, False, True, True]


def test_answers_are_learned_up_to_the_token_that_ends_them(chatml) -> None:
    example = ExampleEncoder(chatml).encode({"messages": TALK})
    assert learned_text(chatml, example) == ["Two.<|im_end|>", "Four.<|im_end|>"]
    whole = ChatTemplate(CHATML).render(TALK[:-1], answer_next=False)
    assert chatml.decode(example.ids.tolist()) == whole


def test_before_an_answer_stands_what_a_chat_would_put_there(chatml) -> None:
    """Bit for bit the prompt that generation meets: else it is trained on something else."""
    for tokenizer in (chatml, ByteTokenizer()):
        example = ExampleEncoder(tokenizer).encode({"messages": TALK})
        begins = np.flatnonzero(np.diff(np.r_[0, example.learned.astype(np.int8)]) == 1)
        answers = [i for i, message in enumerate(TALK) if message["role"] == "assistant"]
        for begin, i in zip(begins, answers, strict=True):
            prompt = tokenizer.encode(ChatTemplate.of(tokenizer).render(TALK[:i]))
            np.testing.assert_array_equal(example.ids[:begin], prompt)


def test_a_space_that_is_put_before_every_text_is_put_once() -> None:
    """Tokenizers after SentencePiece: an answer is what would be generated, not a text's start."""
    tokenizers = pytest.importorskip("tokenizers")
    pytest.importorskip("jinja2")
    normal, decoders = tokenizers.normalizers, tokenizers.decoders
    words = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghij:\n"]
    model = tokenizers.models.BPE(
        {word: i for i, word in enumerate(words)}, [], unk_token="<unk>", byte_fallback=True
    )
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = normal.Sequence([normal.Prepend("▁"), normal.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(["</s>"])
    template = (
        "{% for m in messages %}{% if m.role == 'user' %}{{ 'a:' + m.content + '\n' }}"
        "{% else %}{{ m.content + '</s>' }}{% endif %}{% endfor %}"
    )
    tokenizer = SubwordTokenizer(backend, [1], template)
    assert tokenizer.space_first
    talk = [{"role": "user", "content": "bad"}, {"role": "assistant", "content": "cab"}]
    example = ExampleEncoder(tokenizer).encode({"messages": talk})
    whole = tokenizer.encode("a:bad\ncab</s>")
    np.testing.assert_array_equal(example.ids, whole)
    np.testing.assert_array_equal(example.ids[example.learned], tokenizer.encode("cab</s>")[1:])
    example = ExampleEncoder(tokenizer).encode({"prompt": "bad", "completion": " cab"})
    np.testing.assert_array_equal(example.ids, tokenizer.encode("bad cab</s>"))
    assert example.learned.sum() == 5


def test_without_a_template_an_answer_ends_with_what_stops_it_in_a_chat() -> None:
    tokenizer = ByteTokenizer()
    example = ExampleEncoder(tokenizer).encode({"messages": TALK})
    assert learned_text(tokenizer, example) == [" Two.\nUser:", " Four.\nUser:"]
    assert bytes(example.ids.tolist()).decode() == (
        "Be brief.\n\nUser: One and one?\nAssistant: Two.\nUser: And two?\nAssistant: Four.\nUser:"
    )


def test_a_template_that_rewrites_the_past_is_refused() -> None:
    pytest.importorskip("jinja2")
    template = ChatTemplate(
        "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    with pytest.raises(ValueError, match="message 3 doesn't stand after"):
        template.pieces(TALK)


BAD_LINES: dict[str, tuple[Any, str]] = {
    "not JSON": ("{'text': 1}", "not JSON"),
    "cut off": ('{"text": "a', "not JSON: Unterminated string starting at, column 10"),
    "the next line's": ('{"text":', "not JSON: Expecting value, column 9"),
    "a list": ("[1]", "must be a JSON object, not list"),
    "not UTF-8": (b'{"text": "\xff"}', "not UTF-8: byte 0xff at offset 10"),
    "too deep": ("[" * 100_000, "nested too deeply"),
    "half a character": ('{"text": "\\ud800"}', "U+D800 at position 0 is a surrogate"),
    "other fields": ({"question": "a", "answer": "b"}, 'it holds "question", "answer"'),
    "no fields": ({}, "it holds nothing"),
    "a number": ({"text": 5}, '"text" must be a text, not int'),
    "no completion": ({"prompt": "a", "completion": ""}, '"completion" is empty'),
    "no messages": ({"messages": []}, '"messages" must be a list'),
    "a message that is none": ({"messages": ["a"]}, "message 1 must be an object, not str"),
    "no role": ({"messages": [{"content": "a"}]}, 'message 1 must have a text as "role"'),
    "no content": (
        {"messages": [TALK[0], {"role": "user", "content": None}]},
        'message 2 must have a text as "content"',
    ),
    "a role of its own": (
        {"messages": [{"role": "wizard", "content": "a"}]},
        'message 1 has the role "wizard"; allowed are system, user and assistant',
    ),
    "no answer": ({"messages": TALK[:2]}, "holds no answer"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_named_by_file_and_number(tmp_path: Path, name: str) -> None:
    line, problem = BAD_LINES[name]
    if not isinstance(line, str | bytes):
        line = json.dumps(line)
    line = line.encode() if isinstance(line, str) else line
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"text": "good"}\n\n' + line + b"\n")
    examples = read_examples(path, ByteTokenizer())
    assert bytes(next(examples).ids.tolist()) == b"good"
    with pytest.raises(ValueError) as raised:
        next(examples)
    message = str(raised.value)
    assert message.startswith(f"{path}: line 3: ") and problem in message
    assert "\n" not in message


def test_a_line_beyond_all_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litegpt.text.examples.LONGEST_LINE", 1 << 20)
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"text": "' + b"a" * (3 << 20) + b'"}\n')
    with pytest.raises(ValueError, match="line 2: longer than 1 MiB"):
        list(read_examples(path, ByteTokenizer()))


def test_marks_of_order_empty_lines_and_missing_ends_are_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n\r\n  \n{"text": ""}\n{"text": "b"}')
    texts = [bytes(e.ids.tolist()) for e in read_examples(path, ByteTokenizer())]
    assert texts == [b"a", b"b"]
