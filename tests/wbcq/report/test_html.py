"""The report's page, of a folder that the experiments themselves filled."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

pytest.importorskip("jinja2")
pytest.importorskip("torch")

from tests.wbcq.experiments.work import Listener
from wbcq.cli.app import run
from wbcq.experiments import experiment
from wbcq.experiments.runner import run_units
from wbcq.experiments.settings import Settings
from wbcq.experiments.store import Store
from wbcq.report.contents import ReportError, read_contents
from wbcq.report.html import write_report
from wbcq.report.inline import heat_overlay, themed_svg

ARCH = "shufflenet_v2_x0_5"
TRAINING = f"training/{ARCH}/stain/fold0"
PTQ = f"quantization/{ARCH}/fold0/ptq-per-channel"
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Checks that tags nest, and keeps references, tables and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
                self.references.append(value or "")
            if name == "id":
                self.ids.append(value or "")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, text: str) -> None:
        self.words.append(text)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += text.strip()

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\xa0", " ").split())


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One network through training, PTQ and the heat maps; the other units are not there."""
    out = tmp_path_factory.mktemp("results")
    settings = Settings.quick(out, size=64, epochs=1, scale=0.05, calibration=16, threads=1)
    store = Store(out)
    for name in ("dataset", "quantization", "explain"):
        module = experiment(name)
        wanted = (TRAINING, PTQ, f"explain/{ARCH}/fold0", "dataset/fold0")
        outcome = run_units(
            [unit for unit in module.units(settings) if unit.key in wanted], store, Listener()
        )
        assert outcome.complete, outcome.failed
        module.write(settings, store)
    return out


@pytest.fixture
def folder(results: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    shutil.copytree(results, tmp_path / "results")
    return tmp_path / "results"


@pytest.fixture(scope="module")
def text(results: Path) -> str:
    return write_report(results, results / "page.html").read_text(encoding="utf-8")


def unit(folder: Path, key: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "units" / f"{key}.json").read_text())["result"]
    return record


def numbers(rows: list[list[str]], count: int) -> Iterator[list[int]]:
    """Rows of a confusion matrix."""
    for row in rows:
        if len(row) == count + 1 and all(re.fullmatch(r"\d+", cell) for cell in row[1:]):
            yield [int(cell) for cell in row[1:]]


class TestPage:
    def test_well_formed_and_self_contained(self, text: str) -> None:
        page = Page(text)
        assert text.startswith("<!DOCTYPE html>")
        assert all(reference.startswith(("data:", "#")) for reference in page.references)
        assert {r[1:] for r in page.references if r.startswith("#")} <= set(page.ids)
        assert len(page.ids) == len(set(page.ids))
        assert not re.search(
            r"https?:|//[a-z]|@import|<script|url\((?!#)", re.sub(r"data:[^\"]+", "", text)
        )
        assert "width=device-width" in text
        assert "prefers-color-scheme: dark" in text

    def test_tables_hold_the_experiments_figures(self, text: str, results: Path) -> None:
        page = Page(text)
        rows = json.loads((results / "quantization.json").read_text())["rows"]
        assert len(rows) == 2
        for row in rows:
            shown = next(r for r in page.rows if r[:2] == [ARCH, row["type"]])
            assert f"{row['accuracy %']:.2f}" in shown
            assert f"{row['macro F1']:.4f}" in shown
            assert f"{row['MB']:.2f}" in shown
        counts = unit(results, "dataset/fold0")["counts"]["train"]
        assert any(row[2 : 2 + len(counts)] == list(map(str, counts)) for row in page.rows)

    def test_confusion_matrices_and_recalls(self, text: str, results: Path) -> None:
        page = Page(text)
        for key in (TRAINING, PTQ):
            result = unit(results, key)
            matrix = result["confusion"]
            shown = list(numbers(page.rows, len(matrix)))
            assert any(shown[k : k + len(matrix)] == matrix for k in range(len(shown)))
            for label, (name, figures) in enumerate(result["classes"].items()):
                right, total = matrix[label][label], sum(matrix[label])
                interval = binomtest(right, total).proportion_ci(0.95, method="wilson")
                limits = f"({100 * interval.low:.1f} to {100 * interval.high:.1f})"
                assert f"{100 * right / total:.2f} % {limits}" in text
                assert figures["recall"] == pytest.approx(right / total)
                assert f"{name} {total} pictures" in page.text

    def test_samples_heat_maps_and_errors_of_layers(self, text: str, results: Path) -> None:
        page = Page(text)
        result = unit(results, f"explain/{ARCH}/fold0")
        assert len(result["samples"]) >= 5
        for sample in result["samples"]:
            assert sample["name"] in page.text
            assert f"FP32: {sample['full']} {100 * sample['full_share']:.0f} %" in page.text
            assert f"INT8: {sample['integer']} {100 * sample['integer_share']:.0f} %" in page.text
        assert text.count("data:image/jpeg") == 3 * len(result["samples"])
        wrong = [s["label"] != s["full"] or s["label"] != s["integer"] for s in result["samples"]]
        assert text.count('class="sample wrong"') == sum(wrong)
        assert f"correlate by {result['correlation']:.3f}" in page.text
        assert len(result["layers"]) > 40
        for layer in result["layers"]:
            shown = next(row for row in page.rows if row[:2] == [layer["layer"], layer["kind"]])
            assert shown[2] == f"{layer['sqnr']:.1f}"
            assert shown[3] == f"{layer['drift']:+.3f}"

    def test_what_is_missing_is_told_with_its_remedy(self, text: str, results: Path) -> None:
        told = Page(text).text
        for name in ("colour", "models", "bits"):
            assert f"wbcq reproduce {name} --out {results}" in told
        assert "of its units did not end" in told  # the other networks
        assert 'id="overview"' not in text  # nothing was timed


