"""llama.cpp reads what is exported here, and converts our float32 files to the same bytes."""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litegpt import GPTModel
from litegpt.formats import GgufFile
from litegpt.models.gguf_export import save_gguf

llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python isn't installed")

SIZES = {"hidden_dim": 64, "ffn_dim": 128, "max_seq_len": 48, "vocab_size": 96}
NEW = 40
CONVERSIONS = {  # dtype -> llama.cpp's type of file, and that of its tables of tokens
    "float16": (llama_cpp.LLAMA_FTYPE_MOSTLY_F16, llama_cpp.GGML_TYPE_F16),
    "q8": (llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0, llama_cpp.GGML_TYPE_Q8_0),
    "q5": (llama_cpp.LLAMA_FTYPE_MOSTLY_Q5_1, llama_cpp.GGML_TYPE_Q8_0),
    "q4_0": (llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0, llama_cpp.GGML_TYPE_Q8_0),
}


def _converted(source: Path, dtype: str) -> Path:
    """llama.cpp's own conversion."""
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.nthread = 1
    settings.ftype, table = CONVERSIONS[dtype]
    settings.token_embedding_type = settings.output_tensor_type = table
    path = source.with_name(f"theirs-{dtype}.gguf")
    status = llama_cpp.llama_model_quantize(
        str(source).encode(), str(path).encode(), ctypes.byref(settings)
    )
    assert status == 0
    return path


def _greedy(path: Path) -> tuple[list[int], np.ndarray]:
    """The ids that llama.cpp adds to one, and its logits (T, V) on the way."""
    model = llama_cpp.Llama(
        str(path), n_ctx=SIZES["max_seq_len"], logits_all=True, n_threads=1, verbose=False
    )
    ids = [1]
    for _ in range(NEW):
        model.eval(ids[-1:])
        ids.append(int(np.argmax(model.scores[model.n_tokens - 1])))
    return ids, model.scores[:NEW].copy()


@pytest.mark.parametrize("family", ["default", "gpt2", "llama"])
def test_the_same_text_as_from_its_own_conversion(
    make_model: Any, tmp_path: Path, family: str
) -> None:
    model = make_model(family, **SIZES)
    save_gguf(model, tmp_path / "f32.gguf", "float32")
    for dtype in CONVERSIONS:
        save_gguf(model, tmp_path / f"ours-{dtype}.gguf", dtype)
        ours, theirs = tmp_path / f"ours-{dtype}.gguf", _converted(tmp_path / "f32.gguf", dtype)
        written, wanted = GgufFile(ours), GgufFile(theirs)
        assert written.shapes == wanted.shapes
        for name, place in wanted.tensors.items():
            assert written.tensors[name].form == place.form, name
            assert written.blocks(name).tobytes() == wanted.blocks(name).tobytes(), name
        (ids, logits), (wanted_ids, _) = _greedy(ours), _greedy(theirs)
        assert ids == wanted_ids
        read = GPTModel.from_pretrained(ours, "float32")
        here = read(ids[:NEW])[0]
        # it keeps keys and values in 16 bits, and rounds activations to 8 before products
        allowed = 0.01 if dtype == "float16" else 0.05
        assert np.abs(here - logits).max() < allowed * np.abs(logits).max()
