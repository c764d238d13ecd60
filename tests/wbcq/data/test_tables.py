"""CSV tables with one picture or several aligned ones in a row, their folds, and BCISC's smears."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wbcq.data import (
    DatasetError,
    Preprocess,
    fold_numbers,
    load_splits,
    open_bcisc,
    open_fold,
    open_table,
    preload,
    stratified_folds,
)

SMALL = Preprocess(8)
SHARED = Path(__file__).parents[4] / "shared" / "data"
COLOURS = {"Fluor": 10, "Green": 60, "Purple": 110, "Red": 160}


def cell(folder: Path, name: str, seed: int = 0) -> None:
    """One grey picture for each modality, told apart by its brightness."""
    for column, level in COLOURS.items():
        path = folder / column / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng([seed, level]).integers(0, 40, (10, 10, 3))
        Image.fromarray((level + noise).astype(np.uint8)).save(path)


def table(folder: Path, name: str, rows: list[tuple[str, str]], header: str = "") -> Path:
    lines = [header or ",".join(["label", *COLOURS])]
    for label, picture in rows:
        lines.append(",".join([label, *(f"{column}/{picture}" for column in COLOURS)]))
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def dataset(folder: Path, folds: int = 2, per_class: int = 6) -> Path:
    """Two classes in the study's layout."""
    rows = [(k, f"{k}{i}.png") for k in ("monocyte", "neutrophil") for i in range(per_class)]
    for index, (_, name) in enumerate(rows):
        cell(folder, name, index)
    for fold in range(folds):
        val = [row for i, row in enumerate(rows) if i % folds == fold]
        table(folder, f"train_{fold}.csv", [row for row in rows if row not in val])
        table(folder, f"val_{fold}.csv", val)
    return folder


class TestTable:
    def test_modalities_become_channels(self, tmp_path: Path) -> None:
        pictures = open_fold(dataset(tmp_path), 1, SMALL)[0]
        picture = pictures.picture(0)
        assert picture.shape == (8, 8, 12)
        means = picture.reshape(64, 4, 3).mean((0, 2))
        np.testing.assert_allclose(means, [level + 20 for level in COLOURS.values()], atol=8)
        assert preload(pictures)[0].pixels.shape == (6, 8, 8, 12)

    def test_some_columns(self, tmp_path: Path) -> None:
        train, val = open_fold(dataset(tmp_path), 0, SMALL, columns=["Purple"])
        assert train.picture(0).shape == val.picture(0).shape == (8, 8, 3)
        assert train.names[0].startswith("Purple/")
        assert train.classes == val.classes == ("monocyte", "neutrophil")

    def test_a_path_column_and_numbers_as_labels(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text("label,path,age\n1,a.png,3\n0,b.png,4\n2,c.png,5\n")
        pictures = open_table(tmp_path / "t.csv", SMALL)
        assert pictures.names == ("a.png", "b.png", "c.png")
        assert pictures.classes == ("0", "1", "2")
        assert pictures.labels.tolist() == [1, 0, 2]
        named = open_table(tmp_path / "t.csv", SMALL, classes=("x", "y", "z"))
        assert named.classes == ("x", "y", "z")

    def test_labels_in_either_case_and_a_byte_order_mark(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_bytes("\ufefflabel,path\nA,a.png\n b ,b.png\n".encode())
        assert open_table(tmp_path / "t.csv", SMALL).classes == ("a", "b")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("label,Fluor,Green,Red\na,1,2,3\n", r"no column Purple; the header has label, Fluor"),
            ("kind,path\na,b\n", r"no column label"),
            ("label,path\n", r"has no rows below its header"),
            ("label,path\na,x.png\nb\n", r"row 3 has no path in column path|row 3 has fewer cells"),
            ("label,path\na,x.png\nb, \n", r"row 3 has no path in column path"),
        ],
    )
    def test_bad_tables(self, tmp_path: Path, content: str, message: str) -> None:
        (tmp_path / "t.csv").write_text(content)
        with pytest.raises(DatasetError, match=message):
            open_table(tmp_path / "t.csv", SMALL)

    def test_an_unknown_label_names_file_and_row(self, tmp_path: Path) -> None:
        path = tmp_path / "t.csv"
        path.write_text("label,path\neosinophil,a.png\nblast,b.png\n")
        with pytest.raises(DatasetError, match=r"t\.csv: row 3 has the label 'blast'; classes are"):
            open_table(path, SMALL, classes=("eosinophil", "monocyte"))
        with pytest.raises(DatasetError, match="cannot be read"):
            open_table(tmp_path / "missing.csv", SMALL)
        path.write_bytes(b"label,path\na,\xff\xfe.png\n")
        with pytest.raises(DatasetError, match="not a CSV table in UTF-8"):
            open_table(path, SMALL)


