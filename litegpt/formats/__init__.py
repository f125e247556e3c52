"""Bytes on disk: files written whole or not at all, model directories, and what is wrong in them.

Nothing here knows an architecture: names and shapes of tensors come from litegpt.models.
"""

from litegpt.formats.checkpoint import CONFIG, check_destination, save_tensors, write_checkpoint
from litegpt.formats.errors import ModelFormatError
from litegpt.formats.files import (
    discard_directory,
    remove_leftovers,
    write_directory,
    write_together,
)
from litegpt.formats.gguf import GgufFile
from litegpt.formats.json_fields import JsonFields, parse_json, read_json
from litegpt.formats.token_file import TokenFile, TokenFileWriter
from litegpt.formats.weights import (
    SafetensorsFile,
    ShardedWeights,
    Weights,
    check_tensors,
    open_weights,
    refuse_pickle,
)

__all__ = [
    "CONFIG",
    "GgufFile",
    "JsonFields",
    "ModelFormatError",
    "SafetensorsFile",
    "ShardedWeights",
    "TokenFile",
    "TokenFileWriter",
    "Weights",
    "check_destination",
    "check_tensors",
    "discard_directory",
    "open_weights",
    "parse_json",
    "read_json",
    "refuse_pickle",
    "remove_leftovers",
    "save_tensors",
    "write_checkpoint",
    "write_directory",
    "write_together",
]
