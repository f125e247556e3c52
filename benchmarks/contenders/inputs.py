"""What every contender is given: token ids, arrays, and models as Hugging Face directories."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from litegpt import CharTokenizer, GPTModel, TextWindows
from litegpt.training import scheduled_rate

DATA = Path(os.environ.get("LITEGPT_DATA") or Path(__file__).parents[3] / "shared" / "data")
FOLDER = "LITEGPT_PEERS_FOLDER"  # the environment variable that says where models are kept
SMOLLM2 = "LITEGPT_SMOLLM2"  # and the one that says where its file is
CONTEXT = 16  # tokens after which logits are compared

# All tied to their embedding and without dropout: GPT-2's own shape, those of nanoGPT's recipes for
# a CPU and a GPU. Weights are random, which costs the same time.
MODELS: dict[str, dict[str, Any]] = {
    "gpt2-124m": {"bias": True},
    "nanogpt-cpu": {
        "vocab_size": 65,
        "max_seq_len": 64,
        "num_layers": 4,
        "num_heads": 4,
        "hidden_dim": 128,
        "bias": False,
    },
    "nanogpt-10m": {
        "vocab_size": 65,
        "max_seq_len": 256,
        "num_layers": 6,
        "num_heads": 6,
        "hidden_dim": 384,
        "bias": False,
    },
}
# learning rate, betas, weight decay, largest norm of the gradient
OPTIMIZERS = {
    "gpt2-124m": (6e-4, (0.9, 0.95), 0.1, 1.0),
    "nanogpt-cpu": (1e-3, (0.9, 0.99), 0.1, 1.0),
    "nanogpt-10m": (1e-3, (0.9, 0.99), 0.1, 1.0),
}


def folder() -> Path:
    """Where models are kept from run to run."""
    return Path(os.environ[FOLDER])


def directory(model: str, seed: int = 0) -> Path:
    """The model in the names and shapes of Hugging Face; written when first asked for."""
    path = folder() / (f"{model}-{seed}" if seed else model)
    if not (path / "model.safetensors").is_file():
        rng = np.random.default_rng(seed)
        made = GPTModel(**MODELS[model], dropout=0.0, tie_embeddings=True, seed=rng)
        for parameter in made.parameters():
            if parameter.data.ndim == 1:  # biases aren't 0, nor gains 1: forgotten ones would show
                parameter.data += 0.02 * rng.standard_normal(parameter.data.shape, np.float32)
        made.save_pretrained(path)
    return path


def smollm2() -> Path:
    """SmolLM2-135M-Instruct's GGUF file, which the environment variable LITEGPT_SMOLLM2 names."""
    path = Path(os.environ.get(SMOLLM2) or "")
    if not path.is_file():
        raise FileNotFoundError(f"the environment variable {SMOLLM2} names no GGUF file")
    return path


def tokens(rows: int, length: int, vocabulary: int = 50_257) -> np.ndarray:
    """Ids (rows, length)."""
    return np.random.default_rng(1).integers(0, vocabulary, (rows, length))


def batch(model: str, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets (rows, length) for a training step."""
    ids = tokens(rows, length + 1, MODELS[model].get("vocab_size", 50_257))
    return ids[:, :-1].copy(), ids[:, 1:].copy()


def course(
    model: str, seed: int, rows: int, steps: int
) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """What the steps of a run on tinyshakespeare read: ids and targets (B, T), learning rate."""
    text = (DATA / "tinyshakespeare.txt").read_text()
    windows = TextWindows(CharTokenizer.from_text(text).encode(text), MODELS[model]["max_seq_len"])
    peak, warmup = OPTIMIZERS[model][0], steps // 10
    for step in range(steps):
        ids, targets = windows.batch(rows, np.random.default_rng((seed, step)))
        yield ids, targets, scheduled_rate("cosine", step, peak, peak / 10, warmup, steps)


def normal(*shape: int, seed: int = 2) -> np.ndarray:
    """Standard normal float32."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def heads(batch: int, heads: int, length: int, width: int) -> list[np.ndarray]:
    """q, k, v and the gradient of attention's output: (B, H, T, D) each."""
    return [normal(batch, heads, length, width, seed=seed) for seed in range(4)]


def logits() -> np.ndarray:
    """A row of GPT-2's logits (1, V), about as peaked as a trained model's."""
    return 3 * normal(1, 50_257)


def uniforms() -> np.ndarray:
    """Numbers in [0, 1) that choose tokens."""
    return np.random.default_rng(3).random(100)


def centred(logits: np.ndarray) -> np.ndarray:
    """Logits (..., V) less their mean: a constant added to all, as some peers do, is no matter."""
    return logits - logits.mean(axis=-1, keepdims=True)
