"""Training: data, optimizer, schedule, and the loop that joins them."""

from litegpt.training.callbacks import Callback, JsonLinesLog, Record, Samples
from litegpt.training.checkpoint import CheckpointError, Checkpoints
from litegpt.training.config import CHOICES, TrainConfig
from litegpt.training.corpus import tokenize
from litegpt.training.data import Batch, Data, DocumentWindows, TextWindows
from litegpt.training.documents import Corpus, Documents
from litegpt.training.interrupt import interrupts_deferred
from litegpt.training.lion import Lion
from litegpt.training.muon import Muon
from litegpt.training.optimizer import AdamW, Optimizer
from litegpt.training.optimizers import OPTIMIZERS
from litegpt.training.packing import PackedDocuments
from litegpt.training.parallel import Alone, DataParallel, launched
from litegpt.training.schedule import SCHEDULES, scheduled_rate
from litegpt.training.state import DivergenceError, RunState
from litegpt.training.trainer import Trainer

__all__ = [
    "CHOICES",
    "OPTIMIZERS",
    "SCHEDULES",
    "AdamW",
    "Alone",
    "Batch",
    "Callback",
    "CheckpointError",
    "Checkpoints",
    "Corpus",
    "Data",
    "DataParallel",
    "DivergenceError",
    "DocumentWindows",
    "Documents",
    "JsonLinesLog",
    "Lion",
    "Muon",
    "Optimizer",
    "PackedDocuments",
    "Record",
    "RunState",
    "Samples",
    "TextWindows",
    "TrainConfig",
    "Trainer",
    "interrupts_deferred",
    "launched",
    "scheduled_rate",
    "tokenize",
]