class TestTimes:
    def test_scatter_and_tiles(self, folder: Path) -> None:
        """Times are another unit's; here they are put into the table as it would."""
        record = json.loads((folder / "quantization.json").read_text())
        full, int8 = record["rows"]
        full.update({"ms": 8.0, "accuracy %": 91.25, "MB": 1.5})
        int8.update({"ms": 2.0, "accuracy %": 90.5, "MB": 0.375})
        (folder / "quantization.json").write_text(json.dumps(record))
        text = write_report(folder).read_text()
        page = Page(text)
        assert {"overview", "scatter-figure_1"} <= set(page.ids)
        assert "svg" in page.tags
        assert "FP32" in page.text
        for words in ("0.75 points", "4.0 times smaller files", "4.0 times faster than PyTorch"):
            assert words in page.text
        assert all(reference.startswith(("data:", "#")) for reference in page.references)

    def test_names_of_points_do_not_overlap(self) -> None:
        """Networks that are nearly equally accurate, as they are on easy pictures."""
        from matplotlib.text import Text

        from wbcq.report.charts import _name_points
        from wbcq.report.plots import blank_figure

        figure = blank_figure(8, 5)
        axis = figure.subplots()
        places = {f"network_number_{k}": (10 + k, 98 + 0.01 * (k % 3)) for k in range(8)}
        axis.scatter(*zip(*places.values(), strict=True))
        axis.set_xscale("log")
        axis.set_ylim(90, 100)
        _name_points(axis, places)
        figure.draw_without_rendering()
        boxes = [Text.get_window_extent(text) for text in axis.texts]  # without their lines
        assert len(boxes) == len(places)
        assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])

    def test_themed_svg(self) -> None:
        from wbcq.report.charts import Point, scatter

        points = [Point(1, 2, 3, "a&b", "x"), Point(2, 3, 4, "c", "y")]
        figures = [
            themed_svg(lambda path: scatter(path, points, "ms", "%", "MB"), name)
            for name in ("one", "two")
        ]
        assert figures[0].startswith("<svg")
        assert "currentColor" in figures[0]
        assert not re.search(r"#(000000|ffffff|eeeeee)", figures[0])
        assert "a&amp;b" in figures[0]
        assert "http" not in figures[0]
        ids = [id_ for figure in figures for id_ in Page(figure).ids]
        assert len(ids) == len(set(ids))
        used = re.findall(r'(?:href="#|url\(#)([^")]+)', figures[0])
        assert used
        assert set(used) <= set(ids)


