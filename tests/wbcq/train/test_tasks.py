"""Networks of several pictures: their streams, their scores, and their training in every form."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

import torch
from torch import nn

import wbcq
from wbcq.data import ArrayPictures, Augment
from wbcq.models.mm_mimo import mm_mimo3
from wbcq.train import (
    TrainConfig,
    class_scores,
    decisions,
    evaluate,
    inputs_of,
    predict,
    train_classifier,
)
from wbcq.train.predict import batches
from wbcq.train.tasks import interface, stream_orders, streams_loss

CLASSES = ("a", "b")


def cells(count: int, seed: int) -> ArrayPictures:
    """Twelve channels: each of the four pictures is brighter for the second class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    level = 100 + 60 * labels[:, None, None, None]
    pixels = np.clip(level + rng.normal(0, 25, (count, 8, 8, 12)), 0, 255).astype(np.uint8)
    return ArrayPictures(pixels, labels, CLASSES, tuple(f"{seed}-{k}" for k in range(count)))


class Mimo(nn.Module):
    """As MM-MIMO3, and tiny."""

    MODALITIES = ("fluor", "green", "purple", "red")

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.trunk = nn.Sequential(
            nn.Conv2d(12, 16, 3, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.heads = nn.ModuleList(nn.Linear(16, 2) for _ in range(4))

    def forward(self, *pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = self.trunk(torch.cat(pictures, dim=1))
        return tuple(head(features) for head in self.heads)

    training_loss = staticmethod(lambda *_: pytest.fail("the training loop has its own"))


STILL = Augment(flip=False, rotation=0, zoom=0, light=0)
TRAIN, VAL, TEST = cells(120, 0), cells(24, 1), cells(100, 2)


def accuracy(model) -> float:  # type: ignore[no-untyped-def]
    return evaluate(TEST.labels, decisions(predict(model, TEST)), CLASSES).accuracy


@pytest.fixture(scope="module")
def trained() -> Mimo:
    model = Mimo()
    config = TrainConfig(epochs=12, batch=20, rate=0.05, augment=STILL)
    train_classifier(model, TRAIN, VAL, config)
    return model


@pytest.fixture(scope="module")
def calibration() -> list[tuple[torch.Tensor, ...]]:
    return [inputs_of(Mimo(), pixels) for pixels, _ in batches(TRAIN, 30)]


class TestStreams:
    def test_the_loss_is_that_of_the_network(self) -> None:
        model = mm_mimo3(num_classes=5).eval()
        pixels, labels = torch.rand(6, 12, 32, 32), torch.tensor([0, 1, 2, 3, 4, 0])
        inputs = inputs_of(model, pixels)
        orders = stream_orders(model, 6, torch.Generator().manual_seed(3))
        loss = streams_loss(
            model, inputs, labels, orders, lambda x, y, _: nn.functional.cross_entropy(x, y)
        )
        generator = torch.Generator().manual_seed(3)
        expected = model.training_loss(inputs, labels, generator=generator)
        assert torch.equal(loss, expected)

    def test_each_head_learns_its_own_stream(self) -> None:
        """After training, a head follows its own picture and no other."""
        model = Mimo()
        config = TrainConfig(epochs=25, batch=20, rate=0.1, augment=STILL)
        train_classifier(model, cells(400, 0), VAL, config)
        pixels = torch.full((1, 12, 8, 8), 100 / 255)
        with torch.no_grad():
            plain = torch.stack(model(*inputs_of(model, pixels)))[:, 0]
            for position in range(4):
                bright = pixels.clone()
                bright[:, 3 * position : 3 * position + 3] = 160 / 255
                outputs = torch.stack(model(*inputs_of(model, bright)))[:, 0]
                rise = (outputs - plain)[:, 1] - (outputs - plain)[:, 0]
                assert int(rise.argmax()) == position

    def test_repeated_cells_stay_where_they_are(self) -> None:
        orders = stream_orders(Mimo(), 2000, torch.Generator().manual_seed(1), repetition=0.7)
        together = torch.stack([order for order in orders if order is not None])
        assert torch.equal(together.sort(dim=1).values, torch.arange(2000).expand(4, -1))
        assert 0.66 < (together == torch.arange(2000)).all(dim=0).float().mean() < 0.74

    def test_all_or_none_are_repeated(self) -> None:
        generator = torch.Generator().manual_seed(1)
        for order in stream_orders(Mimo(), 50, generator, repetition=1.0):
            assert order is not None
            assert torch.equal(order, torch.arange(50))
        apart = stream_orders(Mimo(), 50, generator)
        assert not any(torch.equal(order, torch.arange(50)) for order in apart if order is not None)

    def test_a_teacher_is_shuffled_with_its_pictures(self) -> None:
        model = Mimo().eval()
        pixels, labels = torch.rand(6, 12, 8, 8), torch.arange(6)
        taught = labels[:, None].float()
        seen = []

        def criterion(
            logits: torch.Tensor, targets: torch.Tensor, teacher: torch.Tensor | None
        ) -> torch.Tensor:
            assert teacher is not None
            seen.append((targets.tolist(), teacher[:, 0].tolist()))
            return logits.sum()

        orders = stream_orders(model, 6, torch.Generator().manual_seed(0))
        streams_loss(model, inputs_of(model, pixels), labels, orders, criterion, taught)
        assert len({tuple(targets) for targets, _ in seen}) == 4
        assert all(targets == teacher for targets, teacher in seen)

    def test_wrong_number_of_modalities(self) -> None:
        with pytest.raises(ValueError, match="3 channels cannot be dealt to the model's 4"):
            inputs_of(Mimo(), torch.rand(2, 3, 8, 8))


class TestScores:
    def test_mean_of_probabilities(self) -> None:
        heads = [torch.randn(5, 3) for _ in range(4)]
        expected = torch.stack(heads).softmax(-1).mean(0)
        torch.testing.assert_close(class_scores(heads).softmax(-1), expected)
        torch.testing.assert_close(class_scores(heads), expected.log())

    def test_heads_that_are_sure_stay_finite(self) -> None:
        sure = torch.tensor([[0.0, 400.0]])
        assert torch.isfinite(class_scores([sure, sure])).all()

    def test_predict_is_the_networks_own(self) -> None:
        model = mm_mimo3(num_classes=2).eval()
        some = TEST.subset(range(5))
        pixels = ArrayPictures(
            some.pixels.repeat(4, axis=1).repeat(4, axis=2), some.labels, CLASSES, some.names
        )
        own = model.predict(*inputs_of(model, next(batches(pixels, 5))[0]))
        scores = torch.from_numpy(predict(model, pixels, batch=2))
        torch.testing.assert_close(scores.softmax(dim=1), own, rtol=1e-4, atol=1e-6)


class TestTraining:
    def test_it_learns(self, trained: Mimo) -> None:
        assert interface(trained) == (4, 4)
        assert accuracy(trained) > 0.95

    def test_single_pictures_do_not_fit(self) -> None:
        narrow = ArrayPictures(TRAIN.pixels[..., :3], TRAIN.labels, CLASSES, TRAIN.names)
        with pytest.raises(ValueError, match="load modality all"):
            train_classifier(Mimo(), narrow, narrow, TrainConfig(epochs=1))

    def test_a_teacher_of_the_same_kind(self, trained: Mimo) -> None:
        rng = np.random.default_rng(0)
        noise = ArrayPictures(TRAIN.pixels, rng.permutation(TRAIN.labels), CLASSES, TRAIN.names)
        student = Mimo(seed=3)
        config = TrainConfig(epochs=12, batch=20, rate=0.05, distill=1.0, augment=STILL)
        train_classifier(student, noise, VAL, config, teacher=trained)
        assert accuracy(student) > 0.9

    def test_quantized(self, trained: Mimo, calibration: list[tuple[torch.Tensor, ...]]) -> None:
        quantized = wbcq.quantize(trained, calibration, progress=False)
        assert interface(quantized) == (4, 4)
        assert accuracy(quantized) > 0.95
        difference = predict(quantized, TEST) - predict(trained, TEST)
        assert np.abs(difference).mean() < 0.1

    def test_quantization_aware(
        self, trained: Mimo, calibration: list[tuple[torch.Tensor, ...]]
    ) -> None:
        few_bits = wbcq.QuantConfig(weight_bits=2, activation_bits=2, weight_observer="histogram")
        qat = wbcq.prepare_qat(trained, calibration, config=few_bits, progress=False)
        assert interface(qat) == (4, 4)
        before = predict(wbcq.convert(qat), TEST)
        config = TrainConfig(epochs=6, batch=20, rate=0.01, keep_start=True, augment=STILL)
        result = train_classifier(qat, TRAIN, VAL, config)
        after = predict(wbcq.convert(qat), TEST)
        np.testing.assert_array_equal(after, predict(qat, TEST))
        assert result.history
        right = np.arange(len(TEST)), TEST.labels
        assert surprise(after)[right].mean() < surprise(before)[right].mean()


def surprise(scores: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return -torch.from_numpy(scores).log_softmax(dim=1).numpy()
