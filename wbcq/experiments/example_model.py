"""Makes the example model that the package ships: ``python -m wbcq.experiments.example_model``.

ShuffleNetV2 x0.5 in INT8, trained on the five white blood cell classes of pbc_wbc5 with its
published split. The epoch is chosen on the validation part; the test part and a second data set,
of another microscope and stain, are only reported.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import wbcq
from wbcq import models
from wbcq.data import ArrayPictures, Augment, Preprocess, load_splits, open_bcisc, preload
from wbcq.engine.program_file import program_bytes
from wbcq.errors import WbcqError
from wbcq.models.pretrained import EXAMPLE
from wbcq.models.shufflenetv2 import ShuffleNetV2
from wbcq.models.shufflenetv2_trunk import load_authors_trunk
from wbcq.report.files import replacing, write_text
from wbcq.report.tables import Column, Table
from wbcq.train import (
    Epoch,
    Metrics,
    TrainConfig,
    batches,
    decisions,
    evaluate,
    load_checkpoint,
    predict,
    train_classifier,
)

__all__ = ["ExampleConfig", "main", "make"]

ARCH = "shufflenet_v2_x0_5"

CREDITS = {
    "data": "A. Acevedo, A. Merino, S. Alferez, A. Molina, L. Boldu, J. Rodellar: A dataset of "
    "microscopic peripheral blood cell images for development of automatic recognition systems. "
    "Data in Brief 30 (2020) 105474. Pictures: CC BY 4.0",
    "split": "WBCAtt, NeurIPS 2023 (MIT)",
    "initial weights": "ShuffleNetV2 x0.5 trunk of dog-qiuqiu/FastestDet (BSD-3-Clause)",
    "notice": "Not for clinical use.",
}


_README = """# The example model: not for clinical use

`{file}` is a ShuffleNetV2 x0.5 in INT8 (wbcq, per channel, calibrated after training) that tells
five kinds of white blood cells apart. `wbcq predict PICTURE` and `wbcq.example_model()` use it.
Pictures are cropped to {crop:g} of their shorter side and resized to {size}x{size}, values 0 to 1.

{table}

The columns behind F1 are recalls. INT8 and FP32 decide differently on {flips} of the first set's
pictures. `bcisc` comes from another microscope and stain: expect its figures, not those of the
first rows, for pictures of your own. No model or epoch was chosen on it, but colours are varied
more widely in training than in a first attempt, which got 62.7 % there.

Trained on {train} pictures for {epochs} epochs; the epoch ({best}) was chosen on {val} others, of
which it got {validation:.2f} % right. The data name no patients, so cells of one person may be on
both sides.

Made by

    python -m wbcq.experiments.example_model \\
        --data pbc_wbc5 --shifted bcisc --trunk shufflenetv2.pth

## Credits

- Pictures: A. Acevedo, A. Merino, S. Alferez, A. Molina, L. Boldu, J. Rodellar, "A dataset of
  microscopic peripheral blood cell images for development of automatic recognition systems", Data
  in Brief 30 (2020) 105474, doi:10.17632/snkd93bnjr.1, CC BY 4.0. The weights are an adaptation:
  numbers learned from {train} of its pictures. None of them is included.
