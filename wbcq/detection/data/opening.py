"""Which layout a folder of fields of view has, and its three parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from wbcq.data.files import PICTURE_SUFFIXES
from wbcq.data.pictures import DatasetError
from wbcq.detection.data.base import FieldSet, FieldSets, OnBad, Problems, file_field
from wbcq.detection.data.coco import is_coco, read_coco
from wbcq.detection.data.public import is_bccd, is_chula, read_bccd, read_chula
from wbcq.detection.data.voc import read_voc
from wbcq.detection.data.yolo import class_names, read_yolo

__all__ = ["open_fields"]

_SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_VAL_SHARE, _TEST_SHARE = 0.15, 0.2


def open_fields(
    root: str | Path,
    *,
    classes: Sequence[str] | None = None,
    on_bad: OnBad = "skip",
    seed: int = 0,
) -> FieldSets:
    """Opens a folder of pictures with boxes.

    Layouts: BCCD with types and Chula's WBC_Dataset, as they are published; Pascal VOC
    (``Annotations``, pictures in ``JPEGImages`` or ``images``, lists in ``ImageSets/Main``); COCO
    (JSON files with train, val or test in their name or folder); YOLO (``images`` and ``labels``,
    alone or below or above ``train``, ``valid`` and ``test``).

    A part that is missing is cut from another by ``seed``: val from train; test is val where only
    that is there, so that what is tested was never looked at.

    Args:
        root: The folder.
        classes: Of these classes only, numbered in this order; all others become background.
        on_bad: Labels that cannot be true (no area, beyond the picture, of an unknown class) are
            left out with a note, or refused.
        seed: Of what is cut.

    Raises:
        DatasetError: No layout fits, a file is malformed, or (``"raise"``) a label cannot be true;
            names file and line.
    """
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder")
    problems = Problems(on_bad)
    parts, layout = _read(root, problems)
    if not parts.get("train") or not len(parts["train"]):
        raise DatasetError(f"{root}: {layout} without pictures to train with")
    train, val, test, decided = _completed(parts, seed)
    description = f"{root.name} ({layout})"
    sets = FieldSets(train, val, test, description, (*problems.notes, *decided))
    return sets if classes is None else sets.with_classes(classes)


def _read(root: Path, problems: Problems) -> tuple[dict[str, FieldSet], str]:
    if is_bccd(root):
        return {split: read_bccd(root, split, problems) for split in _SPLITS}, "BCCD with types"
    if is_chula(root):
        found = {s: read_chula(root, folder, problems) for s, folder in _CHULA.items()}
        return found, "Chula WBC_Dataset"
    if (root / "Annotations").is_dir():
        return _read_voc_sets(root, problems), "Pascal VOC"
    jsons = [p for p in sorted({*root.glob("*.json"), *root.glob("*/*.json")}) if is_coco(p)]
    if jsons:
        return _read_coco_sets(root, jsons, problems), "COCO"
    pairs = _yolo_folders(root)
    if pairs:
        classes = class_names(root)
        sets = {name: read_yolo(*pair, classes, problems) for name, pair in pairs.items()}
        return sets, "YOLO"
    raise DatasetError(
        f"{root}: neither Pascal VOC (Annotations), COCO (a .json with images, annotations and "
        "categories) nor YOLO (images and labels)"
    )


_CHULA = {"train": "train", "val": "valid"}


def _read_voc_sets(root: Path, problems: Problems) -> dict[str, FieldSet]:
    pictures = {
        path.stem: path
        for folder in ("JPEGImages", "images", ".")
        for path in sorted((root / folder).glob("*"))
        if path.suffix.lower() in PICTURE_SUFFIXES
    }
    records = {p.stem: read_voc(p) for p in sorted((root / "Annotations").glob("*.xml"))}
    lost = [name for name in records if name not in pictures]
    if lost:
        raise DatasetError(
            f"{root / 'Annotations' / lost[0]}.xml: its picture is neither in JPEGImages nor in "
            "images"
        )
    classes = tuple(sorted({box.kind for r in records.values() for box in r.boxes}))
    listings = {
        split: root / f"ImageSets/Main/{split}.txt"
        for split in _SPLITS
        if (root / f"ImageSets/Main/{split}.txt").is_file()
    }
    lists = {split: path.read_text(encoding="utf-8").split() for split, path in listings.items()}
    for split, names in lists.items():
        for name in names:
            if name not in records:
                raise DatasetError(f"{listings[split]}: lists {name}, which has no file of labels")

    def chosen(names: Sequence[str]) -> FieldSet:
        fields = []
        for name in names:
            size = records[name].width, records[name].height
            checked = problems.checked(records[name].boxes, classes, *size)
            fields.append(file_field(pictures[name], root, size, *checked))
        return FieldSet(classes, tuple(fields))

    if "train" not in lists:
        return {"train": chosen(sorted(records))}
    return {split: chosen(names) for split, names in lists.items()}


def _read_coco_sets(root: Path, files: Sequence[Path], problems: Problems) -> dict[str, FieldSet]:
    sets: dict[str, FieldSet] = {}
    for path in files:
        split = _split_of(path.relative_to(root).as_posix()) or "train"
        if split in sets:
            raise DatasetError(f"{path}: a second COCO file for {split}; leave one")
        named = path.stem.removeprefix("instances_")
        folders = [path.parent, root / "images", root / named, root / "images" / named, root]
        sets[split] = read_coco(path, folders, problems)
    names = tuple(sorted({name for found in sets.values() for name in found.classes}))
    return {split: _renumbered(found, names) for split, found in sets.items()}


def _renumbered(found: FieldSet, names: tuple[str, ...]) -> FieldSet:
    number = np.array([names.index(name) for name in found.classes], np.int64)
    fields = tuple(replace(f, labels=number[f.labels]) for f in found.fields)
    return FieldSet(names, fields)


def _split_of(name: str) -> str | None:
    words = name.lower().replace("_", "/").replace("-", "/").replace(".", "/").split("/")
    for split, known in _SPLITS.items():
        if any(word.rstrip("0123456789") in known for word in words):
            return split
    return None


def _yolo_folders(root: Path) -> dict[str, tuple[Path, Path]]:
    found: dict[str, tuple[Path, Path]] = {}
    layouts: tuple[Callable[[str], tuple[Path, Path]], ...] = (
        lambda name: (root / name / "images", root / name / "labels"),
        lambda name: (root / "images" / name, root / "labels" / name),
    )
    for split, names in _SPLITS.items():
        for name in names:
            for layout in layouts:
                pair = layout(name)
                if all(folder.is_dir() for folder in pair):
                    found.setdefault(split, pair)
    whole = root / "images", root / "labels"
    if not found and all(folder.is_dir() for folder in whole):
        found["train"] = whole
    return found


def _completed(
    parts: Mapping[str, FieldSet], seed: int
) -> tuple[FieldSet, FieldSet, FieldSet, list[str]]:
    """Train, val and test, and what was decided."""
    train, val, test = parts["train"], parts.get("val"), parts.get("test")
    notes = []
    if test is None and val is not None:
        test, val = val, None
        notes.append("no test part: the validation part is tested")
    order = np.random.default_rng(seed).permutation(len(train))
    cuts = []
    for name, share, part in (("test", _TEST_SHARE, test), ("val", _VAL_SHARE, val)):
        count = 0 if part is not None else max(1, round(share * len(train)))
        cuts.append(order[:count])
        order = order[count:]
        if part is None:
            notes.append(f"no {name} part: {count} pictures of train are taken by seed {seed}")
    if not len(order):
        raise DatasetError(f"{len(train)} pictures; pass at least 3, or parts train, val and test")
    test = train.subset(cuts[0]) if test is None else test
    val = train.subset(cuts[1]) if val is None else val
    return train.subset(np.sort(order)), val, test, notes
