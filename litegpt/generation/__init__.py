"""Generation: sampling rules and the decode loop."""

from litegpt.generation.chat import Chat
from litegpt.generation.decode import Completion, complete, generate, stream
from litegpt.generation.penalties import Penalties
from litegpt.generation.prompt_cache import PromptCache
from litegpt.generation.sampling import Sampling
from litegpt.generation.scoring import Evaluation, evaluate, score_ids
from litegpt.generation.stopping import Stopping, StopStrings
from litegpt.generation.text_model import Score, TextCompletion, TextModel

__all__ = [
    "Chat",
    "Completion",
    "Evaluation",
    "Penalties",
    "PromptCache",
    "Sampling",
    "Score",
    "StopStrings",
    "Stopping",
    "TextCompletion",
    "TextModel",
    "complete",
    "evaluate",
    "generate",
    "score_ids",
    "stream",
]
