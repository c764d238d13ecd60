"""Makes the example detector of the package: ``python -m wbcq.experiments.example_detector``.

YOLOv3-tiny of a quarter of the width in INT8, trained on synthetic smears and, where they are
given, the training parts of BCCD and of Chula's WBC_Dataset. Their test parts are only reported.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import wbcq
from wbcq import models
from wbcq.data.synthetic import CLASSES
from wbcq.data.synthetic.smear_writing import SmearSet
from wbcq.detection.augment import Loaded, TileConfig, load_fields
from wbcq.detection.data import FieldSet, FieldSets, open_fields, synthetic_fields
from wbcq.detection.evaluate import HeadModel, Layout, as_arrays
from wbcq.detection.job import anchors_of
from wbcq.detection.quantize import calibration_tiles, quantize_detector, with_metadata
from wbcq.detection.train import DetectConfig, DetectEpoch, set_anchors, train_detector
from wbcq.errors import WbcqError
from wbcq.experiments.detection_forms import (
    has_onnx_runtime,
    judge_detector,
    metrics_record,
    onnx_session,
    quantize_with_onnx_runtime,
)
from wbcq.experiments.pytorch_int8 import quantize_with_pytorch
from wbcq.models.pretrained import DETECTOR
from wbcq.report.files import replacing, write_text
from wbcq.report.tables import Column, Table

__all__ = ["ExampleDetector", "main", "make"]

ARCH = "yolov3_tiny"

_SCALES = {"bccd": 0.6, "chula": 0.8}
"""Factors that bring white cells to about a hundred pixels, as synthetic ones have them."""

CREDITS = {
    "bccd": "Pictures and boxes: Shenggan/BCCD_Dataset (MIT). Types of white cells: P. P. Banik et "
    "al., An automatic nucleus segmentation and CNN model based classification method (MIT)",
    "chula": "Chulalongkorn University, singgihbekti/WBC_Dataset (MIT)",
    "notice": "Not for clinical use.",
}

_README = """# The example detector: not for clinical use

`{file}` is a YOLOv3-tiny of {width:g} of the width in INT8 (wbcq, per channel,
calibrated after training) that finds white blood cells of five kinds in fields of view.
`wbcq differential` and `wbcq.models.pretrained.example_detector()` use it. It sees {size}x{size}
pixels at once, values 0 to 1, and expects white cells of about 50 to 200 pixels.

{table}

Found is the share of cells on which a box of any kind with a score of 0.25 lies; class right the
share of those whose box has the right kind. The average precision of a kind of which there are few
cells means little:

{cells}

Trained on {pictures}
for {epochs} epochs; the epoch ({best}) was chosen on their validation parts
(mAP {validation:.3f}). Neither real set names patients: cells of one person may be on both sides.

Made by

    python -m wbcq.experiments.example_detector --bccd bccd --chula chula_wbc5

## Credits

- bccd: pictures and boxes Shenggan/BCCD_Dataset, MIT; types of white cells P. P. Banik, R. Saha,
  K.-D. Kim, "An automatic nucleus segmentation and CNN model based classification method of white
  blood cell", MIT. The weights are an adaptation: numbers learned from its pictures, none of which
  is included.
- chula: singgihbekti/WBC_Dataset, Chulalongkorn University, MIT. The same holds.
- Synthetic smears: made by wbcq.
"""

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
        calibration: Windows that set the ranges of activations.
        peers: Tests INT8 per tensor and of other engines too; for ``figures.json``.
        pruned: Tests it with 10, 30 and 50 % of its weights pruned too, as the study did.
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
    calibration: int = 128
    peers: bool = False
    pruned: bool = False
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


def make(config: ExampleDetector) -> dict[str, Any]:
    """Trains the detector, quantizes, tests and writes it; a broken training goes on.

    Returns:
        The figures, which are in the file's metadata too.

    Raises:
        DatasetError: A data set cannot be used.
        OSError: The output folder cannot be written.
    """
    torch.manual_seed(config.seed)
    config.out.mkdir(parents=True, exist_ok=True)
    sets = sources(config)
    train: list[Loaded] = []
    for name, found in sets.items():
        train += load_fields(found.train, scale=_SCALES.get(name, 1.0))
    val = FieldSet(CLASSES, tuple(f for found in sets.values() for f in found.val.fields))
    model = models.create(ARCH, num_classes=len(CLASSES), width=config.width, activation="relu")
    layout = anchors_of(model, train, config.training(), CLASSES, config.size)
    set_anchors(model, layout.anchors)
    result = train_detector(
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
    best = result.history[result.best_epoch]
    figures: dict[str, Any] = {
        "epochs": config.epochs,
        "best_epoch": result.best_epoch + 1,
        "validation_map50": round(best.map50, 4),
        "pictures": {name: len(found.train) for name, found in sets.items()},
    }
    batches = calibration_tiles(train, config.size, config.calibration, seed=config.seed)
    quantized = quantize_detector(model, batches, layout)
    forms: dict[str, HeadModel] = {"fp32": as_arrays(model), "int8": quantized}
    if config.peers:
        forms |= _peers(config, model, layout, batches)
    if config.pruned:
        forms |= _pruned(model, layout, batches)
    figures["tests"] = {
        name: {
            "pictures": len(found.test),
            **{
                form: metrics_record(judge_detector(run, layout, found.test))
                for form, run in forms.items()
            },
        }
        for name, found in sets.items()
    }
    metadata = {
        "model": f"{ARCH}, width {config.width:g}",
        "trained_on": ", ".join(found.description for found in sets.values()),
        "results": {**figures, "tests": _own(figures["tests"])},
        "credits": CREDITS,
    }
    with_metadata(quantized, metadata).save(config.out / DETECTOR)
    write_text(config.out / "README-detector.md", _readme(config, figures))
    write_text(config.out / "figures.json", json.dumps(figures, indent=1) + "\n")
    return figures


def _own(tests: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Without the figures of other forms: a model file speaks of itself."""
    kept = ("pictures", "fp32", "int8")
    return {name: {key: found[key] for key in kept} for name, found in tests.items()}


