"""Generation: sampling rules and the decode loop."""

from litegpt.generation.decode import Completion, complete, generate, stream
from litegpt.generation.penalties import Penalties
from litegpt.generation.prompt_cache import PromptCache
from litegpt.generation.sampling import Sampling
from litegpt.generation.stopping import Stopping, StopStrings

__all__ = [
    "Completion",
    "Penalties",
    "PromptCache",
    "Sampling",
    "StopStrings",
    "Stopping",
    "complete",
    "generate",
    "stream",
]
