#!/usr/bin/env python3
"""How well and how fast cells are counted: docs/results/differential.{json,md}.

Synthetic smears that no model has seen, and the test parts of public data if --data names their
folder. Three ways of naming a cell are compared on the same boxes. --time measures two pictures of
4000x3000 from file to results, decoding and writing included; the machine should do nothing else.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from machine import cpu_name
from PIL import Image

from wbcq.data.synthetic import CLASSES
from wbcq.data.synthetic.smears import render_smear
from wbcq.detection import Detections, iou
from wbcq.differential import Cell, CellCounter, Rules, count_pictures
from wbcq.differential.cells import AT_THE_EDGE
from wbcq.differential.models import load_counter
from wbcq.report.files import write_text
from wbcq.report.tables import Column, Table

HELD_BACK = 20_260_000
"""Seed of smears that no training draws."""

PUBLIC = {"bccd": ("bccd", 0.6), "chula": ("chula_wbc5", 0.8)}
"""Folder, and the factor that brings white cells to about a hundred pixels."""

WAYS = ("detector", "classifier", "both")

ABOUT = """\
Made by `python benchmarks/differential.py`; the models are those that come with the package. A cell
counts as found where a box overlaps it by more than 0.4 (intersection over union); *right* is the
share of found cells whose class is right, *extra* are boxes without a cell: *at the edge* of a
picture they show cells whose middle is outside, which the truth leaves out. *Reviewed* cells are
doubtful, disputed or cut by the picture's edge; *right, others* is the share among the found cells
that nobody need look at."""


Fields = Iterator[tuple[np.ndarray, Detections]]
"""Pictures, uint8 [H, W, 3], and their white cells."""


def synthetic(count: int, shares: tuple[float, ...] | None) -> Fields:
    """Pictures of 1280x1024 and their white cells."""
    for index in range(count):
        options = {} if shares is None else {"shares": shares}
        smear = render_smear(1280, 1024, seed=HELD_BACK, index=index, **options)
        boxes, labels = smear.white
        yield smear.picture, Detections(boxes, np.ones(len(boxes), np.float32), labels)


def public(folder: Path) -> Fields:
    """Pictures of a test part and their white cells."""
    from wbcq.detection.data import open_fields

    for view in open_fields(folder, classes=CLASSES).test.fields:
        scores = np.ones(len(view.boxes), np.float32)
        yield view.read(), Detections(view.boxes, scores, view.labels)


def matched(cells: list[Cell], truth: Detections) -> list[int]:
    """For each cell the true one that it shows, or -1; each true one once, best overlap first."""
    boxes = np.array([cell.box for cell in cells], np.float32).reshape(-1, 4)
    overlaps = iou(boxes, truth.boxes)
    owner = [-1] * len(cells)
    while overlaps.size and overlaps.max() > 0.4:
        row, column = np.unravel_index(int(overlaps.argmax()), overlaps.shape)
        owner[row] = int(column)
        overlaps[row], overlaps[:, column] = 0, 0
    return owner


def measure(counters: dict[str, CellCounter], fields: Fields) -> dict:
    """Counts of each class, and how many cells are found and named right, for each way."""
    names = list(CLASSES)
    result: dict = {"pictures": 0, "true": [0] * len(names), "ways": {}}
    for way in counters:
        result["ways"][way] = {
            "counted": [0] * len(names),
            "found": 0,
            "right": 0,
            "extra": 0,
            "extra at the edge": 0,
            "review": 0,
            "right without review": 0,
            "matched without review": 0,
        }
    for picture, truth in fields:
        result["pictures"] += 1
        for label in truth.classes:
            result["true"][int(label)] += 1
        for way, counter in counters.items():
            told = result["ways"][way]
            cells = counter.count(picture)
            for cell, owner in zip(cells, matched(cells, truth), strict=True):
                told["counted"][names.index(cell.kind)] += 1
                told["review"] += bool(cell.review)
                if owner < 0:
                    told["extra"] += 1
                    told["extra at the edge"] += AT_THE_EDGE in cell.review
                    continue
                right = names[int(truth.classes[owner])] == cell.kind
                told["found"] += 1
                told["right"] += right
                if not cell.review:
                    told["matched without review"] += 1
                    told["right without review"] += right
    return result


def timing(counter: CellCounter) -> dict:
    """Two pictures of 4000x3000: from PNG files to all results, and the same without the files."""
    with tempfile.TemporaryDirectory() as folder:
        paths, pictures = [], []
        for index in range(2):
            cached = Path(tempfile.gettempdir()) / f"wbcq-smear-{HELD_BACK + 1}-{index}.png"
            if not cached.exists():
                picture = render_smear(4000, 3000, seed=HELD_BACK + 1, index=index).picture
                Image.fromarray(picture).save(cached)
            paths.append(cached)
            pictures.append(np.asarray(Image.open(cached).convert("RGB")))
        counter.count(pictures[0][:512, :512])
        alone = []
        for picture in pictures:
            start = time.perf_counter()
            counter.count(picture)
            alone.append(time.perf_counter() - start)
        start = time.perf_counter()
        count = count_pictures(counter, paths, out=folder)
        whole = time.perf_counter() - start
    return {
        "seconds for two, files and results included": round(whole, 2),
        "seconds of each, counting alone": [round(seconds, 2) for seconds in alone],
        "cells": len(count.cells),
        "threads": counter.detector.model.threads,
        "cpu": cpu_name(),
        "peak MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def percent(part: int, whole: int) -> float | None:
    """100 part / whole."""
    return 100 * part / whole if whole else None


def page(results: dict) -> str:
    """The results as Markdown."""
    lines = ["# Counting white cells", ""]
    lines += [ABOUT, ""]
    for name, result in results["sets"].items():
        total = sum(result["true"])
        lines += [f"## {name}: {result['pictures']} pictures, {total} white cells", ""]
        table = Table(
            [
                Column("named by"),
                Column("found %", ".1f"),
                Column("extra", "d"),
                Column("at the edge", "d"),
                Column("right %", ".1f"),
                Column("reviewed %", ".1f"),
                Column("right, others %", ".1f"),
            ]
        )
        for way, told in result["ways"].items():
            table.add(
                way,
                percent(told["found"], total),
                told["extra"],
                told["extra at the edge"],
                percent(told["right"], told["found"]),
                percent(told["review"], sum(told["counted"])),
                percent(told["right without review"], told["matched without review"]),
            )
        lines += [table.to_markdown(), ""]
        table = Table([Column("cells"), *(Column(name, "d") for name in CLASSES)])
        table.add("true", *result["true"])
        for way in ("detector", "classifier"):
            table.add(f"counted by the {way}", *result["ways"][way]["counted"])
        lines += [table.to_markdown(), ""]
    if "timing" in results:
        lines += ["## Time: two pictures of 4000x3000", ""]
        lines += [f"- {key}: {value}" for key, value in results["timing"].items()]
        lines += [""]
    return "\n".join(lines)


def main() -> None:
    """Measures what is asked for; results of earlier runs stay."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--classifier", type=Path)
    parser.add_argument("--data", type=Path, help="folder of bccd and chula_wbc5")
    parser.add_argument("--smears", type=int, default=30, help="pictures of each synthetic set")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--time", action="store_true", help="measure the time alone")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    file = options.out / "differential.json"
    results = json.loads(file.read_text()) if file.exists() else {"sets": {}}

    def counters(rules: Rules) -> dict[str, CellCounter]:
        return {
            way: load_counter(
                detector=options.detector,
                classifier=options.classifier,
                rules=replace(rules, by=way),
                threads=options.threads,
            )
            for way in WAYS
        }

    if options.time:
        results["timing"] = timing(counters(Rules())["detector"])
    else:
        ways = counters(Rules())
        results["sets"]["synthetic, shares of healthy blood"] = measure(
            ways, synthetic(options.smears, None)
        )
        equal = (0.2,) * len(CLASSES)
        results["sets"]["synthetic, equal shares"] = measure(ways, synthetic(options.smears, equal))
        for name, (folder, scale) in PUBLIC.items() if options.data else ():
            found = measure(counters(Rules(scale=scale)), public(options.data / folder))
            results["sets"][f"{name}, test part, --scale {scale:g}"] = found
    write_text(file, json.dumps(results, indent=1) + "\n")
    text = page(results)
    write_text(options.out / "differential.md", text)
    print(text)


if __name__ == "__main__":
    main()
