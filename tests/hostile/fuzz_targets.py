"""What tests/hostile/fuzz.py fuzzes: for each reader a sound file, and the errors it documents."""

import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from json_mutations import mutate_header, mutate_json

from litegpt import GPTModel, LoRAConfig, TextModel, add_lora, load_lora, save_lora
from litegpt.formats import GgufFile, ModelFormatError, TokenFile, TokenFileWriter
from litegpt.formats.gguf_write import GgufTensor, write_gguf
from litegpt.models.gguf_export import save_gguf
from litegpt.text import (
    BytePairTokenizer,
    ByteTokenizer,
    CharTokenizer,
    SubwordTokenizer,
    load_tokenizer,
)
from litegpt.text.byte import byte_alphabet
from litegpt.text.chat import ChatTemplate
from litegpt.training import TextWindows, TrainConfig, Trainer
from litegpt.training.checkpoint import _STATE, CheckpointError, Checkpoints, _with_hashes

MESSAGES = [{"role": role, "content": "Hi"} for role in ("system", "user", "assistant", "user")]
TEMPLATES = (
    "{{ messages[0].content }}",
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "{% set ns = namespace(n=0) %}{% macro f(x) %}{{ x | upper | trim }}{% endmacro %}"
    "{% if messages[0]['role'] != 'system' %}{{ raise_exception('no') }}{% endif %}"
    "{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ f(m.role) ~ ns.n | tojson }}{% endfor %}",
)


Mutate = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Target:
    """make writes a sound directory: the file in it that is fuzzed, and contents to begin with.

    use reads the file; error is what it may raise, in words that name the directory (or `named`).
    mutate, if given, changes a file so that it stays well-formed.
    """

    make: Callable[[Path], tuple[str, list[bytes]]]
    use: Callable[[Path], Any]
    error: type[Exception] | tuple[type[Exception], ...] = ModelFormatError
    mutate: Mutate | None = None
    named: str = ""


def _model(**options: Any) -> GPTModel:
    return GPTModel(258, 16, 1, 2, 32, seed=0, **options)


GPT2 = {"tie_embeddings": True, "bias": True}
LLAMA = {
    "norm": "rmsnorm",
    "position": "rotary",
    "activation": "swiglu",
    "bias": False,
    "num_kv_heads": 1,
}


def _gguf(folder: Path) -> tuple[str, list[bytes]]:
    vocabulary = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.eos_token_id": 257,
        "tokenizer.chat_template": TEMPLATES[0],
        "tokenizer.ggml.merges": ["t o"],
        "tokenizer.ggml.token_type": np.array([1] * 257 + [3], np.int32),
        "tokenizer.ggml.tokens": [*byte_alphabet(), "to", "<end>"],
    }
    pieces = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.scores": np.zeros(258, np.float32),
        "tokenizer.ggml.token_type": np.array([2] + [6] * 256 + [1], np.int32),
        "tokenizer.ggml.tokens": ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁to"],
    }
    seeds = []
    for options, form, entries in (
        (LLAMA, "q4", vocabulary),
        (LLAMA, "q8", pieces),
        (GPT2, "float16", vocabulary),
    ):
        save_gguf(_model(**options), folder / "m.gguf", form, entries)
        seeds.append((folder / "m.gguf").read_bytes())
    return "m.gguf", seeds


ENTRIES: tuple[Any, ...] = (
    "", "a", "\ud800", "gpt2", "llama", "x" * 5000, True, 0, 1, -1, 7, 2**31, 2**40, 0.0, 0.5, 1e38,
    float("nan"), float("inf"), [], ["a"], ["a", "a"], ["a b"] * 300, [" "], ["a b c"],
    ["\0"] * 258, np.zeros(0, np.int32), np.arange(300), np.full(258, 2.5),
    np.full(258, 4, np.int32),
)  # fmt: skip


