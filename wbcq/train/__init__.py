"""Training of classifiers and its metrics. Importing this imports torch."""

from wbcq.train.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from wbcq.train.classify import Epoch, TrainResult, train_classifier
from wbcq.train.config import TrainConfig
from wbcq.train.metrics import Metrics, evaluate, flipped
from wbcq.train.predict import batches, decisions, predict

__all__ = [
    "CheckpointError",
    "Epoch",
    "Metrics",
    "TrainConfig",
    "TrainResult",
    "batches",
    "decisions",
    "evaluate",
    "flipped",
    "load_checkpoint",
    "predict",
    "save_checkpoint",
    "train_classifier",
]
