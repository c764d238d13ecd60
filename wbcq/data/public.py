"""Published collections of single white blood cells, in the layouts in which they are shared."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wbcq.data.files import FilePictures
from wbcq.data.pictures import DatasetError
from wbcq.data.tables import read_rows
from wbcq.data.transforms import Preprocess

__all__ = ["is_bcisc", "is_pbc", "open_bcisc", "open_pbc"]

_PBC_CSV = "wbcatt/pbc_attr_v1_{split}.csv"
_BCISC_FOLDER = "sub-images/images"
_BCISC_CLASSES = {
    "baso": "basophil",
    "eosi": "eosinophil",
    "lymp": "lymphocyte",
    "mono": "monocyte",
    "neut": "neutrophil",
}


def is_pbc(root: Path) -> bool:
    """True for the layout that :func:`open_pbc` reads."""
    return (root / _PBC_CSV.format(split="train")).is_file()


def is_bcisc(root: Path) -> bool:
    """True for the layout that :func:`open_bcisc` reads."""
    return (root / _BCISC_FOLDER).is_dir()


def open_pbc(root: str | Path, split: str, preprocess: Preprocess) -> FilePictures:
    """Opens one published split of PBC: the rows of its attribute table whose picture exists.

    Args:
        root: Holds ``wbcatt/pbc_attr_v1_{split}.csv`` and the pictures its ``path`` column names.
        split: ``"train"``, ``"val"`` or ``"test"``.
        preprocess: Crop and size of every picture.

    Raises:
        DatasetError: The table is missing or lacks a column, or no picture of it exists.
    """
    root = Path(root)
    table = root / _PBC_CSV.format(split=split)
    rows = read_rows(table, ("label", "path"))
    classes = tuple(sorted({row["label"].lower() for row in rows}))
    present = [row for row in rows if (root / row["path"]).is_file()]
    if not present:
        raise DatasetError(f"{table}: none of its {len(rows)} pictures exists below {root}")
    labels = [classes.index(row["label"].lower()) for row in present]
    return FilePictures(
        root,
        tuple((row["path"],) for row in present),
        np.asarray(labels, dtype=np.int64),
        classes,
        preprocess,
    )


def open_bcisc(root: str | Path, preprocess: Preprocess) -> FilePictures:
    """Opens the cells of BCISC (Fan et al. 2019, "LeukocyteMask"), grouped by smear.

    The class is the first part of a file's name, ``<class>_<smear>-<field>_<cell>.jpg``.

    Args:
        root: Holds ``sub-images/images``.
        preprocess: Crop and size of every picture.

    Raises:
        DatasetError: No pictures, or a file whose name is of another form.
    """
    root = Path(root)
    paths = sorted((root / _BCISC_FOLDER).glob("*.jpg"))
    if not paths:
        raise DatasetError(f"{root / _BCISC_FOLDER}: no pictures (.jpg)")
    classes = tuple(_BCISC_CLASSES.values())
    labels, smears = [], []
    for path in paths:
        kind, _, rest = path.stem.partition("_")
        smear, dash, _ = rest.partition("-")
        if kind not in _BCISC_CLASSES or not dash:
            raise DatasetError(
                f"{path}: not named <class>_<smear>-<field>_<cell>.jpg with a class of "
                f"{', '.join(_BCISC_CLASSES)}; rename or remove it"
            )
        labels.append(classes.index(_BCISC_CLASSES[kind]))
        smears.append(smear)
    return FilePictures(
        root,
        tuple((path.relative_to(root).as_posix(),) for path in paths),
        np.asarray(labels, dtype=np.int64),
        classes,
        preprocess,
        tuple(smears),
    )
