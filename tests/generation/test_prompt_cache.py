"""What is kept from call to call: the same tokens, and less to read."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from litegpt.formats import ModelFormatError
from litegpt.generation import PromptCache, generate, stream
from litegpt.models import GPTModel

PROMPT = [4, 4, 9, 2, 17, 8]


@pytest.fixture
def positions_read(monkeypatch) -> list[int]:
    """How many positions each pass through the layers has read."""
    read: list[int] = []
    plain = GPTModel.next_logits

    def counted(self, ids, *rest, **options):
        read.append(np.asarray(ids).size)
        return plain(self, ids, *rest, **options)

    monkeypatch.setattr(GPTModel, "next_logits", counted)
    return read


def test_a_conversation_gives_what_it_gives_without(rotary, backend) -> None:
    cache = PromptCache(rotary)
    text = list(PROMPT)
    for turn in range(4):
        kept = generate(rotary, text, 8, seed=turn, cache=cache)[0].tolist()
        assert kept == generate(rotary, text, 8, seed=turn)[0].tolist()
        assert cache.ids.tolist() == kept[:-1]  # the last one is chosen, not read
        text = [*kept, 3, turn]


def test_only_what_is_new_is_read(rotary, positions_read) -> None:
    cache = PromptCache(rotary)
    text = generate(rotary, PROMPT, 1, seed=0, cache=cache)[0].tolist()
    generate(rotary, [*text, 5, 6], 1, seed=0, cache=cache)
    generate(rotary, [*PROMPT, 30, 30], 1, seed=0, cache=cache)  # departs from it
    generate(rotary, PROMPT[:3], 1, seed=0, cache=cache)  # goes back; the last id is read again
    generate(rotary, [7], 1, seed=0, cache=cache)
    assert positions_read == [6, 3, 2, 1, 1]
    assert cache.ids.tolist() == [7]


def test_left_streams_keep_what_they_have_read(rotary, backend) -> None:
    cache = PromptCache(rotary)
    steps = stream(rotary, PROMPT, 30, seed=0, cache=cache)
    got = [int(next(steps)[0]) for _ in range(5)]
    with pytest.raises(ValueError, match="cache must not be in use by another call"):
        generate(rotary, PROMPT, 2, cache=cache)
    steps.close()
    assert cache.ids.tolist() == PROMPT + got[:4]
    again = generate(rotary, PROMPT + got, 9, seed=3, cache=cache)
    np.testing.assert_array_equal(again, generate(rotary, PROMPT + got, 9, seed=3))


@pytest.mark.parametrize("on_overflow", ["slide", "halve"])
def test_past_the_context(rotary, backend, on_overflow) -> None:
    """max_seq_len is 64."""
    cache = PromptCache(rotary)
    options = {"on_overflow": on_overflow, "seed": 1}
    text = PROMPT
    for new in (50, 30, 5):
        kept = generate(rotary, text, new, cache=cache, **options)[0].tolist()
        assert kept == generate(rotary, text, new, **options)[0].tolist()
        text = kept


def test_fork(rotary, backend) -> None:
    cache = PromptCache(rotary)
    text = generate(rotary, PROMPT, 40, seed=0, cache=cache)[0].tolist()
    other = cache.fork()
    for kept in (other, cache):
        for ending in ([1, 2], [30], [5, 5, 5]):
            branch = [*text, *ending]
            np.testing.assert_array_equal(
                generate(rotary, branch, 6, seed=2, cache=kept), generate(rotary, branch, 6, seed=2)
            )


def test_save_and_load(rotary, backend, tmp_path, positions_read) -> None:
    cache = PromptCache(rotary)
    text = generate(rotary, PROMPT, 40, seed=0, cache=cache)[0].tolist()
    cache.save(tmp_path / "cache")
    loaded = PromptCache.load(tmp_path / "cache", rotary)
    assert loaded.ids.tolist() == cache.ids.tolist()
    del positions_read[:]
    tokens = generate(rotary, [*text, 9], 6, seed=2, cache=loaded)
    assert positions_read[0] == 2
    np.testing.assert_array_equal(tokens, generate(rotary, [*text, 9], 6, seed=2))


def test_an_empty_one_is_saved_too(rotary, tmp_path) -> None:
    PromptCache(rotary).save(tmp_path / "cache")
    assert len(PromptCache.load(tmp_path / "cache", rotary)) == 0


def test_what_is_in_use_is_neither_forked_nor_saved(rotary, tmp_path) -> None:
    """It would hold what is about to change, and a fork would disturb the call."""
    expected = generate(rotary, PROMPT, 12, seed=3)
    cache = PromptCache(rotary)
    generate(rotary, PROMPT, 2, seed=0, cache=cache)
    tokens = stream(rotary, PROMPT, 12, seed=3, cache=cache)
    first = [int(next(tokens)[0]) for _ in range(5)]
    for use in (cache.fork, lambda: cache.save(tmp_path / "cache")):
        with pytest.raises(ValueError, match="cache must not be in use by another call"):
            use()
    assert not list(tmp_path.iterdir())
    assert first + [int(ids[0]) for ids in tokens] == expected[0, len(PROMPT) :].tolist()
    assert cache.fork().ids.tolist() == expected[0, :-1].tolist()


def test_files_that_do_not_fit_are_refused(rotary, tmp_path) -> None:
    cache = PromptCache(rotary)
    generate(rotary, PROMPT, 3, seed=0, cache=cache)
    path = tmp_path / "cache"
    cache.save(path)
    whole, tensors = path.read_bytes(), load_file(path)
    for size in range(0, len(whole), 997):
        path.write_bytes(whole[:size])
        with pytest.raises(ModelFormatError, match="cache"):
            PromptCache.load(path, rotary)
    changes = [
        {"ids": tensors["ids"] + 31}, {"ids": tensors["ids"][:-1]}, {"more": tensors["ids"]},
        {"keys.0": tensors["keys.0"].astype(np.float64)}, {"values.1": tensors["values.1"][:1]},
        {"ids": tensors["ids"].astype(np.int32)}, {"ids": np.zeros(65, np.int64)},
        {"ids": np.array(3)}, {"ids": tensors["ids"][None]},
    ]  # fmt: skip
    for change in changes:
        save_file(tensors | change, path)
        with pytest.raises(ModelFormatError, match="not a cache of this model"):
            PromptCache.load(path, rotary)
    for absent in (tmp_path, tmp_path / "none"):
        with pytest.raises(ModelFormatError, match=f"{absent}: no such file"):
            PromptCache.load(absent, rotary)
    other = GPTModel(31, 64, 1, 2, 8)
    path.write_bytes(whole)
    with pytest.raises(ModelFormatError, match="not a cache of this model"):
        PromptCache.load(path, other)


def test_bad_arguments(rotary) -> None:
    cache = PromptCache(rotary)
    with pytest.raises(ValueError, match="cache must be left out for more than one row: 2"):
        generate(rotary, [[1], [2]], cache=cache)
    with pytest.raises(ValueError, match="cache must be None or a PromptCache, not 3"):
        generate(rotary, [1], cache=3)
    with pytest.raises(ValueError, match="use_cache must be True for cache"):
        generate(rotary, [1], cache=cache, use_cache=False)
    other = GPTModel(31, 64, 1, 2, 8, seed=0)
    with pytest.raises(ValueError, match="cache must be a PromptCache of this model"):
        stream(other, [1], cache=cache)
    with pytest.raises(IndexError, match="31"):
        generate(rotary, [1, 31], cache=cache)
    assert generate(rotary, [1, 3], 2, seed=0, cache=cache).shape == (1, 4)
