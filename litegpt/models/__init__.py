"""GPTModel, its configuration, and the weight families that it can be read from and saved as."""

from typing import TYPE_CHECKING

from litegpt.models.config import GPTConfig
from litegpt.models.gpt import GPTModel

if TYPE_CHECKING:
    from litegpt.models.peft import LoRAConfig, add_lora, load_lora, merge_lora, save_lora

__all__ = [
    "GPTConfig",
    "GPTModel",
    "LoRAConfig",
    "add_lora",
    "load_lora",
    "merge_lora",
    "save_lora",
]


def __getattr__(name: str) -> object:
    """Adapters are imported when they are first asked for: few programs have any."""
    if name in __all__:
        from litegpt.models import peft

        return getattr(peft, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
