"""SmolLM2's perplexity, here and by llama.cpp, from the same file.

    python benchmarks/perplexity.py ../shared/data/tinyshakespeare.txt

Both read the text's first bytes in windows of 512 tokens, and score every token of a window but the
first of the text, each after those before it in its window. LITEGPT_SMOLLM2 names the GGUF file.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from contenders import inputs

from litegpt import TextModel
from litegpt.generation import score_ids
from litegpt.kernels.threads import default_threads

WINDOW = 512


def ours(model: TextModel, ids: np.ndarray) -> float:
    return perplexity(score_ids(model.model, ids, WINDOW, WINDOW))


def theirs(model: Any, ids: np.ndarray) -> float:
    """model: a llama_cpp.Llama with logits_all."""
    scores = []
    for start in range(0, len(ids) - 1, WINDOW):
        window = ids[start : start + WINDOW]
        wanted = ids[start + 1 : start + 1 + len(window)]  # the last window's last has none
        model.reset()
        model.eval(window.tolist())
        logits = model.scores[: len(wanted)].astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        found = logits[np.arange(len(wanted)), wanted]
        scores.append(found - np.log(np.exp(logits).sum(axis=1)))
    return perplexity(np.concatenate(scores))


def perplexity(scores: np.ndarray) -> float:
    """Of natural-log probabilities."""
    return float(np.exp(-scores.mean(dtype=np.float64)))


def llama_cpp(threads: int) -> Any:
    import llama_cpp as package

    return package.Llama(
        str(inputs.smollm2()),
        n_ctx=WINDOW,
        n_batch=WINDOW,
        n_threads=threads,
        n_threads_batch=threads,
        logits_all=True,
        verbose=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--bytes", type=int, default=20_000, help="of the file (%(default)s)")
    arguments = parser.parse_args()
    text = arguments.file.read_bytes()[: arguments.bytes].decode(errors="ignore")
    model = TextModel.from_pretrained(inputs.smollm2())
    ids = model.tokenizer.encode(text)
    here, there = ours(model, ids), theirs(llama_cpp(default_threads()), ids)
    print(
        f"{len(ids):,} tokens of {len(text):,} bytes: perplexity {here:.4f}; llama.cpp {there:.4f}"
    )
    print(f"LiteGPT's is {here / there - 1:+.3%}")


if __name__ == "__main__":
    main()
