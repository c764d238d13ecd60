"""``wbcq predict``: which cell a picture shows. It needs no torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from wbcq.cli.inputs import ModelInputError, class_shares, picture_preprocess, read_pixels
from wbcq.report.tables import Column, Table

if TYPE_CHECKING:
    from wbcq.data.transforms import Preprocess
    from wbcq.engine.model import QuantizedModel

__all__ = ["predict"]

_BATCH = 32


@dataclass(frozen=True)
class _Answer:
    """For one picture: each class's share by name, or why there is none."""

    picture: Path
    shares: dict[str, float]
    error: str = ""

    def best(self) -> list[tuple[str, float]]:
        """Classes with their shares, the likeliest first."""
        return sorted(self.shares.items(), key=lambda item: -item[1])

    def record(self) -> dict[str, Any]:
        if self.error:
            return {"picture": str(self.picture), "error": self.error}
        name, share = self.best()[0]
        return {
            "picture": str(self.picture),
            "class": name,
            "confidence": share,
            "shares": self.shares,
        }


def predict(
    pictures: Annotated[
        list[Path],
        typer.Argument(
            metavar="PICTURE...",
            help="Pictures of single cells, in any format that Pillow reads.",
            show_default=False,
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A model file (.wbcq) [the example model that comes with wbcq].",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads [physical cores].", show_default=False)
    ] = None,
) -> None:
    """Tell which white blood cell each picture shows.

    Without `--model` it uses a small example: ShuffleNetV2 x0.5 in INT8, trained on stained single
    cells of the PBC data set. It knows basophils, eosinophils, lymphocytes, monocytes and
    neutrophils, and takes everything for one of them. Not for clinical use.

    A picture that cannot be read is reported, the others are answered, and the exit code is 1.

    For example:

    - `wbcq predict cell.jpg`
    - `wbcq predict smear/*.png --model cells.wbcq --json`
    """
    import wbcq

    if model is None:
        loaded = wbcq.example_model(threads=threads)
    else:
        loaded = wbcq.load(model, threads=threads)
    named = "the example model" if model is None else str(model)
    try:
        preprocess = picture_preprocess(loaded)
        classes = _classes(loaded)
    except ModelInputError as error:
        raise ModelInputError(
            f"{named}: {error}. Remedy: a classifier of single pictures, or call it from Python"
        ) from None
    answers = list(_answers(pictures, loaded, preprocess, classes))
    for answer in answers:
        if answer.error:
            print(f"wbcq: error: {answer.error}", file=sys.stderr)
    if as_json:
        print(json.dumps(_record(loaded, classes, answers), indent=2))
    elif any(not answer.error for answer in answers):
        _show(answers, loaded)
    if any(answer.error for answer in answers):
        raise typer.Exit(1)


def _classes(model: QuantizedModel) -> tuple[str, ...]:
    shapes = model.output_shapes
    if len(shapes) != 1 or len(shapes[0]) != 2:
        raise ModelInputError(
            f"the model gives {', '.join(str(list(shape)) for shape in shapes)}, not a score of "
            "each class"
        )
    names = model.metadata.get("classes") or ()
    count = shapes[0][1]
    return tuple(names) if len(names) == count else tuple(f"class {k}" for k in range(count))


def _answers(
    paths: Sequence[Path],
    model: QuantizedModel,
    preprocess: Preprocess,
    classes: tuple[str, ...],
) -> Iterable[_Answer]:
    """In the order of the paths."""
    from wbcq.data.pictures import DatasetError

    channels = model.input_shapes[0][1]
    for start in range(0, len(paths), _BATCH):
        chunk = paths[start : start + _BATCH]
        pixels, errors = {}, {}
        for index, path in enumerate(chunk):
            try:
                if path.is_dir():
                    raise DatasetError(f"{path}: a folder. Remedy: name its pictures, {path}/*")
                pixels[index] = read_pixels(path, preprocess, channels)
            except DatasetError as error:
                errors[index] = " ".join(str(error).split())
        shares = class_shares(model(np.stack(list(pixels.values())))) if pixels else ()
        rows = dict(zip(pixels, shares, strict=True))
        for index, path in enumerate(chunk):
            row = [float(share) for share in rows.get(index, ())]
            found = dict(zip(classes, row, strict=True)) if row else {}
            yield _Answer(path, found, errors.get(index, ""))


def _record(
    model: QuantizedModel, classes: tuple[str, ...], answers: Sequence[_Answer]
) -> dict[str, Any]:
    told: dict[str, Any] = {
        key: model.metadata[key] for key in ("model", "trained_on") if key in model.metadata
    }
    return {
        **told,
        **_notice(model),
        "classes": list(classes),
        "pictures": [answer.record() for answer in answers],
    }


def _show(answers: Sequence[_Answer], model: QuantizedModel) -> None:
    from rich.console import Console

    table = Table(
        [
            Column("picture"),
            Column("class"),
            Column("confidence %", ".1f"),
            Column("or else"),
            Column("%", ".1f"),
        ]
    )
    for answer in answers:
        if not answer.error:
            (first, share), *others = answer.best()
            other, rest = others[0] if others else (None, None)
            rest_percent = None if rest is None else 100 * rest
            table.add(str(answer.picture), first, 100 * share, other, rest_percent)
    console = Console()
    if console.is_terminal:
        console.print(table.to_rich())
    else:
        print(table.to_markdown())
    for text in _notice(model).values():
        print(text, file=sys.stderr)


def _notice(model: QuantizedModel) -> dict[str, str]:
    credit = model.metadata.get("credits")
    notice = credit.get("notice") if isinstance(credit, dict) else None
    return {"notice": str(notice)} if notice else {}
