"""Models by their names on the Hugging Face hub."""

import re
from pathlib import Path

from litegpt.text.extras import import_extra

_FILES = ["config.json", "*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.txt"]
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def local(path: Path) -> Path:
    """The path itself, or, where there is none and it reads as owner/name, what the hub has."""
    return fetch(path.as_posix()) if not path.exists() and is_name(path.as_posix()) else path


def is_name(name: str) -> bool:
    """Whether it reads as owner/name."""
    return _NAME.fullmatch(name) is not None


def fetch(name: str) -> Path:
    """The directory of a model of the hub, from its cache or downloaded to it.

    OSError saying why in one line; MissingExtraError if the package isn't installed.
    """
    what = f"{name}: no such directory or file; taking it from the hub"
    hub = import_extra("huggingface_hub", "hf", what)
    try:
        return Path(hub.snapshot_download(name, allow_patterns=_FILES))
    except (OSError, ValueError) as error:  # of the network, of the disk; of the name
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OSError(f"{what} failed: {reason}") from error
