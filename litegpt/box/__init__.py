"""The model in the box: a small GPT that learned Shakespeare's plays by byte pairs.

The command line takes it when no model is named. How it was made, and what it costs in bits per
byte, is in docs/box.md.
"""

from pathlib import Path

NAME = "shakespeare"
FILE = Path(__file__).with_name("shakespeare.gguf")


def find(path: Path) -> Path:
    """The path, or the model in the box if that is its name and nothing else has it."""
    return FILE if path == Path(NAME) and not path.exists() else path
