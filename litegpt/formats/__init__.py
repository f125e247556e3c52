"""Bytes on disk: files written whole or not at all, model directories, and what is wrong in them.

Nothing here knows an architecture: names and shapes of tensors come from litegpt.models.
"""

from litegpt.formats.checkpoint import CONFIG, WEIGHTS, check_destination, write_checkpoint
from litegpt.formats.errors import ModelFormatError
from litegpt.formats.files import write_together
from litegpt.formats.json_fields import JsonFields, read_json
from litegpt.formats.weights import WeightsFile

__all__ = [
    "CONFIG",
    "WEIGHTS",
    "JsonFields",
    "ModelFormatError",
    "WeightsFile",
    "check_destination",
    "read_json",
    "write_checkpoint",
    "write_together",
]
