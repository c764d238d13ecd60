"""The synthetic generator: reproducible, aligned, and with classes that differ like real ones."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("PIL")

from wbcq.data.synthetic import ALIGNED, CLASSES, MODALITIES, SyntheticWbc, render_cell
from wbcq.data.synthetic.scene import specimen
from wbcq.data.synthetic.shapes import Grid, ellipse, noise


def stain(label: str, index: int, difficulty: float = 0.2, size: int = 64) -> np.ndarray:
    return render_cell(label, size=size, index=index, difficulty=difficulty)["stain"]


class TestReproducibility:
    def test_same_arguments_same_bytes(self) -> None:
        first = render_cell("monocyte", size=48, seed=7, index=3, modalities=MODALITIES)
        again = render_cell("monocyte", size=48, seed=7, index=3, modalities=MODALITIES)
        for modality in MODALITIES:
            np.testing.assert_array_equal(first[modality], again[modality])

    @pytest.mark.parametrize("change", [{"seed": 1}, {"index": 1}, {"label": 2}])
    def test_another_seed_index_or_class_is_another_cell(self, change: dict[str, int]) -> None:
        arguments = {"label": 0, "size": 48, "seed": 0, "index": 0}
        one = render_cell(**arguments)["stain"]
        other = render_cell(**{**arguments, **change})["stain"]
        assert np.mean(one != other) > 0.5

    def test_a_cell_does_not_depend_on_the_size_of_its_set(self) -> None:
        small, large = SyntheticWbc(2, size=32), SyntheticWbc((5, 3, 4, 2, 6), size=32)
        position = {name: i for i, name in enumerate(large.names)}
        for i, name in enumerate(small.names):
            np.testing.assert_array_equal(small.picture(i), large.picture(position[name]))

    def test_other_pixel_size_shows_the_same_cell(self) -> None:
        for index in range(6):
            fine = stain("neutrophil", index, difficulty=0.3, size=128).astype(np.float64)
            coarse = stain("neutrophil", index, difficulty=0.3, size=64).astype(np.float64)
            halved = fine.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
            assert np.corrcoef(halved.ravel(), coarse.ravel())[0, 1] > 0.97

    def test_global_random_state_is_left_alone(self) -> None:
        np.random.seed(5)
        before = np.random.get_state()[1].copy()
        stain("basophil", 0)
        np.testing.assert_array_equal(before, np.random.get_state()[1])


class TestModalities:
    def test_shapes_and_types(self) -> None:
        pictures = render_cell("eosinophil", size=40, modalities=MODALITIES)
        assert {m: p.shape[2] for m, p in pictures.items()} == {
            "stain": 3,
            "fluor": 1,
            "green": 1,
            "purple": 1,
            "red": 1,
        }
        assert all(p.dtype == np.uint8 and p.shape[:2] == (40, 40) for p in pictures.values())

    def test_a_modality_is_the_same_alone_and_with_others(self) -> None:
        together = render_cell("lymphocyte", size=48, modalities=MODALITIES)
        for modality in MODALITIES:
            alone = render_cell("lymphocyte", size=48, modalities=(modality,))[modality]
            np.testing.assert_array_equal(alone, together[modality])

    @pytest.mark.parametrize("label", CLASSES)
    def test_pictures_of_one_cell_are_aligned(self, label: str) -> None:
        # Chromatin glows in fluorescence where it is dark in red light, for this cell only.
        matched, mismatched = [], []
        for index in range(8):
            one = render_cell(label, size=48, index=index, modalities=("fluor", "red"))
            other = render_cell(label, size=48, index=index + 50, modalities=("red",))
            glow = one["fluor"].ravel().astype(np.float64)
            matched.append(np.corrcoef(glow, one["red"].ravel())[0, 1])
            mismatched.append(np.corrcoef(glow, other["red"].ravel())[0, 1])
        assert np.mean(matched) < -0.65
        assert np.mean(matched) < np.mean(mismatched) - 0.03

    def test_lights_show_different_substances(self) -> None:
        # Haemoglobin absorbs purple (Soret band) and hardly any red light.
        darkness = {"purple": [], "red": []}
        for index in range(10):
            pictures = render_cell(
                "lymphocyte", size=64, index=index, difficulty=0.0, modalities=("purple", "red")
            )
            border = np.ones((64, 64), bool)
            border[16:48, 16:48] = False
            for modality, picture in pictures.items():
                values = picture[..., 0][border].astype(np.float64)
                darkness[modality].append(1 - np.percentile(values, 5) / values.max())
        assert np.mean(darkness["purple"]) > 2.5 * np.mean(darkness["red"])

    def test_all_gives_the_four_in_their_order(self) -> None:
        cells = SyntheticWbc(1, size=32, modality="all")
        singles = [SyntheticWbc(1, size=32, modality=name).picture(3) for name in ALIGNED]
        np.testing.assert_array_equal(cells.picture(3), np.concatenate(singles, axis=2))


class TestClasses:
    """Class differences of real smears, measured on the specimen and on pictures."""

    @pytest.fixture(scope="class")
    @classmethod
    def measured(cls) -> dict[str, dict[str, float]]:
        grid = Grid.square(64, 26.0)
        result = {}
        for label, name in enumerate(CLASSES):
            rows = []
            for index in range(40):
                amounts = specimen(np.random.default_rng([label, index]), grid, label, 0.2)
                zero = np.zeros_like(grid.x)
                chromatin = amounts["chromatin"]
                cell = np.zeros_like(grid.x)
                for substance in ("chromatin", "blue", "pink", "eosin", "dark"):
                    cell += amounts.get(substance, zero)
                near = np.hypot(grid.x, grid.y) < 10
                area = grid.pixel**2
                rows.append(
                    {
                        "cell": area * np.sum((cell > 0.25) & near),
                        "nucleus": area * np.sum((chromatin > 0.3) & near),
                        "eosin": float(amounts.get("eosin", zero).sum()),
                        "dark": float(amounts["dark"][near].sum()),
                        "blue": float(amounts["blue"][near].sum()),
                    }
                )
            result[name] = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        return result

    def test_sizes(self, measured: dict[str, dict[str, float]]) -> None:
        cell = {name: values["cell"] for name, values in measured.items()}
        assert max(cell, key=cell.__getitem__) == "monocyte"
        assert min(cell, key=cell.__getitem__) == "lymphocyte"
        # 9 to 16 micrometres across.
        assert all(55 < area < 230 for area in cell.values())

    def test_nucleus_to_cell_ratio(self, measured: dict[str, dict[str, float]]) -> None:
        ratio = {name: v["nucleus"] / v["cell"] for name, v in measured.items()}
        assert max(ratio, key=ratio.__getitem__) == "lymphocyte"
        assert ratio["lymphocyte"] > 0.6
        assert ratio["neutrophil"] < 0.45

    def test_granules(self, measured: dict[str, dict[str, float]]) -> None:
        for substance, owner in (("eosin", "eosinophil"), ("dark", "basophil")):
            amounts = {name: values[substance] for name, values in measured.items()}
            highest = amounts.pop(owner)
            assert highest > 5 * max(amounts.values())
        assert measured["monocyte"]["blue"] > 2 * measured["neutrophil"]["blue"]

    def test_colours_in_the_stained_picture(self) -> None:
        def redness(label: str) -> float:
            centre = [stain(label, k)[20:44, 20:44].astype(np.float64) for k in range(20)]
            return float(np.mean([p[..., 0].mean() - p[..., 2].mean() for p in centre]))

        values = {name: redness(name) for name in CLASSES}
        assert max(values, key=values.__getitem__) == "eosinophil"
        assert values["eosinophil"] > values["lymphocyte"] + 20

    def test_difficulty_makes_classes_overlap(self) -> None:
        easy, hard = (self.separability(difficulty) for difficulty in (0.0, 1.0))
        assert easy > 0.7  # chance is 0.2
        assert hard < easy - 0.1

    @staticmethod
    def separability(difficulty: float) -> float:
        """Accuracy of the nearest class mean on coarse features, on cells not used for means."""
        features, labels = [], []
        for label, name in enumerate(CLASSES):
            for index in range(40):
                picture = stain(name, index, difficulty, size=48).astype(np.float64) / 255
                dark = picture.mean(axis=2) < 0.5
                middle = picture[14:34, 14:34].reshape(-1, 3)
                features.append([*middle.mean(axis=0), *middle.std(axis=0), dark.mean()])
                labels.append(label)
        x, y = np.array(features), np.array(labels)
        fit = np.arange(len(y)) % 2 == 0
        x = (x - x[fit].mean(axis=0)) / x[fit].std(axis=0)
        means = np.stack([x[fit & (y == label)].mean(axis=0) for label in range(len(CLASSES))])
        nearest = ((x[~fit, None] - means) ** 2).sum(axis=2).argmin(axis=1)
        return float(np.mean(nearest == y[~fit]))


class TestDataset:
    def test_counts_labels_and_names(self) -> None:
        cells = SyntheticWbc((1, 2, 3, 0, 4), size=32)
        assert len(cells) == 10
        assert np.bincount(cells.labels, minlength=5).tolist() == [1, 2, 3, 0, 4]
        assert len(set(cells.names)) == 10

    def test_any_prefix_is_balanced(self) -> None:
        cells = SyntheticWbc(20, size=32)
        for count in (5, 25, 60):
            assert set(np.bincount(cells.labels[:count], minlength=5)) == {count // 5}

    def test_ranges_of_one_seed_are_disjoint(self) -> None:
        one, other = SyntheticWbc(3, size=32), SyntheticWbc(3, size=32, first=3)
        assert not set(one.names) & set(other.names)
        assert SyntheticWbc(6, size=32).names != one.names

    def test_items_are_tensors_that_a_loader_can_batch(self) -> None:
        torch = pytest.importorskip("torch")
        pixels, label = SyntheticWbc(1, size=32)[2]
        assert pixels.shape == (3, 32, 32)
        assert pixels.dtype == torch.float32
        assert 0 <= pixels.min() <= pixels.max() <= 1
        assert label == 2
        loader = torch.utils.data.DataLoader(SyntheticWbc(1, size=32, modality="all"), 5)
        (pictures, labels), *rest = list(loader)
        assert not rest
        assert [tuple(p.shape) for p in pictures] == [(5, 3, 32, 32)] * 4
        assert labels.tolist() == [0, 1, 2, 3, 4]

    def test_iteration_ends(self) -> None:
        pytest.importorskip("torch")
        cells = SyntheticWbc(1, size=16)
        assert len(list(cells)) == 5  # by IndexError, the sequence protocol

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"n_per_class": 0}, "positive number"),
            ({"n_per_class": (1, 2, 3)}, "one count for each"),
            ({"n_per_class": 1, "size": 8}, "size is 8 pixels"),
            ({"n_per_class": 1, "modality": "infrared"}, "infrared"),
            ({"n_per_class": 1, "difficulty": 1.5}, "difficulty is 1.5"),
            ({"n_per_class": 1, "seed": -1}, "seed is -1"),
            ({"n_per_class": 1, "first": -1}, "first is -1"),
        ],
    )
    def test_wrong_arguments(self, arguments: dict[str, object], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            SyntheticWbc(**arguments)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"label": "platelet"}, "platelet"),
            ({"label": 5}, "0 to 4"),
            ({"label": 0, "modalities": ("x",)}, "modality is 'x'"),
            ({"label": 0, "index": -1}, "index is -1"),
        ],
    )
    def test_wrong_cells(self, arguments: dict[str, object], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            render_cell(**arguments)  # type: ignore[arg-type]


class TestShapes:
    def test_noise_has_unit_variance_everywhere(self) -> None:
        grid = Grid.square(24, 26.0)
        rng = np.random.default_rng(0)
        fields = np.stack([noise(rng, grid, 4.0) for _ in range(3000)])
        assert abs(fields.mean()) < 0.02
        np.testing.assert_allclose(fields.std(axis=0), 1, atol=0.08)

    def test_ellipse_is_a_distance_near_its_outline(self) -> None:
        grid = Grid.square(200, 20.0)
        distance = ellipse(grid.x, grid.y, 1.0, -0.5, 4.0, 2.0, 0.7)
        area = np.sum(distance < 0) * grid.pixel**2
        assert area == pytest.approx(np.pi * 8, rel=0.01)
        gy, gx = np.gradient(distance, grid.pixel)
        edge = np.abs(distance) < 0.1
        np.testing.assert_allclose(np.hypot(gx, gy)[edge], 1, atol=0.1)

    def test_amounts_are_single_precision(self) -> None:
        grid = Grid.square(32, 26.0)
        for label in range(5):
            amounts = specimen(np.random.default_rng(label), grid, label, 1.0)
            assert {a.dtype for a in amounts.values()} == {np.dtype(np.float32)}
            assert all(np.all(a >= 0) for a in amounts.values())