class TestFolds:
    def test_they_are_found(self, tmp_path: Path) -> None:
        dataset(tmp_path, folds=3)
        (tmp_path / "train_7.csv").write_text("label,path\na,b\n")
        assert fold_numbers(tmp_path) == (0, 1, 2)
        with pytest.raises(DatasetError, match=r"no fold 7 .*folds here: 0, 1, 2"):
            open_fold(tmp_path, 7, SMALL)

    def test_the_validation_table_is_the_test_set(self, tmp_path: Path) -> None:
        splits = load_splits(dataset(tmp_path), SMALL, fold=1)
        assert splits.test.names == open_fold(tmp_path, 1, SMALL)[1].names
        names = {*splits.train.names} | {*splits.val.names}
        assert names == {*open_fold(tmp_path, 1, SMALL)[0].names}
        assert len(splits.train) + len(splits.val) == len(names)
        assert set(splits.val.labels) == {0, 1}

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        dataset(tmp_path)
        (tmp_path / "Red" / "monocyte0.png").unlink()
        splits = load_splits(tmp_path, SMALL)
        with pytest.raises(DatasetError, match=r"Red/monocyte0\.png: no such file"):
            preload(splits.test)
        kept, problems = preload(splits.test, on_corrupt="skip")
        assert len(kept) == len(splits.test) - 1
        assert len(problems) == 1

    def test_stratified(self) -> None:
        labels = np.repeat([0, 1], [10, 50])
        folds = stratified_folds(labels, 5, ("a", "b"), seed=1)
        assert sorted(np.concatenate([val for _, val in folds])) == list(range(60))
        for train, val in folds:
            assert np.bincount(labels[val]).tolist() == [2, 10]
            assert not set(train) & set(val)
        with pytest.raises(DatasetError, match="class a has 10 pictures, fewer than 11 folds"):
            stratified_folds(labels, 11, ("a", "b"), seed=1)

    def test_groups_stay_together(self) -> None:
        labels = np.tile([0, 1], 30)
        groups = [str(i // 6) for i in range(60)]
        for train, val in stratified_folds(labels, 5, ("a", "b"), 0, groups):
            assert not {groups[i] for i in train} & {groups[i] for i in val}
        with pytest.raises(DatasetError, match="10 groups cannot be dealt to 12 folds"):
            stratified_folds(labels, 12, ("a", "b"), 0, groups)


class TestBcisc:
    def test_names(self, tmp_path: Path) -> None:
        folder = tmp_path / "sub-images" / "images"
        folder.mkdir(parents=True)
        for kind in ("baso", "eosi", "lymp", "mono", "neut"):
            for smear in range(1, 7):
                noise = np.random.default_rng([smear, *kind.encode()]).integers(0, 255, (9, 9, 3))
                picture = Image.fromarray(noise.astype(np.uint8))
                picture.save(folder / f"{kind}_{smear}-2_0.jpg")
        pictures = open_bcisc(tmp_path, SMALL)
        assert pictures.classes[0] == "basophil"
        assert len(pictures) == 30
        assert set(pictures.groups) == set("123456")
        splits = load_splits(tmp_path, SMALL)
        sets = [set(part.groups) for part in (splits.train, splits.val, splits.test)]
        assert all(sets)
        assert sum(map(len, sets)) == 6
        (folder / "blast_1-1_0.jpg").write_bytes(b"")
        with pytest.raises(DatasetError, match=r"blast_1-1_0\.jpg: not named"):
            open_bcisc(tmp_path, SMALL)

    @pytest.mark.skipif(not (SHARED / "bcisc").is_dir(), reason="bcisc is not at ../shared/data")
    def test_the_published_pictures(self) -> None:
        splits = load_splits(SHARED / "bcisc", Preprocess(32))
        assert len(splits.train) + len(splits.val) + len(splits.test) == 268
        assert splits.test.picture(0).shape == (32, 32, 3)
        assert all(set(part.labels) == set(range(5)) for part in (splits.train, splits.test))
