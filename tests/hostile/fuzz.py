"""Coverage-guided fuzz of everything that reads files of others, with atheris.

    pip install -e '.[hf,fuzz]'
    python tests/hostile/fuzz.py gguf --runs 10000
    python tests/hostile/fuzz.py all --seconds 600     each target for so long
    python tests/hostile/fuzz.py gguf --file PATH      a finding again

A finding is whatever isn't the error that is documented, takes more than a second of processor
time, or more memory than the file's size and 64 MB. It ends the run; the file that did it is in
build/fuzz, as is what was learned so far (build/fuzz/TARGET), with which the next run begins.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["LITEGPT_NUM_THREADS"] = "1"  # so that processor time is this thread's

import atheris
import numpy as np

with atheris.instrument_imports(include=["litegpt"]):
    from litegpt import GPTModel, LoRAConfig, TextModel, add_lora, load_lora, save_lora
    from litegpt.formats import ModelFormatError, TokenFile, TokenFileWriter
    from litegpt.models.gguf_export import save_gguf
    from litegpt.text import ByteTokenizer, CharTokenizer, SubwordTokenizer, load_tokenizer
    from litegpt.text.byte import byte_alphabet
    from litegpt.text.chat import ChatTemplate
    from litegpt.training import TextWindows, TrainConfig, Trainer
    from litegpt.training.checkpoint import _STATE, CheckpointError, Checkpoints, _with_hashes

FOLDER = Path(__file__).parents[2] / "build" / "fuzz"
SECONDS, MEMORY = 1.0, 64 << 20
LONGEST = 1 << 16  # bytes of a file

MESSAGES = [{"role": role, "content": "Hi"} for role in ("system", "user", "assistant", "user")]
TEMPLATES = (
    "{{ messages[0].content }}",
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "{% set ns = namespace(n=0) %}{% macro f(x) %}{{ x | upper | trim }}{% endmacro %}"
    "{% if messages[0]['role'] != 'system' %}{{ raise_exception('no') }}{% endif %}"
    "{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ f(m.role) ~ ns.n | tojson }}{% endfor %}",
)


class Finding(Exception):
    """What should never happen."""


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


def _tokenizer(folder: Path) -> tuple[str, list[bytes]]:
    seeds = []
    for made in (
        SubwordTokenizer.from_text("to be or not to be", 260),
        CharTokenizer.from_text("to be"),
        ByteTokenizer(),
    ):
        made.save(folder)
        seeds.append((folder / "tokenizer.json").read_bytes())
    return "tokenizer.json", seeds


def _tokenizer_config(folder: Path) -> tuple[str, list[bytes]]:
    tokenizer = SubwordTokenizer.from_text("to be or not to be", 260)
    tokenizer.chat_template = TEMPLATES[1]
    tokenizer.save(folder)
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


VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 2**31, 2**31 - 1, 2**53, 2**63, -(2**63), 2**64, 10**400,
    0.5, -0.0, 1e-320, 1e308, float("inf"), float("nan"), "", "a", "\0", "\ud800", "字", "../a",
    "F16", "I64", "x" * 5000, [], {}, [[]], [1, 2], {"a": 1}, [None], ["a"] * 300, [0] * 300,
)  # fmt: skip


def _mutate_json(data: bytes, rng: random.Random) -> bytes:
    """A JSON text in which some values are others, are missing, or stand elsewhere."""
    content = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        places = list(_places(content))
        if not places:
            break
        (container, key), (other, other_key) = rng.choice(places), rng.choice(places)
        match rng.randrange(6):
            case 0:
                del container[key]
            case 1:
                container[key] = json.loads(json.dumps(other[other_key]))
            case 2 if isinstance(container, dict):
                container[rng.choice(["", "a", str(other_key)])] = container.pop(key)
            case 3:
                container[key] = [container[key]]
            case _:
                container[key] = rng.choice(VALUES)
    return json.dumps(content, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")


def _places(content: Any) -> Any:
    """(container, key) of every value in a JSON object or list."""
    if isinstance(content, dict | list):
        for key in list(content) if isinstance(content, dict) else range(len(content)):
            yield content, key
            yield from _places(content[key])


def _mutate_header(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file with another header, whose length is right."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = _mutate_json(data[8:end], rng)
    return len(header).to_bytes(8, "little") + header + data[end:]


def _mutate_state(data: bytes, rng: random.Random) -> bytes:
    """Another state of a run, whose hash is right."""
    state = json.loads(_mutate_json(data, rng))
    hashes = {k: v for k, v in state["sha256"].items() if k != _STATE}
    return json.dumps(_with_hashes(state, hashes)).encode()


TARGETS = {
    "gguf": Target(_gguf, _use_gguf, ValueError),
    "safetensors": Target(_saved("model.safetensors"), _use_model, mutate=_mutate_header),
    "config": Target(_saved("config.json"), _use_model, mutate=_mutate_json),
    "index": Target(_index, _use_model, mutate=_mutate_json),
    "tokenizer": Target(_tokenizer, _use_tokenizer, ValueError, _mutate_json),
    "tokenizer-config": Target(_tokenizer_config, _use_tokenizer, ValueError, _mutate_json),
    "tokens": Target(_tokens, _use_tokens, mutate=_mutate_header),
    "adapter": Target(_adapter("adapter_config.json"), _use_adapter, mutate=_mutate_json),
    "adapter-weights": Target(
        _adapter("adapter_model.safetensors"), _use_adapter, mutate=_mutate_header
    ),
    "state": Target(_state, _use_state, (ValueError, CheckpointError), _mutate_state, "step"),
    "template": Target(_template, _use_template, ValueError, named="chat template"),
}


def _peak() -> int:
    """The most resident memory since it was last asked for, in bytes."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(status.split("VmHWM:")[1].split()[0]) << 10


