"""Folders of pictures: results, resuming, and pictures that cannot be read."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("PIL")

from PIL import Image

from tests.wbcq.detection.toy import COLOURS, field, spot_model
from wbcq.cli.app import run
from wbcq.differential import CellCounter, PictureError, count_pictures, find_pictures
from wbcq.differential.models import load_counter


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "spots.wbcq"
    spot_model().save(path)
    return path


@pytest.fixture
def counter(model: Path) -> CellCounter:
    return load_counter(detector=model, threads=1)


@pytest.fixture
def smears(tmp_path: Path) -> Path:
    """Three fields, one in a folder below."""
    folder = tmp_path / "smears"
    (folder / "more").mkdir(parents=True)
    for seed, name in enumerate(("a.png", "b.png", "more/a.png")):
        Image.fromarray(field(128, 256, seed=seed)[0]).save(folder / name)
    return folder


def truth(seeds: tuple[int, ...] = (0, 1, 2)) -> dict[str, int]:
    labels = np.concatenate([field(128, 256, seed=seed)[2] for seed in seeds])
    return {name: int((labels == index).sum()) for index, name in enumerate(COLOURS)}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_that_is_written_agrees(counter: CellCounter, smears: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    count = count_pictures(counter, find_pictures([smears]), out=out)
    whole = count.differential()
    assert {line.name: line.count for line in whole.classes} == truth()
    assert min(truth().values()) > 0

    record = json.loads((out / "differential.json").read_text())
    assert record["differential"]["total"] == whole.total == sum(truth().values())
    cells = rows(out / "cells.csv")
    assert len(cells) == whole.total
    for name, number in truth().items():
        assert sum(cell["class"] == name for cell in cells) == number
        with Image.open(out / "sheets" / f"{name}.jpg") as sheet:
            assert sheet.width > 300
    a, b, more, total, share, low, high = rows(out / "counts.csv")
    assert [row["picture"] for row in (a, b, more)] == [
        str(smears / name) for name in ("a.png", "b.png", "more/a.png")
    ]
    for name, number in truth().items():
        assert int(total[name]) == number == sum(int(row[name]) for row in (a, b, more))
        assert float(low[name]) < float(share[name]) < float(high[name])
        assert float(share[name]) == pytest.approx(100 * number / whole.total, abs=0.01)
    marked = sorted((out / "pictures").glob("*.jpg"))
    assert len(marked) == 6  # pictures and their cells; those of one name stay apart
    with Image.open(marked[-1]) as image:
        assert image.size == (256, 128)


def test_it_goes_on_where_it_stopped(
    counter: CellCounter, smears: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    paths = find_pictures([smears])
    honest = CellCounter.count
    calls = 0

    def stop(self: CellCounter, picture: np.ndarray) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return honest(self, picture)

    monkeypatch.setattr(CellCounter, "count", stop)
    with pytest.raises(KeyboardInterrupt):
        count_pictures(counter, paths, out=out)
    assert not (out / "differential.json").exists()
    again = count_pictures(counter, paths, out=out)
    assert (calls, again.resumed) == (4, 2)
    fresh = count_pictures(counter, paths)
    assert again.cells == fresh.cells

    calls = 10
    moved = smears.rename(tmp_path / "elsewhere")
    assert count_pictures(counter, find_pictures([moved]), out=out).resumed == 3
    assert calls == 10


def test_other_contents_models_and_damage_are_counted_again(
    counter: CellCounter, model: Path, smears: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    paths = find_pictures([smears])
    assert count_pictures(counter, paths, out=out).resumed == 0
    Image.fromarray(field(128, 256, seed=7)[0]).save(paths[0])
    second = count_pictures(counter, paths, out=out)
    assert second.resumed == 2
    assert {line.name: line.count for line in second.differential().classes} == truth((7, 1, 2))
    for file in (out / "pictures").glob("b-*.json"):
        file.write_text('{"fingerprint": 1}')
    for file in (out / "pictures").glob("a-*-cells.jpg"):
        file.unlink()
    assert count_pictures(counter, paths, out=out).resumed == 0
    assert count_pictures(counter, paths, out=out).resumed == 3
    stricter = load_counter(detector=model, rules=type(counter.rules)(threshold=0.5))
    assert count_pictures(stricter, paths, out=out).resumed == 0


def test_bad_pictures_are_told_and_the_others_counted(
    model: Path, smears: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (smears / "c.png").write_bytes((smears / "a.png").read_bytes()[:300])
    (smears / "d.jpg").write_text("a cell")
    (smears / "e.png").write_bytes((smears / "b.png").read_bytes())
    (smears / "notes.txt").write_text("of the day")
    (smears / ".a.png").write_bytes(b"")
    out = tmp_path / "out"
    arguments = ["differential", str(smears), "--detector", str(model), "--out", str(out)]
    assert run(arguments) == 1
    captured = capsys.readouterr()
    assert "4 pictures counted" in captured.err
    assert f"error: {smears / 'c.png'}: damaged picture" in captured.err
    assert f"error: {smears / 'd.jpg'}: not a picture" in captured.err
    assert f"{smears / 'e.png'}: the same contents as {smears / 'b.png'}" in captured.err
    assert captured.err.endswith("Not for clinical use.\n")
    total = sum(truth((0, 1, 2, 1)).values())
    last = captured.out.splitlines()[-1].split("|")
    assert last[1].strip() == "all"
    assert int(last[2]) == total
    errors = [row["error"] for row in rows(out / "counts.csv") if row["error"]]
    assert len(errors) == 2


def test_results_are_not_counted(counter: CellCounter, smears: Path) -> None:
    out = smears / "out"
    count_pictures(counter, find_pictures([smears], out=out), out=out)
    assert len(find_pictures([smears], out=out)) == 3
    assert len(find_pictures([smears, smears / "a.png", smears / "more/../b.png"], out=out)) == 3


def test_names_that_are_formulas(
    counter: CellCounter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(field(128, 128, seed=2)[0]).save(tmp_path / "=1+1.png")
    monkeypatch.chdir(tmp_path)
    count_pictures(counter, [Path("=1+1.png")], out=tmp_path / "out")
    names = {row["picture"] for row in rows(tmp_path / "out" / "cells.csv")}
    assert names == {"'=1+1.png"}


def test_no_cells(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "white.png"
    Image.new("RGB", (300, 200), "white").save(path)
    out = tmp_path / "out"
    arguments = ["differential", str(path), "--detector", str(model)]
    assert run([*arguments, "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert "no white cell scores 0.25 or more" in captured.err
    assert "nan" not in captured.out.lower()
    assert not list(out.glob("sheets/*"))
    assert run([*arguments, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["differential"]["total"] == 0
    assert {line["share"] for line in record["differential"]["classes"]} == {None}


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="no pictures in this folder"):
        find_pictures([tmp_path])


@pytest.mark.parametrize("option", ["--detector", "--classifier"])
def test_files_of_another_kind(
    option: str, model: Path, smears: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import wbcq

    classifier = tmp_path / "cells.wbcq"
    wbcq.example_model().save(classifier)
    models = {"--detector": model, "--classifier": classifier}
    models[option] = classifier if option == "--detector" else model
    given = [str(word) for pair in models.items() for word in pair]
    assert run(["differential", str(smears), *given, "--by", "both"]) == 1
    message = capsys.readouterr().err
    assert str(models[option]) in message
    assert message.count("\n") == 1


def test_it_needs_no_torch(model: Path, smears: Path) -> None:
    code = (
        "import sys\nfrom wbcq.cli.app import run\n"
        "assert run(sys.argv[1:]) == 0\n"
        "assert not {'torch', 'scipy', 'matplotlib'} & set(sys.modules)"
    )
    arguments = ["differential", str(smears), "--detector", str(model), "--by", "both"]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)
