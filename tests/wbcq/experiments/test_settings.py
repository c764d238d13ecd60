"""Settings, and the pictures that units are given."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from PIL import Image

from wbcq.data.pictures import DatasetError
from wbcq.experiments.settings import Settings, load_cells


def folder(root: Path, classes: tuple[str, ...] = ("a", "b"), count: int = 6) -> Path:
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for k in range(count):
            pixels = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{k}.png")
    return root


@pytest.mark.parametrize("modality", ["green", "fluor", "stain", "all"])
def test_cells_are_those_of_the_source(tiny: Settings, modality: str) -> None:
    found = load_cells(tiny.cells(1, modality))
    wanted = tiny.source.load(1, modality, size=tiny.size)
    for part in ("train", "val", "test"):
        ours, theirs = getattr(found, part), getattr(wanted, part)
        assert ours.names == theirs.names
        assert np.array_equal(ours.pixels, theirs.pixels)


def test_a_fold_is_loaded_once_for_all_its_modalities(tiny: Settings) -> None:
    views = [load_cells(tiny.cells(0, name)).test.pixels for name in ("all", "green", "red")]
    assert np.shares_memory(views[0], views[1])
    assert np.shares_memory(views[0], views[2])


def test_cells_change_with_the_files(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "out", data=folder(tmp_path / "data"), folds=2, size=32)
    before = settings.cells(0, "stain")
    other = folder(tmp_path / "other", count=7)
    assert replace(settings, data=other).cells(0, "stain")["files"] != before["files"]
    assert settings.cells(0, "stain") == before


def test_a_copy_of_a_data_set_is_the_same_but_other_bytes_are_not(tmp_path: Path) -> None:
    original, copy = tmp_path / "data", tmp_path / "elsewhere" / "data"
    folder(original)
    shutil.copytree(original, copy, copy_function=shutil.copyfile)  # other times
    settings = Settings(tmp_path / "out", data=original, folds=2, size=32)
    identity = settings.cells(0, "stain")["files"]
    assert replace(settings, data=copy).cells(0, "stain")["files"] == identity
    changed = shutil.copytree(original, tmp_path / "changed")
    picture = changed / "a" / "0.png"
    picture.write_bytes(picture.read_bytes()[:-1] + b"x")
    assert replace(settings, data=changed).cells(0, "stain")["files"] != identity


def test_networks_see_stained_cells_where_there_are_any(tiny: Settings) -> None:
    assert tiny.modality_of("resnet18") == "stain"
    assert tiny.modality_of("mm_mimo3") == "all"
    assert "mm_mimo3" in tiny.architectures


def test_without_four_modalities_there_is_no_multi_modal_network(tmp_path: Path) -> None:
    data = folder(tmp_path / "pictures")
    rows = ["label,Green,Purple"]
    rows += [f"{n},{n}/{k}.png,{n}/{k}.png" for n in ("a", "b") for k in range(6)]
    (data / "cells.csv").write_text("\n".join(rows) + "\n")
    settings = Settings(tmp_path / "out", data=data / "cells.csv", folds=1)
    assert settings.modality == "purple"
    assert "mm_mimo3" not in settings.architectures


def test_more_folds_than_there_are(tiny: Settings) -> None:
    with pytest.raises(DatasetError, match=r"synthetic has 5 folds, 6 are asked for"):
        _ = replace(tiny, folds=6).fold_numbers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs is 0; use at least 1"),
        ({"recipe": "theirs"}, "recipe is 'theirs'; use 'ours' or 'study'"),
    ],
)
def test_values_out_of_range(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(Path("out"), **change)  # type: ignore[arg-type]
