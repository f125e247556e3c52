"""llama.cpp's side, through its C interface: GPT-2 in F32, Q8_0 and Q4_0."""

import ctypes
import json
import os
from pathlib import Path

import llama_cpp
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, quants
from safetensors.numpy import load_file

from contenders import Task, fresh, inputs

FORMATS = {"float32": "F32", "q8": "Q8_0", "q4_0": "Q4_0"}
NAMES = {  # Hugging Face's names of a block's layers -> GGUF's
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
TABLES = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}

_SMOLLM2_TOKENS = 49_152
_FROM_THE_FILE = """
import sys
from llama_cpp import Llama
threads = int(sys.argv[4])
model = Llama(sys.argv[1], n_threads=threads, n_threads_batch=threads, verbose=False)
text = model(sys.argv[2], max_tokens=int(sys.argv[3]), temperature=0)["choices"][0]["text"]
"""


def _gguf_name(name: str) -> str:
    """h.3.attn.c_proj.bias -> blk.3.attn_output.bias"""
    layer, _, kind = name.rpartition(".")
    if layer in TABLES:
        return f"{TABLES[layer]}.{kind}"
    _, number, layer = layer.split(".", 2)
    return f"blk.{number}.{NAMES[layer]}.{kind}"


def _gguf(weights: str) -> Path:
    """The model as a GGUF file: all matrices in the format, positions and vectors in F32."""
    model = inputs.directory("gpt2-124m")
    path = inputs.folder() / f"gpt2-124m-{FORMATS[weights]}.gguf"
    if path.is_file():
        return path
    sizes = json.loads((model / "config.json").read_text())
    aside = path.with_suffix(".part")
    writer = GGUFWriter(aside, "gpt2")
    writer.add_context_length(sizes["n_positions"])
    writer.add_embedding_length(sizes["n_embd"])
    writer.add_block_count(sizes["n_layer"])
    writer.add_head_count(sizes["n_head"])
    writer.add_feed_forward_length(4 * sizes["n_embd"])
    writer.add_layer_norm_eps(1e-5)
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(sizes["vocab_size"])
    format_ = GGMLQuantizationType[FORMATS[weights]]
    tensors = load_file(model / "model.safetensors")
    tensors.pop("lm_head.weight", None)  # tied: token_embd serves
    for saved_name, array in tensors.items():
        name = _gguf_name(saved_name.removeprefix("transformer."))
        if name.startswith("blk.") and array.ndim == 2:
            array = array.T  # (in, out) -> (out, in)
        array = np.ascontiguousarray(array)
        if array.ndim == 2 and name != "position_embd.weight":
            writer.add_tensor(name, quants.quantize(array, format_), raw_dtype=format_)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(aside, path)
    return path


@llama_cpp.llama_log_callback
def _silent(level: int, text: bytes, data: ctypes.c_void_p) -> None:
    pass


class _Context:
    """A model with room for `rows` sequences of `length` tokens."""

    def __init__(self, file: Path, rows: int, length: int) -> None:
        llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        parameters = llama_cpp.llama_model_default_params()
        self.model = llama_cpp.llama_model_load_from_file(str(file).encode(), parameters)
        if not self.model:
            raise RuntimeError("llama.cpp can't load the model")
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = rows * max(length, 256)
        options.n_batch = options.n_ubatch = max(512, rows * length)
        options.n_seq_max = rows
        options.n_threads = options.n_threads_batch = int(os.environ["OMP_NUM_THREADS"])
        self.context = llama_cpp.llama_init_from_model(self.model, options)
        vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.vocabulary_size = llama_cpp.llama_vocab_n_tokens(vocabulary)
        self.batch = llama_cpp.llama_batch_init(rows * length, 0, 1)
        self.greedy = llama_cpp.llama_sampler_init_greedy()

    def clear(self) -> None:
        """Forgets all tokens."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def decode(self, ids: np.ndarray, start: int) -> None:
        """Goes through ids (B, T) at positions start, start + 1, ...; logits of the last ones."""
        rows, length = ids.shape
        batch = self.batch
        batch.n_tokens = rows * length
        for place, (row, column) in enumerate(np.ndindex(rows, length)):
            batch.token[place] = int(ids[row, column])
            batch.pos[place] = start + column
            batch.n_seq_id[place] = 1
            batch.seq_id[place][0] = row
            batch.logits[place] = column == length - 1
        if status := llama_cpp.llama_decode(self.context, batch):
            raise RuntimeError(f"llama_decode returned {status}")

    def logits(self, ids: np.ndarray) -> np.ndarray:
        """(B, T) -> (B, V), of what was last decoded."""
        rows, length = ids.shape
        pointers = [
            llama_cpp.llama_get_logits_ith(self.context, row * length + length - 1)
            for row in range(rows)
        ]
        size = (self.vocabulary_size,)
        return np.stack([np.ctypeslib.as_array(pointer, size).copy() for pointer in pointers])

    def choose(self, rows: int) -> np.ndarray:
        """The likeliest next tokens (B, 1) after decoding one token a row."""
        sample = llama_cpp.llama_sampler_sample
        return np.array([[sample(self.greedy, self.context, row)] for row in range(rows)])


def _next_logits(context: _Context, ids: np.ndarray) -> np.ndarray:
    context.clear()
    context.decode(ids, 0)
    return inputs.centred(context.logits(ids))


def decode(weights: str, rows: int, new: int) -> Task:
    return _writing(_gguf(weights), inputs.tokens(rows, inputs.CONTEXT), new)


def _writing(file: Path, ids: np.ndarray, new: int) -> Task:
    rows = len(ids)
    context = _Context(file, rows, max(new, inputs.CONTEXT))

    def run() -> None:
        context.clear()
        last = ids[:, :1]
        for position in range(new):
            context.decode(last, position)
            last = context.choose(rows)

    return Task(run, lambda: _next_logits(context, ids))


def prefill(weights: str, length: int) -> Task:
    return _reading(_gguf(weights), inputs.tokens(1, length))


def _reading(file: Path, ids: np.ndarray) -> Task:
    context = _Context(file, *ids.shape)

    def run() -> None:
        context.clear()
        context.decode(ids, 0)

    return Task(run, lambda: _next_logits(context, ids))


def smollm2_read(length: int) -> Task:
    return _reading(inputs.smollm2(), inputs.tokens(1, length, _SMOLLM2_TOKENS))


def smollm2_write(new: int) -> Task:
    return _writing(inputs.smollm2(), inputs.tokens(1, inputs.CONTEXT, _SMOLLM2_TOKENS), new)


def smollm2_first_token() -> Task:
    return fresh.first_token(_FROM_THE_FILE)


def smollm2_memory(new: int) -> Task:
    return fresh.memory(_FROM_THE_FILE, new)
