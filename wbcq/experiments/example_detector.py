"""Makes the example detector of the package: ``python -m wbcq.experiments.example_detector``.

YOLOv3-tiny of a quarter of the width in INT8, trained on synthetic smears and, where they are
given, the training parts of BCCD and of Chula's WBC_Dataset. Their test parts are only reported.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from wbcq import models
from wbcq.data.synthetic import CLASSES
from wbcq.data.synthetic.smear_writing import SmearSet
from wbcq.detection.anchors import head_anchors
from wbcq.detection.augment import Loaded, TileConfig, Tiles, load_fields
from wbcq.detection.data import FieldSet, FieldSets, open_fields, synthetic_fields
from wbcq.detection.evaluate import Layout
from wbcq.detection.train import DetectConfig, DetectEpoch, set_anchors, train_detector
from wbcq.report.files import replacing

__all__ = ["ExampleDetector", "main", "make"]

ARCH = "yolov3_tiny"

_SCALES = {"bccd": 0.6, "chula": 0.8}
"""Factors that bring white cells to about a hundred pixels, as synthetic ones have them."""

_HALVES = (0.3, 0.7)
"""Difficulties of the two halves of the synthetic smears."""


@dataclass(frozen=True)
class ExampleDetector:
    """What to make and from what.

    Attributes:
        out: Folder for the model file, its figures and the training's checkpoint.
        bccd: The bccd folder, or None.
        chula: The chula_wbc5 folder, or None.
        smears: Synthetic training pictures of 640x640.
        width: Of the network.
        size: Of its input, pixels.
        epochs: Looks at the validation part.
        tiles: Training tiles of an epoch.
        tile: Their size, pixels.
        seed: Of all that is drawn.
    """

    out: Path
    bccd: Path | None = None
    chula: Path | None = None
    smears: int = 200
    width: float = 0.25
    size: int = 512
    epochs: int = 30
    tiles: int = 1500
    tile: int = 320
    seed: int = 0

    def training(self) -> DetectConfig:
        """How it is trained: cells of 50 to 200 pixels, stains and lamps that vary widely."""
        return DetectConfig(
            epochs=self.epochs,
            tiles=self.tiles,
            rate=3e-3,
            tile=TileConfig(size=self.tile, zoom=(0.5, 2.0), light=0.2),
            precision="bf16",
            device="cpu",
            seed=self.seed,
        )


def sources(config: ExampleDetector) -> dict[str, FieldSets]:
    """The data sets by name; boxes of white cells only."""
    counts = max(1, config.smears // 2), max(1, config.smears // 20), max(1, config.smears // 10)
    found = {}
    for difficulty in _HALVES:
        smears = SmearSet(
            1, 640, 640, seed=config.seed, difficulty=difficulty, shares=(0.2,) * len(CLASSES)
        )
        found[f"synthetic {difficulty:g}"] = synthetic_fields(smears, counts).with_classes(CLASSES)
    for name, folder in (("bccd", config.bccd), ("chula", config.chula)):
        if folder is not None:
            found[name] = open_fields(folder, classes=CLASSES, seed=config.seed)
    return found


def make(config: ExampleDetector) -> None:
    """Trains the detector; a broken training goes on."""
    torch.manual_seed(config.seed)
    config.out.mkdir(parents=True, exist_ok=True)
    sets = sources(config)
    train: list[Loaded] = []
    for name, found in sets.items():
        train += load_fields(found.train, scale=_SCALES.get(name, 1.0))
    val = FieldSet(CLASSES, tuple(f for found in sets.values() for f in found.val.fields))
    model = models.create(ARCH, num_classes=len(CLASSES), width=config.width, activation="relu")
    layout = _layout(model, train, config)
    set_anchors(model, layout.anchors)
    train_detector(
        model,
        train,
        val,
        layout,
        config.training(),
        checkpoint=config.out / "training.ckpt",
        on_epoch=_tell,
    )
    with replacing(config.out / f"{ARCH}.pt") as temporary:
        torch.save(model.state_dict(), temporary)


def _layout(model: nn.Module, train: Sequence[Loaded], config: ExampleDetector) -> Layout:
    """Anchors of what the network will see: cells at random scales."""
    tiles = Tiles(train, config.training().tile)
    rng = np.random.default_rng(config.seed)
    drawn = [tiles.draw(rng).boxes for _ in range(300)]
    sizes = np.concatenate([boxes[:, 2:] - boxes[:, :2] for boxes in drawn])
    strides = tuple(int(stride) for stride in model.strides)  # type: ignore[union-attr]
    anchors = head_anchors(sizes, len(strides), seed=config.seed)
    return Layout(CLASSES, anchors, strides, config.size)


def _tell(index: int, epoch: DetectEpoch) -> None:
    parts = f"box {epoch.box:.3f}, objectness {epoch.objectness:.3f}, classes {epoch.classes:.3f}"
    print(
        f"epoch {index + 1}: loss {epoch.loss:.3f} ({parts}), validation mAP "
        f"{epoch.map50:.3f} at 0.5, {epoch.map:.3f} over 0.5 to 0.95",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("example-detector"))
    for name in ("bccd", "chula"):
        parser.add_argument(f"--{name}", type=Path, help="its folder")
    for name in ("smears", "size", "epochs", "tiles", "tile", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(ExampleDetector, name))
    parser.add_argument("--width", type=float, default=ExampleDetector.width)
    make(ExampleDetector(**vars(parser.parse_args(arguments))))


if __name__ == "__main__":
    main()
