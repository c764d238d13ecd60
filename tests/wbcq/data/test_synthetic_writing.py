"""Synthetic data sets as files: what is read back is what was rendered."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL")
pytest.importorskip("scipy")
pytest.importorskip("sklearn")

from wbcq.data import DatasetError, open_source
from wbcq.data.sources import SyntheticSource
from wbcq.data.synthetic import writing
from wbcq.data.synthetic.writing import write_dataset
from wbcq.report.reporter import SILENT

SOURCE = SyntheticSource("balanced", seed=2, scale=0.01)


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "cells"
    write_dataset(SOURCE, out, size=32, processes=1, reporter=SILENT)
    return out


def test_read_back_it_is_what_was_rendered(written: Path) -> None:
    read = open_source(written)
    assert read.folds == SOURCE.folds
    assert read.classes == SOURCE.classes
    for fold in (0, 4):
        expected = SOURCE.load(fold, "all", size=32).test
        found = read.load(fold, "all", size=32).test
        order = {name: k for k, name in enumerate(expected.names)}
        names = [Path(name).stem.replace("-", "/seed2-") for name in found.names]
        assert sorted(names) == sorted(order)
        chosen = expected.subset([order[name] for name in names])
        np.testing.assert_array_equal(found.pixels, chosen.pixels)
        np.testing.assert_array_equal(found.labels, chosen.labels)


def test_tables_have_the_columns_of_the_study(written: Path) -> None:
    with (written / "train_2.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["label", "Fluor", "Green", "Purple", "Red"]
    assert len(rows) == sum(len(SOURCE.labels(2)[part]) for part in ("train", "val"))
    assert all((written / row["Purple"]).is_file() for row in rows)


def test_several_processes_write_the_same(written: Path, tmp_path: Path) -> None:
    write_dataset(SOURCE, tmp_path / "cells", size=32, processes=2, reporter=SILENT)
    assert files(tmp_path / "cells") == files(written)


def test_interrupted_it_goes_on(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real = tmp_path / "cells", writing.render_cell
    rendered: list[int] = []

    def render(label: int, **options: object) -> object:
        rendered.append(label)
        if len(rendered) == 20:
            raise KeyboardInterrupt
        return real(label, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(writing, "render_cell", render)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(SOURCE, out, size=32, processes=1, reporter=SILENT)
    assert not list(out.glob("*.csv"))
    write_dataset(SOURCE, out, size=32, processes=1, reporter=SILENT)
    assert len(rendered) == len(SOURCE.cells("all", 32)) + 1
    assert files(out) == files(written)


def test_other_settings_need_another_folder(written: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"synthetic\.json: the folder holds .* other settings"):
        write_dataset(SOURCE, written, size=48, processes=1, reporter=SILENT)
    assert json.loads((written / "synthetic.json").read_text())["size"] == 32
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(DatasetError, match="not empty, and no synthetic data set"):
        write_dataset(SOURCE, tmp_path, size=32, processes=1, reporter=SILENT)
    assert files(tmp_path) == {"holiday.txt": b"mine"}


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("typer")
    from wbcq.cli.app import run

    arguments = ["synthesize", "--out", str(tmp_path / "cells"), "--scale", "0.0001"]
    assert run([*arguments, "--size", "16", "--processes", "1"]) == 0
    assert "10 : 10 : 10 : 10 : 10 cells" in capsys.readouterr().out
    labels = open_source(tmp_path / "cells").labels(1)
    assert np.bincount(labels["test"]).tolist() == [2, 2, 2, 2, 2]
