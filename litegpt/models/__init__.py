"""GPTModel, its configuration, and the weight families that it can be read from and saved as."""

from litegpt.models.config import GPTConfig
from litegpt.models.gpt import GPTModel
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
