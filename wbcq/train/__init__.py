"""Training of classifiers and its metrics. Importing this imports torch."""

from wbcq.train.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from wbcq.train.classify import Epoch, TrainResult, train_classifier
from wbcq.train.config import TrainConfig
from wbcq.train.metrics import Metrics, evaluate, flipped
from wbcq.train.predict import batches, decisions, predict
from wbcq.train.processes import Processes, process_group
from wbcq.train.tasks import class_scores, inputs_of

__all__ = [
    "CheckpointError",
    "Epoch",
    "Metrics",
    "Processes",
    "TrainConfig",
    "TrainResult",
    "batches",
    "class_scores",
    "decisions",
    "evaluate",
    "flipped",
    "inputs_of",
    "load_checkpoint",
    "predict",
    "process_group",
    "save_checkpoint",
    "train_classifier",
]