- Split: WBCAtt (NeurIPS 2023), MIT.
- Initial weights of the trunk: dog-qiuqiu/FastestDet, BSD-3-Clause (`LICENSE-trunk.md`).
- Second test set: H. Fan et al., "LeukocyteMask", Journal of Biophotonics 2019, Apache-2.0.
"""


@dataclass(frozen=True)
class ExampleConfig:
    """What to make and from what.

    Attributes:
        data: The pbc_wbc5 folder.
        out: Folder for the model file, its figures and the training's checkpoint.
        trunk: Initial weights of the trunk in its authors' layout (trained on BGR), or None.
        shifted: The bcisc folder, or None.
        size: Pixels along each side.
        crop: Share of a picture's shorter side.
        epochs: Passes over the training pictures.
        seed: Of initial weights and training.
    """

    data: Path
    out: Path
    trunk: Path | None = None
    shifted: Path | None = None
    size: int = 128
    crop: float = 0.75
    epochs: int = 60
    seed: int = 0

    def training(self) -> TrainConfig:
        """How it is trained; colours vary widely, since other laboratories stain otherwise."""
        return TrainConfig(
            epochs=self.epochs,
            batch=32,
            rate=2e-3,
            weight_decay=0.02,
            label_smoothing=0.1,
            ema=0.995,
            seed=self.seed,
            augment=Augment(zoom=0.25, light=0.4),
        )


def make(config: ExampleConfig) -> dict[str, Any]:
    """Trains, quantizes, tests and writes the model file; a broken training goes on.

    Returns:
        The figures, which are in the file's metadata too.

    Raises:
        DatasetError: A data set cannot be used.
        CheckpointError: The trunk cannot be read.
        OSError: The output folder cannot be written.
    """
    torch.manual_seed(config.seed)
    preprocess = Preprocess(config.size, config.crop)
    splits = load_splits(config.data, preprocess)
    for note in splits.notes:
        print(note)
    train, val, test = (preload(part)[0] for part in (splits.train, splits.val, splits.test))
    tests = {"pbc_wbc5 test": test}
    if config.shifted is not None:
        tests["bcisc, shifted"] = preload(open_bcisc(config.shifted, preprocess))[0]
    model = models.create(ARCH, num_classes=len(train.classes))
    assert isinstance(model, ShuffleNetV2)
    if config.trunk is not None:
        load_authors_trunk(model, load_checkpoint(config.trunk), bgr=True)
    config.out.mkdir(parents=True, exist_ok=True)
    result = train_classifier(
        model,
        train,
        val,
        config.training(),
        checkpoint=config.out / "training.ckpt",
        on_epoch=_tell,
    )
    with replacing(config.out / f"{ARCH}.pt") as temporary:
        torch.save(model.state_dict(), temporary)
    quantized = _quantized(model, train)
    figures = {
        "epochs": config.epochs,
        "best_epoch": result.best_epoch + 1,
        "validation_accuracy": result.history[result.best_epoch].val_accuracy,
        "pictures": {"train": len(train), "val": len(val)},
        "tests": {name: _figures(model, quantized, part) for name, part in tests.items()},
    }
    metadata = {
        **quantized.metadata,
        "model": ARCH,
        "trained_on": f"pbc_wbc5, published split, centre crop {config.crop:g}",
        "preprocess": preprocess.to_metadata(),
        "results": figures,
        "credits": CREDITS,
    }
    program = dataclasses.replace(quantized.program, metadata=metadata)
    wbcq.QuantizedModel(program_bytes(program)).save(config.out / EXAMPLE)
    write_text(config.out / "README.md", _readme(config, figures, train.classes))
    return figures


def _readme(config: ExampleConfig, figures: dict[str, Any], classes: Sequence[str]) -> str:
    results = Table(
        [
            Column("pictures"),
            Column("count", "d"),
            Column("dtype"),
            Column("accuracy %", ".2f"),
            Column("macro F1", ".3f"),
            *(Column(f"{name} %", ".1f") for name in classes),
        ]
    )
    for name, figure in figures["tests"].items():
        for dtype in ("fp32", "int8"):
            found = figure[dtype]
            recall = [100 * found["recall"][kind] for kind in classes]
            accuracy, f1 = 100 * found["accuracy"], found["macro_f1"]
            results.add(name, figure["pictures"], dtype.upper(), accuracy, f1, *recall)
    pictures, flips = figures["pictures"], figures["tests"]["pbc_wbc5 test"]["flips"]
    return _README.format(
        file=EXAMPLE,
        table=results.to_markdown(),
        flips=flips,
        size=config.size,
        crop=config.crop,
        epochs=figures["epochs"],
        best=figures["best_epoch"],
        validation=100 * figures["validation_accuracy"],
        **pictures,
    )


def _tell(index: int, epoch: Epoch) -> None:
    print(f"epoch {index + 1}: loss {epoch.loss:.4f}, validation {epoch.val_accuracy:.4f}")


def _quantized(model: nn.Module, train: ArrayPictures) -> wbcq.QuantizedModel:
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(train))[:512]
    config = wbcq.QuantConfig(class_names=train.classes)
    data = [pixels for pixels, _ in batches(train.subset(chosen), 32)]
    return wbcq.quantize(model, data, config=config, progress=False)


def _figures(
    model: nn.Module, quantized: wbcq.QuantizedModel, test: ArrayPictures
) -> dict[str, Any]:
    full, integer = (decisions(predict(run, test)) for run in (model, quantized))
    return {
        "pictures": len(test),
        "fp32": _record(evaluate(test.labels, full, test.classes)),
        "int8": _record(evaluate(test.labels, integer, test.classes)),
        "flips": int(np.count_nonzero(full != integer)),
    }


def _record(metrics: Metrics) -> dict[str, Any]:
    recall = dict(zip(metrics.classes, np.round(metrics.recall, 4).tolist(), strict=True))
    return {
        "accuracy": round(metrics.accuracy, 4),
        "macro_f1": round(metrics.macro_f1, 4),
        "recall": recall,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="the pbc_wbc5 folder")
    parser.add_argument("--out", type=Path, default=Path("example-model"))
    parser.add_argument("--trunk", type=Path, help="initial weights, shufflenetv2.pth")
    parser.add_argument("--shifted", type=Path, help="the bcisc folder, tested only")
    for name in ("size", "epochs", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(ExampleConfig, name))
    parser.add_argument("--crop", type=float, default=ExampleConfig.crop)
    config = ExampleConfig(**vars(parser.parse_args(arguments)))
    try:
        figures = make(config)
    except WbcqError as error:
        parser.exit(1, f"error: {error}\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
