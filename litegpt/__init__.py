"""LiteGPT: a GPT built, trained, loaded and run on a CPU.

import litegpt

model = litegpt.GPTModel(vocab_size=500, max_seq_len=128, num_layers=4, num_heads=4,
                         hidden_dim=64)
model.generate([[1, 2, 3]], max_new_tokens=20)
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# The idle threads of NumPy's OpenBLAS spin for 2^28 ticks of the processor's clock, 0.1 s, also
# after its import, on processors that the kernels' own threads want. For 0.4 ms will do.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")

if TYPE_CHECKING:  # who reads the names without running anything
    from litegpt.formats import ModelFormatError
    from litegpt.generation import Chat, PromptCache, TextModel
    from litegpt.kernels import (
        available_backends,
        backend,
        num_threads,
        set_num_threads,
        use_backend,
    )
    from litegpt.models import (
        GPTConfig,
        GPTModel,
        LoRAConfig,
        add_lora,
        load_lora,
        merge_lora,
        save_lora,
    )
    from litegpt.nn import (
        Dropout,
        Embedding,
        FeedForward,
        KVCache,
        LayerNorm,
        LearnedPositionalEncoding,
        Linear,
        Module,
        MultiHeadAttention,
        Parameter,
        PositionalEncoding,
        RMSNorm,
        RotaryPositionalEncoding,
        ScaledDotProductAttention,
        TransformerBlock,
        create_causal_mask,
        create_padding_mask,
    )
    from litegpt.pictures import plot_attention, plot_run
    from litegpt.text import BytePairTokenizer, ByteTokenizer, CharTokenizer, load_tokenizer
    from litegpt.training import AdamW, Lion, Muon, TextWindows, TrainConfig, Trainer

__all__ = [
    "AdamW",
    "BytePairTokenizer",
    "ByteTokenizer",
    "CharTokenizer",
    "Chat",
    "Dropout",
    "Embedding",
    "FeedForward",
    "GPTConfig",
    "GPTModel",
    "KVCache",
    "LayerNorm",
    "LearnedPositionalEncoding",
    "Linear",
    "Lion",
    "LoRAConfig",
    "ModelFormatError",
    "Module",
    "MultiHeadAttention",
    "Muon",
    "Parameter",
    "PositionalEncoding",
    "PromptCache",
    "RMSNorm",
    "RotaryPositionalEncoding",
    "ScaledDotProductAttention",
    "TextModel",
    "TextWindows",
    "TrainConfig",
    "Trainer",
    "TransformerBlock",
    "add_lora",
    "available_backends",
    "backend",
    "create_causal_mask",
    "create_padding_mask",
    "load_lora",
    "load_tokenizer",
    "merge_lora",
    "num_threads",
    "plot_attention",
    "plot_run",
    "save_lora",
    "set_num_threads",
    "use_backend",
]

_FLOORS = (
    "kernels",
    "formats",
    "text",
    "nn",
    "models",
    "generation",
    "training",
    "pictures",
    "cli",
)


def __getattr__(name: str) -> object:
    """A name is imported when it is first asked for, from the lowest floor that has it.

    So `litegpt --version` needs no NumPy, and Ctrl-C is heard while the rest is being imported.
    """
    if name in _FLOORS or name == "testing":
        return _floor(name)
    if name in __all__:
        for floor in _FLOORS:
            found = getattr(_floor(floor), name, None)
            if found is not None:
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _floor(name: str) -> object:
    try:
        return import_module(f"litegpt.{name}")
    except AttributeError as error:  # of something within, not of a name that there isn't
        raise ImportError(f"litegpt.{name} can't be imported: {error}") from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_FLOORS})