def _tried(target: Target, folder: Path, data: bytes, file: Path) -> None:
    """Reads the file; Finding for anything but success or the documented error."""
    file.write_bytes(data)
    _peak()
    before, began = _peak(), time.process_time()
    try:
        target.use(folder)
    except target.error as error:
        if (target.named or str(folder)) not in str(error):
            raise Finding("the error doesn't say where") from error
        if "\n" in str(error):
            raise Finding("the error is longer than a line") from error
    seconds, memory = time.process_time() - began, _peak() - before
    if seconds > SECONDS:
        raise Finding(f"took {seconds:.2f} s")
    if memory > len(data) + MEMORY:
        raise Finding(f"took {memory >> 20} MB")


def _fuzz(name: str, options: list[str], inputs: Path) -> None:
    target = TARGETS[name]
    memory = Path("/dev/shm")  # which needn't be synchronised with a disk
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as temporary:
        folder = Path(temporary)
        fuzzed, seeds = target.make(folder)
        if inputs.suffix == "":
            inputs.mkdir(exist_ok=True)
            for i, seed in enumerate(seeds):
                (inputs / f"sound-{i}").write_bytes(seed)

        def try_one(data: bytes) -> None:
            _tried(target, folder, data, folder / fuzzed)

        def mutate(data: bytes, most: int, seed: int) -> bytes:
            rng = random.Random(seed)
            if target.mutate and rng.random() < 0.7:
                try:
                    changed = target.mutate(data, rng)
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    pass  # not well-formed any more
                else:
                    return changed[:most]
            return atheris.Mutate(data, most)

        for seed in seeds:
            try_one(seed)  # which also imports what comes late
        command = [sys.argv[0], *options, f"-artifact_prefix={FOLDER}/{name}-", str(inputs)]
        atheris.Setup(command, try_one, custom_mutator=mutate)
        atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", choices=["all", *TARGETS])
    parser.add_argument("--runs", type=int, default=-1, help="how many files are tried")
    parser.add_argument("--seconds", type=int, default=0, help="for how long (0: without end)")
    parser.add_argument("--file", type=Path, help="this file, once")
    arguments = parser.parse_args()
    if arguments.target == "all":
        for name in TARGETS:
            command = [sys.executable, __file__, name, *sys.argv[2:]]
            subprocess.run(command, check=True)
        return
    warnings.simplefilter("ignore")
    FOLDER.mkdir(parents=True, exist_ok=True)
    options = [f"-runs={arguments.runs}", f"-max_total_time={arguments.seconds}"]
    options += [f"-max_len={LONGEST}", "-timeout=60", "-len_control=0", "-print_final_stats=1"]
    _fuzz(arguments.target, options, arguments.file or FOLDER / arguments.target)


if __name__ == "__main__":
    main()