def _mutate_gguf(data: bytes, rng: random.Random) -> bytes:
    """A file whose metadata say something else."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "m.gguf"
        path.write_bytes(data)
        file = GgufFile(path)
        entries = dict(file.metadata)
        for _ in range(rng.choice((1, 1, 2, 4))):
            key = rng.choice(list(entries))
            kind = rng.randrange(4)
            if kind == 0:
                del entries[key]
            elif kind == 1 and isinstance(entries[key], list) and entries[key]:
                entries[key] = [*entries[key]]
                entries[key][rng.randrange(len(entries[key]))] = rng.choice(["", "a", "\0", "t o"])
            else:
                entries[key] = rng.choice((*ENTRIES, *entries.values()))
        tensors = {
            name: GgufTensor(place.shape, place.form, lambda name=name: file.blocks(name))
            for name, place in file.tensors.items()
        }
        write_gguf(path, entries, tensors)
        return path.read_bytes()


def _use_gguf(folder: Path) -> None:
    TextModel.from_pretrained(folder / "m.gguf").ids("to be")


def _saved(name: str) -> Callable[[Path], tuple[str, list[bytes]]]:
    """A file of a directory as save_pretrained writes it."""

    def make(folder: Path) -> tuple[str, list[bytes]]:
        seeds = []
        for options in (GPT2, LLAMA):
            _model(**options).save_pretrained(folder)
            seeds.append((folder / name).read_bytes())
        return name, seeds

    return make


def _use_model(folder: Path) -> None:
    GPTModel.from_pretrained(folder)


def _index(folder: Path) -> tuple[str, list[bytes]]:
    name = "model.safetensors.index.json"
    _model().save_pretrained(folder)
    weights = (folder / "model.safetensors").rename(folder / "a.safetensors").read_bytes()
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    placed = {tensor: "a.safetensors" for tensor in header if tensor != "__metadata__"}
    return name, [json.dumps({"weight_map": placed}).encode()]


def _byte_pairs() -> BytePairTokenizer:
    return BytePairTokenizer.from_merges(["t o"], ["<end>"], prefix=[257])


def _tokenizer(folder: Path) -> tuple[str, list[bytes]]:
    seeds = []
    for made in (
        _byte_pairs(),
        SubwordTokenizer.from_json(_byte_pairs().to_json() | {"normalizer": {"type": "NFKC"}}),
        CharTokenizer.from_text("to be"),
        ByteTokenizer(),
    ):
        made.save(folder)
        seeds.append((folder / "tokenizer.json").read_bytes())
    return "tokenizer.json", seeds


def _tokenizer_config(folder: Path) -> tuple[str, list[bytes]]:
    _byte_pairs().surrounded([257], TEMPLATES[1]).save(folder)
    return "tokenizer_config.json", [(folder / "tokenizer_config.json").read_bytes()]


def _use_tokenizer(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    try:
        ids = tokenizer.encode("to be")
    except ValueError:  # a character that the tokenizer doesn't know
        return
    tokenizer.decode(ids)


def _tokens(folder: Path) -> tuple[str, list[bytes]]:
    seeds = []
    for size in (300, 70_000):
        with TokenFileWriter(folder / "t", size) as writer:
            writer.add(np.arange(100), np.array([40, 100]), np.array([[0, 50], [10, 60]]))
            writer.finish({"sources": "a"})
        seeds.append((folder / "t").read_bytes())
    return "t", seeds


def _use_tokens(folder: Path) -> None:
    file = TokenFile(folder / "t")
    _ = file.fingerprint, file.ids.max(initial=0), file.borders.sum(), file.given.sum()


def _adapter(name: str) -> Callable[[Path], tuple[str, list[bytes]]]:
    def make(folder: Path) -> tuple[str, list[bytes]]:
        model = _model()
        add_lora(model, LoRAConfig(r=2), seed=0)
        save_lora(model, folder)
        return name, [(folder / name).read_bytes()]

    return make


def _use_adapter(folder: Path) -> None:
    load_lora(_model(init_std=0.0), folder)


def _trainer(folder: Path) -> Trainer:
    data = TextWindows(np.arange(100) % 10, 8)
    config = TrainConfig(max_steps=1, batch_size=1, eval_interval=1)
    return Trainer(GPTModel(10, 8, 1, 1, 4, seed=0), data, config, checkpoints=Checkpoints(folder))


def _state(folder: Path) -> tuple[str, list[bytes]]:
    _trainer(folder).fit()
    name = f"checkpoints/step-000001/{_STATE}"
    return name, [(folder / name).read_bytes()]


def _use_state(folder: Path) -> None:
    _trainer(folder).resume()


def _template(folder: Path) -> tuple[str, list[bytes]]:
    return "t.jinja", [template.encode() for template in TEMPLATES]


def _use_template(folder: Path) -> None:
    source = (folder / "t.jinja").read_bytes().decode(errors="replace")
    template = ChatTemplate(source, "<s>", "</s>")
    template.render(MESSAGES)
    template.pieces(MESSAGES)


def _mutate_state(data: bytes, rng: random.Random) -> bytes:
    """Another state of a run, whose hash is right."""
    state = json.loads(mutate_json(data, rng))
    hashes = {k: v for k, v in state["sha256"].items() if k != _STATE}
    return json.dumps(_with_hashes(state, hashes)).encode()


PIECES = (
    "{{ EXPRESSION }}", "{% set x = EXPRESSION %}",
    "{% if EXPRESSION %}a{% else %}b{% endif %}",
    "{% for x in EXPRESSION %}{{ x }}{% endfor %}", "{% include EXPRESSION %}",
    "{% import 'a' as b %}", "{% macro f(x=EXPRESSION) %}{{ f(x) }}{% endmacro %}",
    "{% extends EXPRESSION %}", "{% filter upper %}{{ EXPRESSION }}{% endfilter %}",
    "{% block b %}{{ self.b() }}{% endblock %}", "{% break %}", "{% continue %}",
    "{% call f() %}{% endcall %}", "{% raw %}", "{#", "{%-", "-}}",
)  # fmt: skip
EXPRESSIONS = (
    "messages", "messages[0]", "messages[9].role", "x", "f(1)", "loop.index", "ns.n", "1 // 0",
    "1e999", "-1", "2 ** 200", "9" * 5000, "none", "true", "'é'", "'a' ~ x", "[1, 'a', none]",
    "{'a': 1}", "[].index(1)", "'é'.encode('ascii')", "''.__class__.__mro__",
    "'{0.__class__}'.format(1)", "(x, x)", "range(5)", "range(-1, 10 ** 6)", "range(999999)",
    "lipsum(n=-1)", "cycler()", "joiner()", "dict(a=1)", "namespace(n=1)",
    "raise_exception('no')", "raise_exception(x)", "messages.append(1)", "'%d' % 'a'",
    "'%s' % x", "messages[0].update(a=1)", "x.y.z", "'\\ud800'", "x is divisibleby 0",
    "x in messages",
)  # fmt: skip
FILTERS = (
    "int", "float", "tojson", "tojson(indent='a')", "length", "list", "sort", "first", "last",
    "sum", "join", "round(-400)", "batch(0)", "slice(0)", "map('upper')", "select('x')",
    "attr('__class__')", "format(1)", "replace('a', 'b')", "truncate(0)", "wordwrap(0)",
    "indent('a')", "xmlattr", "urlize", "filesizeformat", "groupby('role')", "dictsort",
    "random", "string", "reverse", "unique", "min", "pprint", "center(-1)",
)  # fmt: skip


def _mutate_template(data: bytes, rng: random.Random) -> bytes:
    """A template with a piece more, or without some of its text."""
    text = data.decode(errors="replace")
    at, end = rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)
    if rng.random() < 0.2:
        return (text[: min(at, end)] + text[max(at, end) :]).encode()
    expression = rng.choice(EXPRESSIONS)
    for _ in range(rng.randrange(3)):
        expression = f"({expression})|{rng.choice(FILTERS)}"
    piece = rng.choice(PIECES).replace("EXPRESSION", expression)
    return (text[:at] + piece + text[at:]).encode(errors="replace")


TARGETS = {
    "gguf": Target(_gguf, _use_gguf, mutate=_mutate_gguf),
    "safetensors": Target(_saved("model.safetensors"), _use_model, mutate=mutate_header),
    "config": Target(_saved("config.json"), _use_model, mutate=mutate_json),
    "index": Target(_index, _use_model, mutate=mutate_json),
    "tokenizer": Target(_tokenizer, _use_tokenizer, ValueError, mutate_json),
    "tokenizer-config": Target(_tokenizer_config, _use_tokenizer, ValueError, mutate_json),
    "tokens": Target(_tokens, _use_tokens, mutate=mutate_header),
    "adapter": Target(_adapter("adapter_config.json"), _use_adapter, mutate=mutate_json),
    "adapter-weights": Target(
        _adapter("adapter_model.safetensors"), _use_adapter, mutate=mutate_header
    ),
    "state": Target(_state, _use_state, (ValueError, CheckpointError), _mutate_state, "step"),
    "template": Target(
        _template, _use_template, ValueError, _mutate_template, named="chat template"
    ),
}
