"""Training: data, optimizer, schedule, and the loop that joins them."""

from litegpt.training.callbacks import Callback, JsonLinesLog, Record
from litegpt.training.config import TrainConfig
from litegpt.training.data import TextWindows
from litegpt.training.interrupt import interrupts_deferred
from litegpt.training.optimizer import AdamW
from litegpt.training.schedule import warmup_cosine
from litegpt.training.trainer import Trainer

__all__ = [
    "AdamW",
    "Callback",
    "JsonLinesLog",
    "Record",
    "TextWindows",
    "TrainConfig",
    "Trainer",
    "interrupts_deferred",
    "warmup_cosine",
]
