"""A conversation: what the model reads of it, and what is remembered."""

import pytest

from litegpt.generation import Chat, TextModel
from litegpt.models import GPTModel
from litegpt.text import ByteTokenizer


@pytest.fixture
def talker() -> TextModel:
    model = GPTModel(256, 160, 1, 2, 16, dropout=0.0, init_std=0.2, seed=0)
    return TextModel(model, ByteTokenizer())


def answer(talker: TextModel, prompt: str, seed: int) -> str:
    return "".join(talker.stream(prompt, max_new_tokens=12, seed=seed, stop=["\nUser:"]))


def test_each_answer_knows_what_was_said(talker, backend) -> None:
    chat = Chat(talker, "Rhyme.", max_new_tokens=12)
    first = "".join(chat.say("hi", seed=1))
    assert first == answer(talker, "Rhyme.\n\nUser: hi\nAssistant:", 1)
    said = first.strip()
    second = "".join(chat.say("and?", seed=2))
    assert second == answer(
        talker, f"Rhyme.\n\nUser: hi\nAssistant: {said}\nUser: and?\nAssistant:", 2
    )
    assert " ".join(m["role"] for m in chat.messages) == "system user assistant user assistant"
    chat.reset()
    assert "".join(chat.say("hi", seed=1)) == answer(talker, "User: hi\nAssistant:", 1)


def test_an_answer_that_is_left_counts_as_far_as_it_came(talker) -> None:
    chat = Chat(talker, max_new_tokens=50, seed=3)
    pieces = chat.say("hi")
    got = next(pieces) + next(pieces)
    pieces.close()
    assert chat.messages[-1] == {"role": "assistant", "content": got.strip()}
    assert "".join(chat.say("go on"))  # and the cache is free again


def test_the_oldest_turns_are_forgotten_when_there_is_no_room(talker) -> None:
    chat = Chat(talker, "S", max_new_tokens=12, seed=3)
    for turn in range(8):
        "".join(chat.say(f"question {turn} " + "x" * 20))
    assert chat.messages[0]["role"] == "system"
    assert chat.messages[1]["role"] == "user"
    assert chat.messages[1]["content"].startswith("question ")
    assert "question 0" not in chat.messages[1]["content"]
    assert chat.messages[-2]["content"].startswith("question 7")


def test_what_is_refused_counts_as_not_said(talker) -> None:
    chat = Chat(talker, seed=3)
    with pytest.raises(ValueError, match="leave no room for an answer in 160"):
        chat.say("x" * 500)
    with pytest.raises(ValueError, match="temperature must be"):
        chat.say("hi", temperature=-1)
    with pytest.raises(ValueError, match="max_new_tokens must be an integer of 0 or more, not 'x'"):
        chat.say("hi", max_new_tokens="x")
    with pytest.raises(ValueError, match="text must be a text, not None"):
        chat.say(None)
    assert chat.messages == []


def test_an_answer_that_nobody_began_to_read_leaves_nothing(talker) -> None:
    chat = Chat(talker, max_new_tokens=5, seed=0)
    chat.say("to be").close()
    said = "".join(chat.say("or not"))
    assert chat.messages == [
        {"role": "user", "content": "or not"},
        {"role": "assistant", "content": said.strip()},
    ]
