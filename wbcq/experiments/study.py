"""The study's own figures, which ours stand beside."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BITS_F1", "COLOUR", "FOLDS", "PRUNING", "QUANTIZATION", "UNCLEAR", "Figures"]


@dataclass(frozen=True)
class Figures:
    """One row of the study's classification table.

    Attributes:
        accuracy: In percent.
        f1: Macro F1.
        ms: For a batch of 8 pictures of 224 pixels, on a CPU that is not named.
        mb: Size.
    """

    accuracy: float
    f1: float
    ms: float
    mb: float


QUANTIZATION: dict[tuple[str, str], Figures] = {
    ("resnet18", "fp32"): Figures(95.24, 0.812, 102, 44.7),
    ("resnet18", "ptq"): Figures(94.72, 0.737, 76, 11.3),
    ("resnet18", "qat"): Figures(94.96, 0.750, 76, 11.3),
    ("shufflenet_v2_x1_0", "fp32"): Figures(95.10, 0.730, 31, 5.2),
    ("shufflenet_v2_x1_0", "ptq-per-tensor"): Figures(88.01, 0.477, 171, 1.55),
    ("shufflenet_v2_x1_0", "ptq-per-channel"): Figures(94.64, 0.749, 186, 1.55),
    ("shufflenet_v2_x1_0", "qat"): Figures(79.01, 0.357, 170, 1.55),
    ("mobilenet_v2", "fp32"): Figures(95.28, 0.770, 67, 8.92),
    ("mobilenet_v2", "ptq-per-tensor"): Figures(91.18, 0.660, 31, 2.65),
    ("mobilenet_v2", "ptq-per-channel"): Figures(94.45, 0.749, 44, 2.65),
    ("mobilenet_v2", "qat"): Figures(93.21, 0.663, 32, 2.65),
    ("mm_mimo3", "fp32"): Figures(95.94, 0.789, 167, 85.3),
    ("mm_mimo3", "ptq"): Figures(94.79, 0.741, 142, 21.4),
    ("mm_mimo3", "qat"): Figures(91.44, 0.635, 150, 21.4),
    ("regnet_x_400mf", "fp32"): Figures(94.88, 0.741, 65, 20.7),
    ("regnet_x_400mf", "ptq"): Figures(94.76, 0.741, 33, 5.25),
    ("mobilenet_v3_small", "fp32"): Figures(94.84, 0.732, 23, 6.22),
    ("mobilenet_v3_small", "ptq"): Figures(75.97, 0.506, 17, 1.82),
    ("shufflenet_v2_x0_5", "fp32"): Figures(94.25, 0.703, 27, 1.53),
    ("shufflenet_v2_x0_5", "ptq"): Figures(93.37, 0.682, 30, 0.54),
}
"""By architecture and method; ``"ptq"`` where the study does not say per tensor or per channel."""

UNCLEAR = tuple(arch for arch, method in QUANTIZATION if method == "ptq")
"""Architectures whose PTQ is not told to be per tensor or per channel."""

COLOUR: dict[str, tuple[float, float]] = {
    "purple": (95.30, 0.763),
    "green": (94.37, 0.734),
    "red": (93.96, 0.736),
    "fluor": (92.81, 0.653),
}
"""Accuracy in percent and macro F1 of ResNet-18 by modality."""

BITS_F1: dict[int, float] = {32: 0.727, 16: 0.727, 8: 0.719, 6: 0.684, 4: 0.183}
"""Macro F1 of ResNet-18 by bits of weights and activations alike."""

DETECTION: dict[str, tuple[float, float, float]] = {
    "fp32": (0.645, 2517, 246),
    "int8": (0.643, 1550, 61.7),
}
"""YOLOv3 at 512x512, INT8 per tensor: mAP at 0.5, milliseconds for a batch of 2, megabytes."""

DETECTION_PRUNING: dict[int, tuple[float, ...]] = {
    0: (92.57, 0.645, 0.208, 0.798, 0.765, 0.535, 0.916),
    10: (92.46, 0.701, 0.500, 0.804, 0.761, 0.538, 0.904),
    30: (87.34, 0.407, 0.0, 0.201, 0.651, 0.341, 0.841),
    50: (79.29, 0.226, 0.0, 0.032, 0.369, 0.017, 0.712),
}
"""By percentage of weights pruned: class accuracy %, mAP, and average precision of each class."""

PRUNING: dict[str, dict[int, float]] = {
    "resnet18": {0: 94.9, 30: 94.8, 50: 94.6, 60: 94.6, 70: 92.9, 80: 84.8, 90: 64.5},
    "mm_mimo3": {0: 95.9, 30: 95.7, 50: 94.8, 60: 93.9, 70: 88.6, 80: 68.8, 90: 51.8},
}
"""Accuracy in percent by percentage of weights pruned: unstructured, global, FP32, not tuned."""

FOLDS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((37, 541, 3558, 99, 7692), (10, 136, 890, 25, 1924)),
    ((37, 541, 3558, 99, 7693), (10, 136, 890, 25, 1923)),
    ((38, 542, 3558, 99, 7693), (9, 135, 890, 25, 1923)),
    ((38, 542, 3559, 99, 7693), (9, 135, 889, 25, 1923)),
    ((38, 542, 3559, 100, 7693), (9, 135, 889, 24, 1923)),
)
"""Basophils, eosinophils, lymphocytes, monocytes and neutrophils that train and that validate."""