class TestIntervals:
    def test_pictures_that_all_folds_share_count_once(self, folder: Path) -> None:
        """A published test part in five folds is no five times as large a test."""
        for key in (TRAINING, PTQ):
            for suffix in (".json", ".npz"):
                for fold in range(1, 5):
                    source = folder / "units" / f"{key}{suffix}"
                    target = str(source).replace("fold0", f"fold{fold}")
                    Path(target).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(source, target)
        record = json.loads((folder / "quantization.json").read_text())
        record["units"] += [
            key.replace("fold0", f"fold{k}") for key in (TRAINING, PTQ) for k in range(1, 5)
        ]
        before = read_contents(folder).forms[ARCH]
        (folder / "quantization.json").write_text(json.dumps(record))
        after = read_contents(folder).forms[ARCH]
        for one, five in zip(before, after, strict=True):
            np.testing.assert_array_equal(five.confusion, 5 * one.confusion)
            assert five.recalls == one.recalls


class TestDamage:
    def test_damaged_parts_are_left_out_and_named(self, folder: Path) -> None:
        (folder / "dataset.json").write_text("{")
        (folder / "units" / f"{PTQ}.json").write_text('{"result": []}')
        (folder / "units" / f"explain/{ARCH}/fold0.maps.npz").write_bytes(b"nothing")
        page = Page(write_report(folder).read_text())
        assert "dataset.json: damaged" in page.text
        assert f"units/{PTQ}.json: ValueError: its result is no record" in page.text
        assert f"units/explain/{ARCH}/fold0.maps.npz" in page.text
        assert any(row[:2] == [ARCH, "FP32"] for row in page.rows)
        assert "pictures" not in page.ids

    def test_names_from_files_cannot_break_the_page(self, folder: Path) -> None:
        path = folder / "units" / f"explain/{ARCH}/fold0.json"
        path.write_text(path.read_text().replace(ARCH, "<script>alert(1)</script>"))
        assert "<script" not in write_report(folder).read_text()

    def test_nothing_to_report(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["report", str(tmp_path / "none")]) == 1
        shown = capsys.readouterr().err
        assert f"{tmp_path / 'none'}: no such folder. Remedy: wbcq reproduce all" in shown
        assert shown.count("\n") == 1
        (tmp_path / "bits.json").write_text("[]")
        with pytest.raises(ReportError, match=r"no results of experiments \(bits.json: damaged"):
            write_report(tmp_path)
        assert not (tmp_path / "report.html").exists()

    def test_command_and_a_page_that_cannot_be_written(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["report", str(folder)]) == 0
        assert capsys.readouterr().out.startswith(f"{folder / 'report.html'}: ")
        (folder / "file").write_text("")
        assert run(["report", str(folder), "--out", str(folder / "file" / "page.html")]) == 1
        assert "file" in capsys.readouterr().err


def test_further_figures_are_shown_with_what_they_show(folder: Path) -> None:
    from PIL import Image

    Image.new("RGB", (4, 4)).save(folder / "dataset-more.png")
    Image.new("RGB", (4, 4), "red").save(folder.parent / "elsewhere.png")
    path = folder / "dataset.json"
    record = json.loads(path.read_text())
    record["figures"] = {"dataset-more": "Cells & more", "../elsewhere": "Not ours"}
    path.write_text(json.dumps(record))
    text = write_report(folder, folder / "page.html").read_text(encoding="utf-8")
    assert "<figcaption>Cells &amp; more</figcaption>" in text
    assert "Not ours" not in text  # a file outside of the folder
    assert Page(text).text.count("Cells & more") == 1


def test_heat_overlay_is_brightest_where_it_is_hot() -> None:
    picture = np.full((4, 4, 3), 120, np.uint8)
    heat = np.zeros((4, 4))
    heat[1, 2] = 1
    shown = heat_overlay(picture, heat)
    assert shown.shape == (4, 4, 3)
    assert shown.sum(2).argmax() == 6
    assert math.isclose(float(shown[0, 0].max() - shown[0, 0].min()), 0, abs_tol=2)
