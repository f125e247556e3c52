"""A conversation as the text that a model was trained on."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from litegpt.text.extras import import_extra
from litegpt.text.tokenizer import Tokenizer
from litegpt.text.vocabulary import VocabularyTokenizer

Message = Mapping[str, str]  # "role" ("system", "user", "assistant") and "content"

_NAMES = {"user": "User", "assistant": "Assistant"}


class ChatTemplate:
    """render(messages) is the text up to where the answer begins.

    source is a template of jinja2, as tokenizer_config.json and GGUF files have it: it runs in
    jinja2's sandbox and sees the messages and the tokens that begin and end a text. Without a
    source there is a plain form, "User: ...", and `stop` holds the string that ends an answer.
    """

    def __init__(self, source: str | None = None, bos: str = "", eos: str = "") -> None:
        self._tokens = {"bos_token": bos, "eos_token": eos}
        self.stop: tuple[str, ...] = () if source else ("\nUser:",)
        self._template = _compiled(source) if source else None

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "ChatTemplate":
        """The template that belongs to a tokenizer."""
        if not isinstance(tokenizer, VocabularyTokenizer):
            return cls()
        bos = () if tokenizer.bos_id is None else (tokenizer.bos_id,)
        words = ("".join(map(tokenizer.token_text, i)) for i in (bos, tokenizer.eos_ids[:1]))
        return cls(tokenizer.chat_template, *words)

    def render(self, messages: Sequence[Message], answer_next: bool = True) -> str:
        """The text up to where an answer begins, or, without one to come, up to the last message.

        ValueError, in the template's words, for a conversation that it refuses.
        """
        if self._template is None:
            return _plain(messages) + ("Assistant:" if answer_next else "")
        try:
            return self._template.render(
                messages=[dict(message) for message in messages],
                add_generation_prompt=answer_next,
                **self._tokens,
            )
        except Exception as error:  # a program of others: it can run into anything
            raise _refused(error) from None

    def pieces(self, messages: Sequence[Message]) -> list[tuple[str, bool]]:
        """The text up to the last answer, in pieces: those given, and (True) the answers.

        An answer begins where `render` ends before it, and goes up to what ends it in a chat: the
        template's own mark, or `stop`. Messages after the last answer are left out. ValueError if
        the template writes an earlier part differently once there are later messages.
        """
        pieces: list[tuple[str, bool]] = []
        written = ""
        for i, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            given = self.render(messages[:i])
            answered = self.render(messages[: i + 1], answer_next=False)
            if self.stop:
                answered = answered.removesuffix("\n") + self.stop[0]
            if not (given.startswith(written) and answered.startswith(given)):
                raise ValueError(
                    f"chat template: message {i + 1} doesn't stand after what was written before, "
                    "so its answer can't be told from the rest"
                )
            pieces += [(given[len(written) :], False), (answered[len(given) :], True)]
            written = answered
        return pieces


def _compiled(source: str) -> Any:
    """The template, with the settings and functions that Hugging Face's templates count on."""
    jinja2 = import_extra("jinja2", "hf", "a chat template")
    sandbox = import_extra("jinja2.sandbox", "hf", "a chat template")
    extensions = import_extra("jinja2.ext", "hf", "a chat template")

    class Generation(extensions.Extension):  # type: ignore[name-defined]  # imported late
        """{% generation %}...{% endgeneration %} says what is to be learned: here it stands."""

        tags = frozenset({"generation"})

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[extensions.loopcontrols, Generation]
    )

    def raise_exception(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, **layout: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **layout)

    def strftime_now(form: str) -> str:
        return datetime.now().strftime(form)

    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = strftime_now
    environment.filters["tojson"] = tojson
    try:
        return environment.from_string(source)
    except Exception as error:  # Python's compiler has its say too
        raise _refused(error) from None


def _refused(error: Exception) -> ValueError:
    """One line: the template's own words, or what it ran into."""
    exceptions = import_extra("jinja2.exceptions", "hf", "a chat template")
    said = " ".join(str(error).split())
    if not isinstance(error, exceptions.TemplateError):
        said = f"{type(error).__name__}: {said}"
    return ValueError(f"chat template: {said}")


def _plain(messages: Sequence[Message]) -> str:
    parts = []
    for message in messages:
        if message["role"] == "system":
            parts.append(message["content"] + "\n\n")
        else:
            parts.append(f"{_NAMES[message['role']]}: {message['content']}\n")
    return "".join(parts)
