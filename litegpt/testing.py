"""For the tests of programs that use LiteGPT: a model whose answers can be told beforehand."""

import numpy as np

from litegpt.generation import TextModel
from litegpt.models import GPTModel
from litegpt.text import CharTokenizer

ALPHABET = "\n abcdefghijklmnopqrstuvwxyz"
WINDOW = 32  # characters that the model sees

# Where the residual stream (C = 128) keeps what, one number for each character or place.
_HERE, _PLACE, _BEFORE, _AFTER, _NONE = 0, 28, 60, 88, 116
_WIDTH, _HEAD = 128, 32
_NORM = 0.125  # gain of every layernorm: a stream of two ones comes out about as it went in


def tiny_model() -> TextModel:
    """A model of two blocks that repeats: its weights are set by hand, and always the same.

    After the characters so far it holds likeliest what came after the last character where that
    stood before, else the next character of ALPHABET (after "z" a line end): "abcxyzab" goes on
    with "cxyzab", "abc" with "def". `likeliest_next` says the same in Python. It sees WINDOW
    characters, and is a whole GPT-2 for all that: it can be saved, quantised, streamed, batched,
    sampled from and trained. In evaluation mode.

    The circuit (Olsson et al., 2022, arXiv:2209.11895): a head of the first block brings each
    place the character before it; a head of the second looks for the places whose character before
    is the one here, and takes what stands there. litegpt.plot_attention shows both.
    """
    tokenizer = CharTokenizer(ALPHABET)
    characters = tokenizer.vocab_size
    model = GPTModel(
        characters, WINDOW, 2, _WIDTH // _HEAD, _WIDTH, characters, 0.0, bias=True, seed=0
    )
    state = model.state_dict()  # the parameters' own arrays
    for name, array in state.items():
        array[...] = _NORM if name.endswith(("ln1.weight", "ln2.weight", "norm.weight")) else 0
    each, places = np.arange(characters), np.arange(WINDOW)
    state["token_embedding.weight"][each, _HERE + each] = 1
    state["position_encoding.weight"][places, _PLACE + places] = 1

    block = {name[9:]: array for name, array in state.items() if name.startswith("blocks.0")}
    q, k, v = _views(block["attention.qkv.weight"])
    q[_PLACE + places[1:], places[:-1]] = 13  # place t looks for place t - 1
    k[_PLACE + places, places] = 13
    v[_HERE + each, each] = 1
    block["attention.output.weight"][each, _BEFORE + each] = 1
    # Place 0 found itself; the feed-forward takes that away again.
    block["ffn.up.weight"][_BEFORE + each, each] = 20
    block["ffn.up.weight"][_PLACE, each] = 20
    block["ffn.up.bias"][each] = -24
    block["ffn.down.weight"][each, _BEFORE + each] = -0.12

    block = {name[9:]: array for name, array in state.items() if name.startswith("blocks.1")}
    q, k, v = _views(block["attention.qkv.weight"])
    q[_HERE + each, each] = 50  # the character here is looked for ...
    k[_BEFORE + each, each] = 50  # ... among those before each place, the latest first,
    block["attention.qkv.bias"][characters] = 10
    k[_PLACE + places, characters] = 2.75 * (places - places.mean())
    k[_PLACE, characters] = 48  # and where there is none, place 0 stands for that
    v[_HERE + each, each] = 1
    v[_PLACE, characters] = 1
    block["attention.output.weight"][each, _AFTER + each] = 1
    block["attention.output.weight"][characters, _NONE] = 1
    # Only what was found counts.
    block["ffn.up.weight"][_AFTER + each, each] = 20
    block["ffn.up.weight"][_NONE, each] = -40
    block["ffn.up.bias"][each] = -6
    block["ffn.down.weight"][each, _AFTER + each] = 1

    state["head.weight"][_HERE + each, (each + 1) % characters] = 12
    state["head.weight"][_AFTER + each, each] = 5
    return TextModel(model.eval(), tokenizer)


def likeliest_next(text: str) -> str:
    """The character that tiny_model holds likeliest after a text of ALPHABET's characters.

    ValueError for other characters, or none.
    """
    if not text or not set(text) <= set(ALPHABET):
        raise ValueError(f"text must be characters of {ALPHABET!r}, one or more, not {text!r}")
    text = text[-WINDOW:]
    place = text.rfind(text[-1], 0, -1)
    if place >= 0:
        return text[place + 1]
    return ALPHABET[(ALPHABET.index(text[-1]) + 1) % len(ALPHABET)]


def _views(qkv: np.ndarray) -> list[np.ndarray]:
    """The columns of the first head's queries, keys and values in a weight (C, 3 C)."""
    return [qkv[:, start : start + _HEAD] for start in range(0, 3 * _WIDTH, _WIDTH)]