def _peers(
    config: ExampleDetector, model: nn.Module, layout: Layout, batches: Sequence[Tensor]
) -> dict[str, HeadModel]:
    """The network in INT8 by others, and ours per tensor."""
    runs: dict[str, HeadModel] = {
        "ptq-per-tensor": quantize_detector(model, batches, layout, weights="per_tensor")
    }
    tuples = [(batch,) for batch in batches]
    for kind in ("tensor", "channel"):
        script = quantize_with_pytorch(model, tuples, per_channel=kind == "channel")
        runs[f"pytorch-per-{kind}"] = as_arrays(script)
    if has_onnx_runtime():
        path = config.out / "onnxruntime.onnx"
        quantize_with_onnx_runtime(model, batches, path)
        runs["onnxruntime-per-channel"] = onnx_session(path)
    return runs


def _pruned(model: nn.Module, layout: Layout, batches: Sequence[Tensor]) -> dict[str, HeadModel]:
    """The network with its smallest weights pruned, all layers together, without fine-tuning."""
    runs: dict[str, HeadModel] = {}
    for percent in (10, 30, 50):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wbcq.DenseLayersWarning)
            sparse = wbcq.prune(model, percent / 100, pattern="unstructured", scope="global")
        runs[f"fp32-pruned-{percent}"] = as_arrays(sparse.eval())
        runs[f"int8-pruned-{percent}"] = quantize_detector(sparse, batches, layout)
    return runs


def _readme(config: ExampleDetector, figures: dict[str, Any]) -> str:
    table = Table(
        [
            Column("pictures"),
            Column("count", "d"),
            Column("cells", "d"),
            Column("dtype"),
            Column("mAP at 0.5", ".3f"),
            Column("mAP 0.5-0.95", ".3f"),
            Column("found %", ".1f"),
            Column("class right %", ".1f"),
            *(Column(f"AP {name}", ".3f") for name in CLASSES),
        ]
    )
    for name, found in figures["tests"].items():
        for dtype in ("fp32", "int8"):
            result = found[dtype]
            table.add(
                f"{name}, test",
                found["pictures"],
                sum(result["cells"].values()),
                dtype.upper(),
                result["map50"],
                result["map"],
                100 * result["found"],
                100 * result["class_accuracy"],
                *(result["ap50"][kind] for kind in CLASSES),
            )
    cells = Table([Column("cells tested"), *(Column(name, "d") for name in CLASSES)])
    for name, found in figures["tests"].items():
        cells.add(name, *(found["int8"]["cells"][kind] for kind in CLASSES))
    return _README.format(
        file=DETECTOR,
        size=config.size,
        width=config.width,
        table=table.to_markdown(),
        cells=cells.to_markdown(),
        pictures=", ".join(f"{n} of {name}" for name, n in figures["pictures"].items()),
        epochs=figures["epochs"],
        best=figures["best_epoch"],
        validation=figures["validation_map50"],
    )


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
    for name in ("smears", "size", "epochs", "tiles", "tile", "calibration", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(ExampleDetector, name))
    parser.add_argument("--peers", action="store_true", help="test other INT8 forms too")
    parser.add_argument("--pruned", action="store_true", help="test it pruned too")
    parser.add_argument("--width", type=float, default=ExampleDetector.width)
    config = ExampleDetector(**vars(parser.parse_args(arguments)))
    try:
        figures = make(config)
    except WbcqError as error:
        parser.exit(1, f"error: {error}\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
