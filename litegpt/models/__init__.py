"""GPTModel, its configuration, and the weight families that it can be read from and saved as."""

from litegpt.models.config import GPTConfig
from litegpt.models.gpt import GPTModel

__all__ = ["GPTConfig", "GPTModel"]
