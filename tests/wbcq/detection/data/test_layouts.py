"""Layouts of boxes: what is read is what was written; what is wrong is told by file and line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL")
pytest.importorskip("scipy")

from PIL import Image

from wbcq.data import DatasetError
from wbcq.data.synthetic import CLASSES, OBJECTS
from wbcq.data.synthetic.smear_writing import SmearSet, write_smears
from wbcq.detection.data import FieldSet, FieldSets, open_fields
from wbcq.report.reporter import SILENT

SHARED = Path(__file__).resolve().parents[5] / "shared" / "data"
SIZE = (64, 48)
BOXES = {
    "a": [("cat", (2, 3, 30, 40)), ("dog", (10, 10, 20, 25))],
    "b": [("dog", (0, 0, 64, 48))],
    "c": [],
    "d": [("cat", (1, 1, 9, 9))],
}
Labels = dict[str, list[tuple[str, tuple[float, float, float, float]]]]


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.stem)).integers(0, 256, (*SIZE[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(path)


def write_voc(root: Path, boxes: Labels) -> None:
    (root / "Annotations").mkdir(parents=True)
    for name, found in boxes.items():
        picture(root / f"JPEGImages/{name}.png")
        objects = "".join(
            f"<object>\n<name>{kind}</name>\n<part><name>ear</name></part>\n<bndbox>"
            f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>\n"
            "</object>\n"
            for kind, (x1, y1, x2, y2) in found
        )
        size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height></size>"
        text = f"<annotation>\n{size}\n{objects}</annotation>\n"
        (root / f"Annotations/{name}.xml").write_text(text)


def write_coco(root: Path, boxes: Labels) -> None:
    names = list(boxes)
    annotations = [
        {
            "id": 100 + 10 * k + j,
            "image_id": k,
            "category_id": {"cat": 7, "dog": 3}.get(kind, 99),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
        }
        for k, name in enumerate(names)
        for j, (kind, (x1, y1, x2, y2)) in enumerate(boxes[name])
    ]
    for name in names:
        picture(root / f"images/{name}.png")
    record = {
        "images": [
            {"id": k, "file_name": f"{name}.png", "width": SIZE[0], "height": SIZE[1]}
            for k, name in enumerate(names)
        ],
        "annotations": annotations,
        "categories": [
            {"id": 0, "name": "animal"},
            {"id": 3, "name": "dog"},
            {"id": 7, "name": "cat"},
        ],
    }
    (root / "labels.json").write_text(json.dumps(record))


def write_yolo(root: Path, boxes: Labels) -> None:
    (root / "labels").mkdir(parents=True)
    for name, found in boxes.items():
        picture(root / f"images/{name}.png")
        lines = []
        for kind, (x1, y1, x2, y2) in found:
            middle = (x1 + x2) / 2 / SIZE[0], (y1 + y2) / 2 / SIZE[1]
            size = (x2 - x1) / SIZE[0], (y2 - y1) / SIZE[1]
            number = {"dog": 0, "cat": 1}.get(kind, 5)
            lines.append(f"{number} {middle[0]} {middle[1]} {size[0]} {size[1]}\n")
        if lines:  # a negative may have no file at all
            (root / f"labels/{name}.txt").write_text("".join(lines))
    (root / "classes.txt").write_text("dog\ncat\n")


WRITERS = {"voc": write_voc, "coco": write_coco, "yolo": write_yolo}


def contents(sets: FieldSets) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    found = {}
    for part in (sets.train, sets.val, sets.test):
        for field in part.fields:
            boxes = [tuple(np.round(box, 3).tolist()) for box in field.boxes]
            kinds = [part.classes[k] for k in field.labels]
            found[Path(field.name).stem] = list(zip(kinds, boxes, strict=True))
    return found


@pytest.mark.parametrize("layout", WRITERS)
def test_what_is_read_is_what_was_written(layout: str, tmp_path: Path) -> None:
    WRITERS[layout](tmp_path, BOXES)
    sets = open_fields(tmp_path, on_bad="raise")
    assert contents(sets) == BOXES
    assert set(sets.train.classes) == {"cat", "dog"}
    # Each picture is in one part, and each part has one at least.
    assert sorted(len(p) for p in (sets.train, sets.val, sets.test)) == [1, 1, 2]
    field = sets.train.fields[0]
    assert field.read().shape == (48, 64, 3)


@pytest.mark.parametrize("layout", WRITERS)
def test_only_some_classes_numbered_as_asked_for(layout: str, tmp_path: Path) -> None:
    WRITERS[layout](tmp_path, BOXES)
    sets = open_fields(tmp_path, classes=("CAT",))
    assert sets.train.classes == ("CAT",)
    assert sum(p.counts["CAT"] for p in (sets.train, sets.val, sets.test)) == 2
    assert sum(len(p) for p in (sets.train, sets.val, sets.test)) == 4
    with pytest.raises(DatasetError, match="no class horse; classes are"):
        open_fields(tmp_path, classes=("horse",))


WRONG = {
    "area": (("dog", (5, 5, 5, 20)), "has no area"),
    "beyond": (("dog", (50, 5, 90, 20)), r"reaches beyond the picture of 64x48"),
    "outside": (("dog", (70, 5, 90, 20)), r"reaches beyond the picture of 64x48"),
}


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("wrong", WRONG)
def test_labels_that_cannot_be_true_are_named_by_place(
    layout: str, wrong: str, tmp_path: Path
) -> None:
    label, said = WRONG[wrong]
    WRITERS[layout](tmp_path, {**BOXES, "a": [BOXES["a"][0], label]})
    place = {"voc": r"a\.xml:8: ", "coco": r"annotation 101: ", "yolo": r"a\.txt:2: "}[layout]
    with pytest.raises(DatasetError, match=place + f".*{said}"):
        open_fields(tmp_path, on_bad="raise")
    sets = open_fields(tmp_path, on_bad="skip")
    (note,) = [note for note in sets.notes if said.split()[-1] in note or "no area" in note]
    kept = contents(sets)["a"]
    assert kept[0] == BOXES["a"][0]
    if wrong == "beyond":
        assert kept[1:] == [("dog", (50, 5, 64, 20))]
        assert note.endswith("cut at the border")
    else:
        assert kept[1:] == []
        assert note.endswith("left out")


@pytest.mark.parametrize("layout", ["coco", "yolo"])
def test_an_unknown_class_is_named(layout: str, tmp_path: Path) -> None:
    WRITERS[layout](tmp_path, {**BOXES, "b": [("horse", (1, 1, 9, 9))]})
    with pytest.raises(DatasetError, match=r"unknown class '(category 99|number 5)', known: "):
        open_fields(tmp_path, on_bad="raise")
    assert contents(open_fields(tmp_path))["b"] == []


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("layout", "spoil", "said"),
    [
        ("voc", lambda r: replaced(r / "Annotations/a.xml", "<size>", "<sise>"), r"a\.xml: no XML"),
        (
            "voc",
            lambda r: replaced(r / "Annotations/a.xml", "<xmin>2</xmin>", ""),
            r"a\.xml:3: the object has no <xmin>",
        ),
        (
            "voc",
            lambda r: replaced(r / "Annotations/a.xml", "<xmin>2<", "<xmin>two<"),
            r"a\.xml:3: .*no number",
        ),
        ("voc", lambda r: (r / "JPEGImages/b.png").unlink(), r"b\.xml: its picture is neither"),
        ("coco", lambda r: (r / "images/b.png").unlink(), r"its picture b\.png is in none of"),
        ("coco", lambda r: replaced(r / "labels.json", '"bbox": [2, ', '"bbox": ["x", '), "bbox"),
        ("coco", lambda r: replaced(r / "labels.json", '"image_id": 0', '"image_id": 77'), "77"),
        ("yolo", lambda r: (r / "labels/a.txt").write_text("1 2 3\n"), r"a\.txt:1: '1 2 3' is not"),
        ("yolo", lambda r: (r / "classes.txt").unlink(), "names the classes"),
        ("yolo", lambda r: (r / "images/a.png").write_bytes(b"no"), r"a\.png: not a picture"),
    ],
)
def test_damage_is_named_by_place(
    layout: str, spoil: Callable[[Path], object], said: str, tmp_path: Path
) -> None:
    WRITERS[layout](tmp_path, BOXES)
    spoil(tmp_path)
    with pytest.raises(DatasetError, match=said):
        open_fields(tmp_path, on_bad="raise")


def test_a_picture_of_another_size_than_its_labels_say_is_refused(tmp_path: Path) -> None:
    write_voc(tmp_path, BOXES)
    for name in BOXES:
        Image.new("RGB", (10, 12)).save(tmp_path / f"JPEGImages/{name}.png")
    with pytest.raises(DatasetError, match="10x12 pixels, its labels say 64x48"):
        open_fields(tmp_path).train.fields[0].read()


def test_an_entity_bomb_in_xml_is_refused(tmp_path: Path) -> None:
    write_voc(tmp_path, BOXES)
    entities = "".join(
        f'<!ENTITY e{k} "{f"&e{k - 1};" * 200 if k else "x" * 50}">' for k in range(4)
    )
    bomb = f"<!DOCTYPE a [{entities}]><annotation>&e3;</annotation>"
    (tmp_path / "Annotations/a.xml").write_text(bomb)
    with pytest.raises(DatasetError, match=r"a\.xml: no XML"):
        open_fields(tmp_path)


def test_parts_are_those_of_the_folders(tmp_path: Path) -> None:
    for part, names in (("train", "ab"), ("valid", "c"), ("test", "d")):
        write_yolo(tmp_path / part, {name: BOXES[name] for name in names})
        (tmp_path / part / "classes.txt").unlink()
    (tmp_path / "data.yaml").write_text("nc: 2\nnames: ['dog', 'cat']\n")
    sets = open_fields(tmp_path)
    names = [sorted(Path(f.name).stem for f in p.fields) for p in (sets.train, sets.val, sets.test)]
    assert names == [["a", "b"], ["c"], ["d"]]
    assert not sets.notes


def test_without_a_test_part_the_validation_part_is_tested(tmp_path: Path) -> None:
    write_yolo(tmp_path / "train", {f"p{k}": BOXES["a"] for k in range(10)})
    write_yolo(tmp_path / "val", {"v": BOXES["b"]})
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    sets = open_fields(tmp_path, seed=3)
    assert [f.name for f in sets.test.fields] == ["v.png"]
    assert not {f.name for f in sets.val.fields} & {f.name for f in sets.train.fields}
    assert len(sets.val) + len(sets.train) == 10
    assert any("seed 3" in note for note in sets.notes)


def test_lists_of_voc_choose_the_parts(tmp_path: Path) -> None:
    write_voc(tmp_path, BOXES)
    lists = tmp_path / "ImageSets/Main"
    lists.mkdir(parents=True)
    for part, names in (("train", "a b"), ("val", "c"), ("test", "d")):
        (lists / f"{part}.txt").write_text(names.replace(" ", "\n"))
    sets = open_fields(tmp_path)
    assert [len(p) for p in (sets.train, sets.val, sets.test)] == [2, 1, 1]
    (lists / "val.txt").write_text("ghost\n")
    with pytest.raises(DatasetError, match=r"val\.txt: lists ghost"):
        open_fields(tmp_path)


def test_written_smears_are_read(tmp_path: Path) -> None:
    smears = SmearSet(4, 160, 128, seed=1, pixel_um=0.25)
    write_smears(smears, tmp_path / "s", processes=1, reporter=SILENT)
    sets = open_fields(tmp_path / "s", on_bad="raise")
    assert sets.train.classes == OBJECTS
    for part in (sets.train, sets.val, sets.test):
        for field in part.fields:
            smear = smears.render(int(field.name.split("-")[1].split(".")[0]))
            np.testing.assert_array_equal(field.read(), smear.picture)
            np.testing.assert_allclose(field.boxes, smear.boxes, atol=1e-3)
            np.testing.assert_array_equal(field.labels, smear.labels)


def test_a_folder_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="neither Pascal VOC"):
        open_fields(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        open_fields(tmp_path / "x")


class TestPublished:
    @pytest.mark.skipif(not (SHARED / "bccd").is_dir(), reason="bccd is not at ../shared/data")
    def test_bccd_has_the_cells_that_its_provenance_counts(self) -> None:
        sets = open_fields(SHARED / "bccd")
        assert [list(p.counts.values()) for p in (sets.train, sets.val, sets.test)] == [
            [1, 48, 22, 12, 117],
            [0, 18, 9, 5, 53],
            [1, 21, 4, 3, 42],
        ]
        # 364 pictures less the nine whose types cannot be told.
        assert sum(len(p) for p in (sets.train, sets.val, sets.test)) == 355
        empty = [note for note in sets.notes if "has no area" in note]
        assert len(empty) == 2
        assert "BloodImage_00343.xml:50" in empty[0]
        with pytest.raises(DatasetError, match=r"BloodImage_00343\.xml:50.*no area"):
            open_fields(SHARED / "bccd", on_bad="raise")

    @pytest.mark.skipif(not (SHARED / "chula_wbc5").is_dir(), reason="chula_wbc5 is not there")
    def test_chula_has_the_cells_that_its_provenance_counts(self) -> None:
        sets = open_fields(SHARED / "chula_wbc5", on_bad="raise")
        assert sets.test.counts == dict(zip(CLASSES, (3, 2, 5, 3, 3), strict=True))
        both = FieldSet(CLASSES, (*sets.train.fields, *sets.val.fields))
        assert both.counts == dict(zip(CLASSES, (5, 5, 5, 5, 6), strict=True))
        # File names begin with the class that the smear was chosen for.
        field = next(f for f in both.fields if f.name.startswith("M-"))
        assert "monocyte" in {CLASSES[k] for k in field.labels}
        assert field.read().shape == (900, 1440, 3)
