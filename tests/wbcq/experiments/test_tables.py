"""The experiments' tables, made of results that are known."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from wbcq.experiments import experiment, names
from wbcq.experiments.settings import Settings
from wbcq.experiments.store import Store
from wbcq.experiments.timing import measure_times
from wbcq.experiments.training import train
from wbcq.experiments.units import Plan, Unit
from wbcq.experiments.variants import variant_key

ACCURACY = {"training": 0.9, "ptq-per-tensor": 0.7, "ptq-per-channel": 0.89, "qat": 0.91}


def fill(settings: Settings, units: Iterable[Unit], without: str = "") -> Store:
    """A store with a made-up result of each unit; fold 1 is two points worse than fold 0."""
    store = Store(settings.out)
    plan = Plan(units)
    for unit in plan:
        if not without or not unit.key.endswith(without):
            store.save(unit, plan.fingerprints[unit.key], made_up(unit), 1.0)
    return store


def made_up(unit: Unit) -> dict[str, Any]:
    if unit.run is measure_times:
        return {
            "ms": {"pytorch": 12.0, **{m: 3.0 + k for k, m in enumerate(unit.arguments["models"])}}
        }
    if unit.key.startswith("dataset"):
        counts = {part: [5, 4, 3, 2, 1] for part in ("train", "val", "test")}
        fold = unit.arguments["cells"]["fold"]
        return {"fold": fold, "classes": list("abcde"), "counts": counts}
    kind = "training" if unit.run is train else unit.key.rsplit("/", 1)[1]
    accuracy = ACCURACY.get(kind, 0.5) - 0.02 * unit.arguments["cells"]["fold"]
    flips = {} if unit.run is train else {"flips": 5, "lost": 3, "gained": 1}
    return {
        "pictures": 200,
        "accuracy": accuracy,
        "macro_f1": accuracy - 0.1,
        "kappa": 0.8,
        "mcc": 0.81,
        "parameters": 1_250_000,
        "bytes": 4_000_000,
        "macs": 7_000_000,
        **flips,
    }


def shifted(root: Path) -> Path:
    """A data set that is listed but never read."""
    for name in "abcde":
        (root / name).mkdir(parents=True)
        for k in range(5):
            (root / name / f"{k}.png").touch()
    return root


def written(settings: Settings, name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((settings.out / f"{name}.json").read_text())
    return record


def find(record: dict[str, Any], **wanted: object) -> dict[str, Any]:
    (row,) = (r for r in record["rows"] if all(r[key] == value for key, value in wanted.items()))
    return row  # type: ignore[no-any-return]


@pytest.fixture
def settings(tiny: Settings, tmp_path: Path) -> Settings:
    return replace(tiny, out=tmp_path, shifted=shifted(tmp_path / "elsewhere"))


# The others are in test_explain and test_detection.
@pytest.mark.parametrize("name", [n for n in names() if n[:6] not in ("explai", "detect")])
def test_each_writes_its_three_files(settings: Settings, name: str) -> None:
    module = experiment(name)
    store = fill(settings, module.units(settings))
    module.write(settings, store)
    record = written(settings, name)
    assert record["name"] == name
    assert record["title"] == module.TITLE
    assert record["missing"] == []
    assert record["conditions"]["versions"]["wbcq"]
    markdown = (settings.out / f"{name}.md").read_text()
    assert markdown.startswith(f"# {module.TITLE}\n")
    assert settings.source.description in markdown
    assert (settings.out / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", names())
def test_nothing_done_is_no_error(settings: Settings, name: str) -> None:
    module = experiment(name)
    module.write(settings, Store(settings.out))
    record = written(settings, name)
    assert record["rows"] == []
    assert len(record["missing"]) == len(Plan(module.units(settings)))


class TestQuantization:
    def test_rows_are_means_over_folds_beside_the_study(self, settings: Settings) -> None:
        module = experiment("quantization")
        module.write(settings, fill(settings, module.units(settings)))
        record = written(settings, "quantization")
        assert len(record["rows"]) == 7 * 7
        row = find(record, architecture="mobilenet_v2", engine="wbcq", method="PTQ per tensor")
        assert row["accuracy %"] == pytest.approx(69)
        assert row["accuracy % sd"] == pytest.approx(2**0.5)
        assert row["macro F1"] == pytest.approx(0.59)
        assert row["loss, points"] == pytest.approx(20)
        assert row["loss, points sd"] == pytest.approx(0)
        assert row["flips %"] == pytest.approx(2.5)
        assert row["doubt"] == pytest.approx(1.95, abs=0.01)
        assert row["ms"] == 4.0
        assert row["parameters M"] == 1.25
        assert row["MB"] == 4.0
        assert (row["study %"], row["study F1"], row["study ms"]) == (91.18, 0.66, 31)

    def test_fp32_is_the_reference(self, settings: Settings) -> None:
        module = experiment("quantization")
        module.write(settings, fill(settings, module.units(settings)))
        row = find(
            written(settings, "quantization"),
            architecture="resnet18",
            type="FP32",
            engine="PyTorch",
        )
        assert row["loss, points"] is None
        assert row["flips %"] is None
        assert (row["ms"], row["study ms"]) == (12.0, 102)

    def test_ptq_of_the_study_that_is_not_told_apart_stands_beside_both(
        self, settings: Settings
    ) -> None:
        module = experiment("quantization")
        module.write(settings, fill(settings, module.units(settings)))
        record = written(settings, "quantization")
        beside = [r["method"] for r in record["rows"] if r["study %"] == 75.97]
        assert beside == ["PTQ per tensor", "PTQ per channel"] * 2
        assert any("mobilenet_v3_small" in note for note in record["notes"])

    def test_what_failed_is_left_out_and_named(self, settings: Settings) -> None:
        module = experiment("quantization")
        units = module.units(settings)
        lost = variant_key("resnet18", 1, "qat")
        module.write(settings, fill(settings, units, without=lost))
        record = written(settings, "quantization")
        row = find(record, architecture="resnet18", method="QAT")
        assert (row["folds"], row["accuracy % sd"]) == (1, None)
        assert row["accuracy %"] == pytest.approx(91)
        # Without the model there is no timing of the network either, in a real run.
        assert record["missing"] == [lost]
        assert lost in (settings.out / "quantization.md").read_text()

    def test_the_page_shows_the_spread(self, settings: Settings) -> None:
        module = experiment("quantization")
        module.write(settings, fill(settings, module.units(settings)))
        assert "69.00 ± 1.41" in (settings.out / "quantization.md").read_text()


def test_colour_has_a_row_for_each_modality(settings: Settings) -> None:
    module = experiment("colour")
    module.write(settings, fill(settings, module.units(settings)))
    record = written(settings, "colour")
    assert [r["modality"] for r in record["rows"]] == ["fluor", "green", "purple", "red", "stain"]
    assert find(record, modality="purple")["study F1"] == 0.763
    assert find(record, modality="stain")["study F1"] is None
    assert find(record, modality="red")["accuracy %"] == pytest.approx(89)


def test_models_compares_sizes(settings: Settings) -> None:
    module = experiment("models")
    module.write(settings, fill(settings, module.units(settings)))
    row = find(written(settings, "models"), architecture="resnet50", type="INT8")
    assert row["accuracy %"] == pytest.approx(88)
    assert (row["ms"], row["MMACs"], row["parameters M"]) == (3.0, 7.0, 1.25)


def test_shift_compares_with_fp32_on_the_same_pictures(settings: Settings) -> None:
    module = experiment("shift")
    module.write(settings, fill(settings, module.units(settings)))
    record = written(settings, "shift")
    assert len(record["rows"]) == 7 * 7
    row = find(record, architecture="resnet18", engine="wbcq", method="PTQ per tensor")
    assert row["at home %"] == pytest.approx(69)
    assert row["accuracy %"] == pytest.approx(70)
    assert row["loss, points"] == pytest.approx(-20)


def test_shift_needs_another_data_set(settings: Settings) -> None:
    with pytest.raises(ValueError, match="name it with --shifted FOLDER"):
        experiment("shift").units(replace(settings, shifted=None))


def test_bits_has_each_width(settings: Settings) -> None:
    module = experiment("bits")
    module.write(settings, fill(settings, module.units(settings)))
    brief = [(r["weights"], r["activations"]) for r in written(settings, "bits")["rows"]]
    assert brief == [(32, 32), (8, 8), (6, 6), (4, 4), (3, 3)]
    full = replace(settings, brief=False)
    module.write(full, fill(full, module.units(full)))
    record = written(full, "bits")
    assert len(record["rows"]) == 11
    assert find(record, weights=4, activations=4)["study F1"] == 0.183
    assert find(record, weights=4, activations=8)["study F1"] is None


def test_dataset_counts_real_labels(settings: Settings) -> None:
    study = replace(settings, preset="study", scale=1.0, folds=5)
    module = experiment("dataset")
    (first, *_) = module.units(study)
    counts = first.run(Store(settings.out), **first.arguments)["counts"]
    assert counts["test"] == [10, 136, 890, 25, 1924]
    both = [a + b for a, b in zip(counts["train"], counts["val"], strict=True)]
    assert both == [37, 541, 3558, 99, 7692]


def test_trainings_are_shared(settings: Settings) -> None:
    plan = Plan(unit for name in names() for unit in experiment(name).units(settings))
    trainings = [unit.key for unit in plan if unit.key.startswith("training/")]
    assert len(trainings) == 2 * (7 + 1 + 4)  # folds: networks, ResNet-50, other modalities


def test_a_wrong_name_lists_the_experiments() -> None:
    with pytest.raises(ValueError, match=r"no experiment 'color'; choose all or one of dataset, q"):
        experiment("color")
