"""Training of detectors: it learns, resumes to the same bits, and refuses what does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("pycocotools")
pytest.importorskip("PIL")

import torch
from torch import nn

from wbcq.detection.augment import Loaded, TileConfig
from wbcq.detection.data import FieldSet
from wbcq.detection.data.base import FieldOfView
from wbcq.detection.evaluate import Layout
from wbcq.detection.train import DetectConfig, set_anchors, train_detector
from wbcq.models.yolov3 import yolov3_tiny
from wbcq.train import CheckpointError

LAYOUT = Layout(("square", "disc"), (((36.0, 36.0),) * 3, ((18.0, 18.0),) * 3), (32, 16), 96)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def draw(seed: int) -> FieldOfView:
    """Dark squares and discs on light ground."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(190, 220, (96, 96, 3), np.uint8)
    boxes, labels = [], []
    rows, columns = np.mgrid[:96, :96]
    for x0 in (4, 52):
        side = int(rng.integers(18, 36))
        x, y = x0 + int(rng.integers(0, 8)), int(rng.integers(2, 58))
        label = int(rng.integers(2))
        radius = side / 2
        mask = (np.abs(columns + 0.5 - x - radius) <= radius) & (
            np.abs(rows + 0.5 - y - radius) <= radius
        )
        if label:
            mask &= np.hypot(columns + 0.5 - x - radius, rows + 0.5 - y - radius) <= radius
        picture[mask] = (120, 40, 120) if label else (40, 60, 140)
        boxes.append((x, y, x + side, y + side))
        labels.append(label)
    return FieldOfView(
        str(seed), 96, 96, np.array(boxes, np.float32), np.array(labels, np.int64), lambda: picture
    )


def loaded(field: FieldOfView) -> Loaded:
    return Loaded(field.read(), field.boxes, field.labels, np.full(3, 205, np.uint8))


TRAIN = [loaded(draw(k)) for k in range(24)]
VAL = FieldSet(("square", "disc"), tuple(draw(1000 + k) for k in range(6)))


def network() -> nn.Module:
    torch.manual_seed(0)
    model = yolov3_tiny(num_classes=2, width=0.125, activation="relu")
    set_anchors(model, LAYOUT.anchors)
    return model


def config(**changes: object) -> DetectConfig:
    tile = TileConfig(size=96, mosaic=0.25, zoom=(0.9, 1.1), light=0.05)
    settings = {"epochs": 2, "tiles": 16, "batch": 8, "tile": tile, "device": "cpu", **changes}
    return DetectConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.slow
def test_it_learns_to_find_and_to_name() -> None:
    result = train_detector(
        network(), TRAIN, VAL, LAYOUT, config(epochs=5, tiles=400, rate=1e-2, ema=0.9)
    )
    best = result.history[result.best_epoch]
    assert best.map50 > 0.8
    assert result.history[-1].loss < result.history[0].loss / 2


def test_interrupted_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = network()
    expected = train_detector(whole, TRAIN, VAL, LAYOUT, config())
    checkpoint = tmp_path / "c.ckpt"

    class StopError(Exception):
        pass

    def stop(epoch: int, _: object) -> None:
        raise StopError

    with pytest.raises(StopError):
        train_detector(
            network(), TRAIN, VAL, LAYOUT, config(), checkpoint=checkpoint, on_epoch=stop
        )
    again = network()
    seen: list[tuple[int, int]] = []
    result = train_detector(
        again,
        TRAIN,
        VAL,
        LAYOUT,
        config(),
        checkpoint=checkpoint,
        on_step=lambda *at: seen.append(at),
    )
    assert result == expected
    assert seen == [(3, 4), (4, 4)]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_the_last_epoch_is_kept_where_asked_for() -> None:
    empty = FieldSet(VAL.classes, ())
    result = train_detector(network(), TRAIN, empty, LAYOUT, config(epochs=3, choose="last"))
    assert result.best_epoch == 2
    assert result.history[2].map50 == 0


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.ckpt"
    train_detector(network(), TRAIN, VAL, LAYOUT, config(epochs=1), checkpoint=path)
    with pytest.raises(CheckpointError, match=r"another training \(other config\)"):
        train_detector(network(), TRAIN, VAL, LAYOUT, config(epochs=2), checkpoint=path)
    path.write_bytes(b"no")
    with pytest.raises(CheckpointError, match="damaged"):
        train_detector(network(), TRAIN, VAL, LAYOUT, config(epochs=1), checkpoint=path)


def test_a_loss_that_is_no_number_stops_it() -> None:
    model = network()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        train_detector(model, TRAIN, VAL, LAYOUT, config())


def test_anchors_start_with_nothing_found() -> None:
    model = network().eval()
    heads = model(torch.rand(1, 3, 96, 96))
    for head in heads:
        grid = head.view(1, 3, 7, *head.shape[2:])
        assert (torch.sigmoid(grid[:, :, 4]) < 0.1).all()
    assert model.anchors == LAYOUT.anchors
    with pytest.raises(ValueError, match=r"the network has \[3, 3\]"):
        set_anchors(model, (((1.0, 1.0),),))


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"epochs": 0}, "epochs is 0"), ({"rate": 0}, "rate is 0"), ({"ema": 1.0}, "ema is 1.0")],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config(**settings)


def test_no_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="no training pictures"):
        train_detector(network(), [], VAL, LAYOUT, config())
