"""Folder data sets, the published split of PBC, and what happens to damaged files."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL")

from PIL import Image

from wbcq.data import (
    ArrayPictures,
    DatasetError,
    Preprocess,
    load_splits,
    open_folder,
    open_pbc,
    preload,
)
from wbcq.data.splits import stratified_split

PBC = Path(__file__).resolve().parents[4] / "shared" / "data" / "pbc_wbc5"
SMALL = Preprocess(16)


def picture(path: Path, value: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 256, (20, 20, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def classes(root: Path, counts: dict[str, int], start: int = 0) -> Path:
    value = start
    for name, count in counts.items():
        for k in range(count):
            picture(root / name / f"{k:03d}.png", value := value + 1)
    return root


class TestOpenFolder:
    def test_names_labels_and_pixels(self, tmp_path: Path) -> None:
        classes(tmp_path, {"mono": 2, "baso": 3})
        (tmp_path / "baso" / "notes.txt").write_text("not a picture")
        (tmp_path / ".cache").mkdir()
        pictures = open_folder(tmp_path, Preprocess(20))
        assert pictures.classes == ("baso", "mono")
        assert pictures.labels.tolist() == [0, 0, 0, 1, 1]
        assert pictures.names[3] == "mono/000.png"
        expected = np.asarray(Image.open(tmp_path / "mono" / "000.png"))
        np.testing.assert_array_equal(pictures.picture(3), expected)

    def test_items(self, tmp_path: Path) -> None:
        torch = pytest.importorskip("torch")
        pictures = open_folder(classes(tmp_path, {"a": 1, "b": 1}), Preprocess(20))
        pixels, label = pictures[1]
        assert (pixels.shape, pixels.dtype, label) == ((3, 20, 20), torch.float32, 1)
        np.testing.assert_array_equal(
            (pixels.numpy() * 255).round().astype(np.uint8).transpose(1, 2, 0), pictures.picture(1)
        )

    def test_empty_class(self, tmp_path: Path) -> None:
        classes(tmp_path, {"a": 1, "b": 1})
        (tmp_path / "empty").mkdir()
        with pytest.raises(DatasetError, match="empty: no pictures"):
            open_folder(tmp_path, SMALL)

    def test_one_class(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="1 class folders"):
            open_folder(classes(tmp_path, {"a": 2}), SMALL)


class TestPreload:
    @pytest.fixture
    def damaged(self, tmp_path: Path) -> Path:
        classes(tmp_path, {"a": 3, "b": 3})
        (tmp_path / "a" / "001.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
        (tmp_path / "b" / "002.png").write_bytes(b"")
        return tmp_path

    def test_every_damaged_picture_is_named(self, damaged: Path) -> None:
        with pytest.raises(DatasetError, match=r"2 of 6 .*a/001\.png.*b/002\.png") as caught:
            preload(open_folder(damaged, SMALL))
        assert "a/000.png" not in str(caught.value)

    def test_skip_leaves_the_others_with_their_labels(self, damaged: Path) -> None:
        loaded, problems = preload(open_folder(damaged, SMALL), on_corrupt="skip")
        assert loaded.names == ("a/000.png", "a/002.png", "b/000.png", "b/001.png")
        assert loaded.labels.tolist() == [0, 0, 1, 1]
        assert [p.split(":")[0] for p in problems] == ["a/001.png", "b/002.png"]

    def test_file_that_disappears(self, tmp_path: Path) -> None:
        pictures = open_folder(classes(tmp_path, {"a": 2, "b": 2}), SMALL)
        (tmp_path / "a" / "000.png").unlink()
        with pytest.raises(DatasetError, match=r"a/000\.png: no such file"):
            preload(pictures)

    def test_nothing_left(self, tmp_path: Path) -> None:
        classes(tmp_path, {"a": 1, "b": 1})
        for path in tmp_path.rglob("*.png"):
            path.write_bytes(b"x")
        with pytest.raises(DatasetError, match="no readable picture"):
            preload(open_folder(tmp_path, SMALL), on_corrupt="skip")

    def test_progress(self, tmp_path: Path) -> None:
        seen: list[tuple[int, int]] = []
        preload(
            open_folder(classes(tmp_path, {"a": 2, "b": 1}), SMALL),
            progress=lambda done, total: seen.append((done, total)),
        )
        assert seen == [(1, 3), (2, 3), (3, 3)]


class TestArrayPictures:
    @pytest.mark.parametrize(
        ("pixels", "labels", "names", "message"),
        [
            (np.zeros((2, 4, 4, 3), np.float32), [0, 1], ("x", "y"), "uint8"),
            (np.zeros((2, 4, 4), np.uint8), [0, 1], ("x", "y"), "uint8"),
            (np.zeros((2, 4, 4, 3), np.uint8), [0], ("x", "y"), "1 labels"),
            (np.zeros((2, 4, 4, 3), np.uint8), [0, 2], ("x", "y"), "labels span 0..2"),
        ],
    )
    def test_wrong_parts(self, pixels, labels, names, message: str) -> None:  # type: ignore[no-untyped-def]
        with pytest.raises(DatasetError, match=message):
            ArrayPictures(pixels, np.array(labels), ("a", "b"), names)

    def test_subset(self) -> None:
        pixels = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
        whole = ArrayPictures(pixels, np.array([0, 1, 0]), ("a", "b"), ("x", "y", "z"))
        part = whole.subset([2, 1])
        assert part.names == ("z", "y")
        assert part.labels.tolist() == [0, 1]
        assert part.picture(0)[0, 0, 0] == 2


class TestSplits:
    def test_plain_folder_is_split_by_class(self, tmp_path: Path) -> None:
        root = classes(tmp_path, {"a": 50, "b": 20, "c": 3})
        splits = load_splits(root, SMALL, seed=3)
        parts = [set(s.names) for s in (splits.train, splits.val, splits.test)]
        assert sum(map(len, parts)) == 73 == len(set.union(*parts))
        counts = [np.bincount(s.labels).tolist() for s in (splits.train, splits.val, splits.test)]
        assert counts == [[35, 14, 1], [5, 2, 1], [10, 4, 1]]

    def test_split_follows_the_seed(self, tmp_path: Path) -> None:
        root = classes(tmp_path, {"a": 20, "b": 20})
        first, again, other = (load_splits(root, SMALL, seed=s).test.names for s in (0, 0, 1))
        assert first == again
        assert first != other

    def test_copies_in_a_plain_folder_are_left_out(self, tmp_path: Path) -> None:
        root = classes(tmp_path, {"a": 5, "b": 5})
        (root / "b" / "copy.png").write_bytes((root / "a" / "002.png").read_bytes())
        splits = load_splits(root, SMALL)
        assert sum(len(s) for s in (splits.train, splits.val, splits.test)) == 10
        assert any("b/copy.png" in note and "a/002.png" in note for note in splits.notes)

    def test_split_folders_are_kept_and_separated(self, tmp_path: Path) -> None:
        for split, start in (("train", 0), ("valid", 100), ("test", 200)):
            classes(tmp_path / split, {"a": 3, "b": 3}, start)
        # One test picture again in val and in train: test keeps it.
        data = (tmp_path / "test" / "a" / "000.png").read_bytes()
        (tmp_path / "valid" / "a" / "001.png").write_bytes(data)
        (tmp_path / "train" / "b" / "002.png").write_bytes(data)
        splits = load_splits(tmp_path, SMALL)
        assert [len(s) for s in (splits.train, splits.val, splits.test)] == [5, 5, 6]
        assert "a/001.png" not in splits.val.names
        assert "b/002.png" not in splits.train.names

    def test_split_folders_need_the_same_classes(self, tmp_path: Path) -> None:
        classes(tmp_path / "train", {"a": 2, "b": 2})
        classes(tmp_path / "val", {"a": 2, "b": 2}, 50)
        classes(tmp_path / "test", {"a": 2, "c": 2}, 90)
        with pytest.raises(DatasetError, match="different classes"):
            load_splits(tmp_path, SMALL)

    def test_too_few_pictures(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="class b has 2 pictures"):
            load_splits(classes(tmp_path, {"a": 5, "b": 2}), SMALL)

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="nowhere: no such folder"):
            load_splits(tmp_path / "nowhere", SMALL)

    @pytest.mark.parametrize("fractions", [(0.5, 0.5, 0.5), (1.0, 0.0, 0.0)])
    def test_wrong_fractions(self, fractions: tuple[float, float, float]) -> None:
        with pytest.raises(ValueError, match="fractions"):
            stratified_split(np.zeros(9, np.int64), fractions, ("a",), 0)


class TestPbcLayout:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        value = 0
        for split in ("train", "val", "test"):
            table = tmp_path / "wbcatt" / f"pbc_attr_v1_{split}.csv"
            table.parent.mkdir(exist_ok=True)
            with table.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["img_name", "label", "path"])
                for label in ("Basophil", "Monocyte"):
                    for k in range(3):
                        name = f"PBC/{label.lower()}/{split}_{k}.jpg"
                        writer.writerow([f"{split}_{k}.jpg", label, name])
                        if k < 2:  # the table is complete, the folder holds a part
                            picture(tmp_path / name, value := value + 1)
        return tmp_path

    def test_rows_with_a_picture_are_kept(self, root: Path) -> None:
        train = open_pbc(root, "train", SMALL)
        assert train.classes == ("basophil", "monocyte")
        assert train.labels.tolist() == [0, 0, 1, 1]
        assert train.names[0] == "PBC/basophil/train_0.jpg"

    def test_a_picture_in_val_and_test_stays_in_test(self, root: Path) -> None:
        data = (root / "PBC/basophil/test_1.jpg").read_bytes()
        (root / "PBC/basophil/val_0.jpg").write_bytes(data)
        splits = load_splits(root, SMALL)
        assert [len(s) for s in (splits.train, splits.val, splits.test)] == [4, 3, 4]
        assert "PBC/basophil/val_0.jpg" not in splits.val.names
        assert any("val_0.jpg" in note for note in splits.notes)

    def test_no_picture_at_all(self, root: Path) -> None:
        for path in root.rglob("*.jpg"):
            path.unlink()
        with pytest.raises(DatasetError, match="none of its 6 pictures"):
            load_splits(root, SMALL)

    def test_missing_table(self, root: Path) -> None:
        (root / "wbcatt" / "pbc_attr_v1_val.csv").unlink()
        with pytest.raises(DatasetError, match=r"pbc_attr_v1_val\.csv: cannot be read"):
            load_splits(root, SMALL)

    def test_missing_column(self, root: Path) -> None:
        (root / "wbcatt" / "pbc_attr_v1_val.csv").write_text("img_name,class\na.jpg,b\n")
        with pytest.raises(
            DatasetError, match="no column label, path; the header has img_name, class"
        ):
            load_splits(root, SMALL)


@pytest.mark.skipif(not PBC.is_dir(), reason="the pbc_wbc5 pictures are not in ../shared/data")
class TestRealPictures:
    def test_published_split(self) -> None:
        splits = load_splits(PBC, SMALL)
        assert [len(s) for s in (splits.train, splits.val, splits.test)] == [1650, 299, 1050]
        assert np.bincount(splits.test.labels).tolist() == [210] * 5
        assert not any(name.endswith("BA_435917.jpg") for name in splits.val.names)
        assert any(name.endswith("BA_858229.jpg") for name in splits.test.names)

    def test_pictures_decode(self) -> None:
        test = load_splits(PBC, Preprocess(32, 0.75)).test
        loaded, problems = preload(test.subset(range(0, 1050, 50)))
        assert not problems
        assert loaded.pixels.shape == (21, 32, 32, 3)
        # Bright, slightly yellow background.
        corner = loaded.pixels[:, :4, :4].reshape(-1, 3).mean(axis=0)
        assert corner[0] > corner[1] > corner[2] > 120
