"""Generation: sampling rules and the decode loop."""

from litegpt.generation.decode import generate, stream
from litegpt.generation.sampling import Sampling

__all__ = ["Sampling", "generate", "stream"]
