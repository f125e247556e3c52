"""Export: one model as a Hugging Face directory and as GGUF files, and back."""

from pathlib import Path

import numpy as np

from litegpt import GPTModel
from litegpt.models.gguf_export import save_gguf

model = GPTModel(1000, 128, 4, 4, 128, dropout=0.0, bias=True, tie_embeddings=True, seed=0).eval()
ids = np.random.default_rng(0).integers(0, 1000, (1, 100))
logits = model(ids)


def report(name: str, path: Path, other: GPTModel) -> None:
    files = [path] if path.is_file() else list(path.iterdir())
    size = sum(file.stat().st_size for file in files)
    same = (other(ids).argmax(-1) == logits.argmax(-1)).mean()
    difference = np.abs(other(ids) - logits).max()
    print(f"{name:<26}{size:>10,} bytes, logits within {difference:.1e}, {same:.0%} same choices")


print(f"{model.get_num_parameters():,} parameters")
model.save_pretrained("exported")  # transformers reads it: GPT2LMHeadModel.from_pretrained
report("directory (safetensors)", Path("exported"), GPTModel.from_pretrained("exported"))
for dtype in ("float32", "float16", "q8", "q5", "q4"):
    path = Path(f"exported-{dtype}.gguf")  # llama.cpp reads it
    save_gguf(model, path, dtype, {})
    report(f"GGUF, {dtype}", path, GPTModel.from_pretrained(path))
