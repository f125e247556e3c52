"""Chat templates: what they render, and what they can't do."""

import json
from pathlib import Path
from typing import Any

import pytest

from litegpt.text import BytePairTokenizer, ByteTokenizer, load_tokenizer, tokenizer_from_gguf
from litegpt.text.chat import ChatTemplate
from litegpt.text.gguf_entries import gguf_entries
from litegpt.text.vocabulary import VocabularyTokenizer

jinja2 = pytest.importorskip("jinja2")

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi {{ there }}"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Bye"},
]
CHATML = (
    "{% for message in messages %}\n    {{- '<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n' -}}\n{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_a_template_of_the_usual_kind() -> None:
    template = ChatTemplate(CHATML)
    assert template.render(TALK) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi {{ there }}<|im_end|>\n"
        "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert template.stop == ()


def test_the_same_text_as_transformers() -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("torch")
    from transformers.utils.chat_template_utils import render_jinja_template

    loud = (
        "{% for m in messages %}\n  {% if m.role == 'user' %}\n[{{ m | tojson }}]"
        "{% continue %}\n  {% endif %}\n{{ m.content | trim }}\n{% endfor %}"
    )
    marked = (
        "{{ strftime_now('%Y') }}{% for m in messages %}{% if m.role == 'assistant' %}\n"
        "{% generation %}\n{{ m.content }}\n{% endgeneration %}\n{% endif %}{% endfor %}"
        "{{ messages[0] | tojson(indent=1, sort_keys=true) }}"
    )
    for source in (CHATML, loud, marked):
        theirs, _ = render_jinja_template(
            conversations=[TALK], chat_template=source, add_generation_prompt=True
        )
        assert ChatTemplate(source).render(TALK) == theirs[0]


def test_without_a_template_there_is_a_plain_form() -> None:
    for template in (ChatTemplate(), ChatTemplate.of(ByteTokenizer())):
        assert template.render(TALK) == (
            "Be brief.\n\nUser: Hi {{ there }}\nAssistant: Hello\nUser: Bye\nAssistant:"
        )
        assert template.stop == ("\nUser:",)


def test_the_template_of_a_tokenizer_knows_its_tokens() -> None:
    template = "{{ bos_token + messages[0].content + eos_token }}"
    tokenizer = BytePairTokenizer.from_merges(
        [], ["<s>", "</s>"], prefix=[256], eos_ids=[257], chat_template=template
    )
    assert ChatTemplate.of(tokenizer).render(TALK) == "<s>Be brief.</s>"


@pytest.mark.parametrize("bos", ["<s>", {"content": "<s>", "lstrip": False}])
def test_bos_that_only_the_template_puts_before_a_text(tmp_path: Path, bos: Any) -> None:
    """By the files beside tokenizer.json, as transformers knows it; by a GGUF file."""
    template = "{{ bos_token + messages[0].content + eos_token }}"
    BytePairTokenizer.from_merges([], ["<s>", "</s>"]).save(tmp_path)
    config = {"bos_token": bos, "eos_token": "</s>", "chat_template": template}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(tmp_path)
    assert isinstance(tokenizer, BytePairTokenizer) and tokenizer.prefix == ()
    tokenizer.save(tmp_path)
    for known in (
        tokenizer,
        load_tokenizer(tmp_path),
        tokenizer_from_gguf(gguf_entries(tokenizer, 258)),
    ):
        assert ChatTemplate.of(known).render(TALK) == "<s>Be brief.</s>"
        assert isinstance(known, VocabularyTokenizer) and known.prefix == ()


@pytest.mark.parametrize("source", [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.append(1) }}",
    "{{ messages.__class__.__base__ }}",
    "{% for i in range(10000000) %}x{% endfor %}",
    "{{ raise_exception('no system, please') }}",
    "{{ messages[9].content.x }}",
    "{{ 1 / 0 }}",
    "{{ 'a' + 1 }}",
])  # fmt: skip
def test_what_a_template_may_not_do_is_a_value_error(source) -> None:
    with pytest.raises(ValueError, match="chat template: "):
        assert ChatTemplate(source).render(TALK) == "never reached", "it was rendered"


def test_a_template_that_is_none() -> None:
    with pytest.raises(ValueError, match="chat template: "):
        ChatTemplate("{% for %}")


def test_without_the_package_one_line_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"needs the package jinja2: pip .*litegpt-cpu\[hf\]"):
        ChatTemplate("x")
    assert ChatTemplate().render(TALK[1:2]) == "User: Hi {{ there }}\nAssistant:"
