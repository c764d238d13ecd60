"""Sources: where cells come from, and how each layout is cut into folds."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL")
pytest.importorskip("sklearn")

from PIL import Image

from wbcq.data import ArrayPictures, DatasetError
from wbcq.data.sources import Source, SyntheticSource, open_source
from wbcq.data.sources.colour import simulate_modality

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
COLUMNS = ("Fluor", "Green", "Purple", "Red")
PARTS = ("train", "val", "test")


def write(path: Path, value: int) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path.name


def table(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def fold_tables(root: Path, columns: tuple[str, ...] = COLUMNS, each: int = 4) -> Path:
    """Two folds of two classes; every picture differs."""
    root.mkdir(exist_ok=True)
    rows = []
    for number in range(4 * each):
        names = {c: write(root / f"{c}{number}.png", 10 * number + len(c)) for c in columns}
        rows.append({"label": ("mono", "lym")[number % 2], **names})
    for fold in (0, 1):
        part = slice(2 * each * fold, 2 * each * (fold + 1))
        table(root / f"val_{fold}.csv", rows[part])
        table(root / f"train_{fold}.csv", [row for row in rows if row not in rows[part]])
    return root


def class_folders(root: Path, each: int = 10) -> Path:
    for label, name in enumerate(("lym", "mono")):
        for number in range(each):
            write(root / name / f"{number}.png", 100 * label + number)
    return root


def names(source: Source, fold: int) -> dict[str, set[str]]:
    sets = source.load(fold, "stain" if "stain" in source.modalities else "fluor", size=16)
    return {part: set(getattr(sets, part).names) for part in PARTS}


def check_folds(source: Source) -> None:
    """Every picture is tested once, and the parts of a fold share none."""
    tested: list[str] = []
    for fold in source.folds:
        parts = names(source, fold)
        everything = [name for part in parts.values() for name in part]
        assert len(everything) == len(set(everything))
        assert all(parts.values())
        tested += parts["test"]
    assert sorted(tested) == sorted(everything)


class TestSynthetic:
    def test_folds_have_the_sizes_of_the_study(self) -> None:
        source = SyntheticSource("study")
        published = {
            0: [10, 136, 890, 25, 1924],
            1: [10, 136, 890, 25, 1923],
            2: [9, 135, 890, 25, 1923],
            3: [9, 135, 889, 25, 1923],
            4: [9, 135, 889, 24, 1923],
        }
        for fold, counts in published.items():
            labels = source.labels(fold)
            assert np.bincount(labels["test"]).tolist() == counts
            rest = np.bincount(labels["train"]) + np.bincount(labels["val"])
            assert (rest + counts).tolist() == [47, 677, 4448, 124, 9616]

    @pytest.mark.parametrize("preset", ["study", "balanced"])
    def test_every_cell_is_tested_once(self, preset: str) -> None:
        source = SyntheticSource(preset, scale=0.002)
        check_folds(source)
        for fold in source.folds:
            assert all(
                np.bincount(part, minlength=5).all() for part in source.labels(fold).values()
            )

    def test_pictures_are_those_of_their_labels(self) -> None:
        source = open_source(None, preset="balanced", scale=0.02, seed=3)
        sets = source.load(2, "fluor", size=16)
        again = open_source(None, preset="balanced", scale=0.02, seed=3).load(2, "all", size=16)
        for part in PARTS:
            pictures: ArrayPictures = getattr(sets, part)
            np.testing.assert_array_equal(pictures.labels, source.labels(2)[part])
            kinds = [source.classes[label] for label in pictures.labels]
            assert kinds == [name.split("/")[0] for name in pictures.names]
            np.testing.assert_array_equal(pictures.pixels, getattr(again, part).pixels[..., :3])
        assert again.train.pixels.shape[1:] == (16, 16, 12)
        assert "balanced" in sets.description

    def test_folds_share_one_rendering(self) -> None:
        class Stages:
            def __init__(self) -> None:
                self.names: list[str] = []

            def stage(self, name: str):  # type: ignore[no-untyped-def]
                from wbcq.report.reporter import SILENT

                self.names.append(name)
                return SILENT.stage(name)

            def note(self, text: str) -> None:
                raise AssertionError(text)

        source, stages = SyntheticSource(scale=0.02), Stages()
        for fold in source.folds:
            source.load(fold, "red", size=16, reporter=stages)
        source.load(0, "green", size=16, reporter=stages)
        assert stages.names == ["Rendering cells"] * 2

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"preset": "odd"}, "preset is 'odd'"),
            ({"scale": 0}, "scale is 0"),
            ({"difficulty": 2}, "difficulty is 2"),
        ],
    )
    def test_settings_out_of_range(self, options: dict[str, object], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            open_source(None, **options)  # type: ignore[arg-type]

    def test_unknown_fold_and_modality(self) -> None:
        source = SyntheticSource(scale=0.02)
        with pytest.raises(DatasetError, match="no fold 5; folds are 0, 1, 2, 3, 4"):
            source.labels(5)
        with pytest.raises(DatasetError, match="no modality 'blue'; choose all or one of fluor"):
            source.load(0, "blue", size=16)


class TestFoldTables:
    def test_parts_and_modalities(self, tmp_path: Path) -> None:
        source = open_source(fold_tables(tmp_path / "study"))
        assert (source.name, source.folds, source.classes) == ("study", (0, 1), ("lym", "mono"))
        assert source.modalities == ("fluor", "green", "purple", "red")
        check_folds(source)
        parts = source.load(1, "all", size=16)
        purple = source.load(1, "purple", size=16)
        for part in PARTS:
            everything, one = getattr(parts, part), getattr(purple, part)
            np.testing.assert_array_equal(everything.labels, source.labels(1)[part])
            np.testing.assert_array_equal(everything.pixels[..., 6:9], one.pixels)
        assert sorted(parts.test.names) == sorted(f"Fluor{n}.png" for n in range(8, 16))

    def test_the_tables_validation_part_is_only_reported(self, tmp_path: Path) -> None:
        source = open_source(fold_tables(tmp_path))
        parts = names(source, 0)
        assert len(parts["test"]) == 8
        assert not any(int(n[5:-4]) < 8 for n in parts["train"] | parts["val"])

    def test_some_modalities(self, tmp_path: Path) -> None:
        source = open_source(fold_tables(tmp_path, ("Fluor", "Red")))
        assert source.modalities == ("fluor", "red")
        with pytest.raises(DatasetError, match=r"needs four aligned .* no green, purple; there is"):
            source.load(0, "all", size=16)

    def test_a_label_that_training_does_not_know(self, tmp_path: Path) -> None:
        fold_tables(tmp_path)
        text = (tmp_path / "val_1.csv").read_text().splitlines()
        text[3] = text[3].replace("mono", "momo").replace("lym", "momo")
        (tmp_path / "val_1.csv").write_text("\n".join(text))
        source = open_source(tmp_path)
        with pytest.raises(DatasetError, match=r"val_1\.csv: row 4 has the label 'momo'"):
            source.labels(1)

    def test_missing_column_and_no_pictures(self, tmp_path: Path) -> None:
        fold_tables(tmp_path)
        table(tmp_path / "train_1.csv", [{"label": "mono", "Green": "a.png"}])
        with pytest.raises(DatasetError, match=r"train_1\.csv: no column Fluor, Purple, Red"):
            open_source(tmp_path).labels(1)
        table(tmp_path / "train_0.csv", [{"label": "mono", "Gren": "a.png"}])
        with pytest.raises(DatasetError, match=r"train_0\.csv: no column of pictures.* Gren"):
            open_source(tmp_path)

    def test_a_class_without_pictures(self, tmp_path: Path) -> None:
        fold_tables(tmp_path)
        source = open_source(tmp_path, classes=("lym", "mono", "neu"))
        with pytest.raises(DatasetError, match=r"class neu in .*train_0\.csv has no pictures"):
            source.load(0, "red", size=16)

    def test_unreadable_pictures_are_left_out_or_refused(self, tmp_path: Path) -> None:
        fold_tables(tmp_path)
        (tmp_path / "Green2.png").write_bytes(b"no picture")
        loaded = open_source(tmp_path).load(0, "all", size=16)
        assert len(loaded.test) == 7
        assert any("val_0.csv row 4: Green2.png: not a picture" in note for note in loaded.notes)
        strict = open_source(tmp_path, on_corrupt="raise")
        with pytest.raises(DatasetError, match=r"val_0\.csv row 4: Green2\.png"):
            strict.load(0, "green", size=16)
        assert len(strict.load(0, "red", size=16).test) == 8


class TestFolders:
    def test_folder_per_class(self, tmp_path: Path) -> None:
        source = open_source(class_folders(tmp_path))
        check_folds(source)
        assert source.modalities == ("fluor", "green", "purple", "red", "stain")
        assert "simulated from the colour picture" in source.description

    def test_copies_are_left_out(self, tmp_path: Path) -> None:
        class_folders(tmp_path)
        (tmp_path / "lym" / "z.png").write_bytes((tmp_path / "lym" / "3.png").read_bytes())
        loaded = open_source(tmp_path, folds=2).load(1, "stain", size=16)
        assert any("lym/z.png: left out" in note for note in loaded.notes)
        assert sum(len(getattr(loaded, part)) for part in PARTS) == 20

    def test_a_table_of_paths(self, tmp_path: Path) -> None:
        class_folders(tmp_path)
        files = sorted(tmp_path.rglob("*.png"))
        rows = [{"path": str(p.relative_to(tmp_path)), "label": p.parent.name} for p in files]
        table(tmp_path / "cells.csv", rows)
        for path in (tmp_path, tmp_path / "cells.csv"):
            source = open_source(path, folds=3)
            assert source.description.startswith("cells: table cells.csv")
            check_folds(source)

    def test_a_split_of_its_own(self, tmp_path: Path) -> None:
        for start, part in enumerate(PARTS):
            class_folders(tmp_path / part)
            for file in (tmp_path / part).rglob("*.png"):
                write(file, 1000 * (start + 1) + hash_of(file))
        source = open_source(tmp_path, folds=3)
        first, second, third = (names(source, fold) for fold in source.folds)
        assert first["test"] == second["test"] == third["test"]
        assert len(first["train"]) == len(second["train"]) == 20
        assert second["train"] != third["train"]
        assert not second["train"] & second["val"]

    def test_neither_folder_nor_table(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="no such file or folder; pass a folder"):
            open_source(tmp_path / "none")
        with pytest.raises(ValueError, match="folds is 1"):
            open_source(tmp_path, folds=1)


def hash_of(file: Path) -> int:
    return 100 * len(file.parent.name) + int(file.stem)


def test_simulated_modalities() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), np.uint8)
    assert simulate_modality(pixels, "stain") is pixels
    for channel, modality in ((0, "red"), (1, "green"), (2, "purple")):
        plane = simulate_modality(pixels, modality)
        assert plane.shape == pixels.shape
        np.testing.assert_array_equal(plane, np.repeat(pixels[..., [channel]], 3, axis=3))
    stacked = simulate_modality(pixels, "all")
    for position, modality in enumerate(("fluor", "green", "purple", "red")):
        part = stacked[..., 3 * position : 3 * position + 3]
        np.testing.assert_array_equal(part, simulate_modality(pixels, modality))


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the data folder beside the checkout")
class TestPublicCollections:
    def test_pbc(self) -> None:
        source = open_source(SHARED / "pbc_wbc5")
        own, drawn = source.labels(0), source.labels(3)
        assert {part: len(labels) for part, labels in own.items()} == {
            "train": 1650,
            "val": 299,  # its copy of a test picture is left out
            "test": 1050,
        }
        # The pair of copies within the training part is one picture where parts are drawn anew.
        assert len(drawn["train"]) + len(drawn["val"]) == 1948
        assert np.bincount(drawn["val"]).tolist() == [60, 60, 60, 60, 60]

    def test_bcisc_keeps_smears_whole(self) -> None:
        source = open_source(SHARED / "bcisc")
        for fold in source.folds:
            parts = names(source, fold)
            smears = [{n.rsplit("_", 2)[1].split("-")[0] for n in parts[part]} for part in PARTS]
            assert not smears[0] & smears[1]
            assert not smears[0] & smears[2]
            assert not smears[1] & smears[2]
        check_folds(source)


def test_reading_pictures_needs_pillow_alone() -> None:
    """`wbcq run picture.jpg` preprocesses on devices that have nothing else."""
    code = (
        "import sys, wbcq.data\n"
        "heavy = {'scipy', 'sklearn', 'torch', 'matplotlib', 'kornia'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
