"""The training loop on a network with quantization-aware training."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

import torch

import wbcq
from tests.wbcq.train.test_classify import CLASSES, VAL, network, pictures
from wbcq.data import ArrayPictures, Augment
from wbcq.train import TrainConfig, decisions, evaluate, predict, train_classifier
from wbcq.train.predict import batches

FEW_BITS = wbcq.QuantConfig(weight_bits=2, activation_bits=2, weight_observer="histogram")


def accuracy(model, test: ArrayPictures) -> float:  # type: ignore[no-untyped-def]
    return evaluate(test.labels, decisions(predict(model, test)), CLASSES).accuracy


def surprise(model, test: ArrayPictures) -> float:  # type: ignore[no-untyped-def]
    """Mean cross-entropy."""
    logits = torch.from_numpy(predict(model, test))
    return float(torch.nn.functional.cross_entropy(logits, torch.from_numpy(test.labels)))


@pytest.fixture(scope="module")
def trained() -> torch.nn.Module:
    model = network(dropout=0.0)
    config = TrainConfig(epochs=8, batch=20, rate=0.05)
    train_classifier(model, pictures(120, 0), VAL, config)
    return model


def test_it_recovers_what_few_bits_lose(trained: torch.nn.Module) -> None:
    train, test = pictures(120, 0), pictures(150, 5)
    calibration = [pixels for pixels, _ in batches(train, 30)]
    ptq = wbcq.quantize(trained, calibration, config=FEW_BITS, progress=False)
    steps = 6 * 10
    qat = wbcq.prepare_qat(
        trained,
        calibration,
        config=FEW_BITS,
        schedule=wbcq.QatSchedule.of(steps),
        progress=False,
    )
    config = TrainConfig(
        epochs=10, batch=20, rate=0.01, keep_start=True, augment=Augment(rotation=0, zoom=0)
    )
    result = train_classifier(qat, train, VAL, config)
    converted = wbcq.convert(qat)
    assert result.start is not None
    assert result.start.val_accuracy == pytest.approx(accuracy(ptq, VAL))
    assert accuracy(converted, VAL) >= result.start.val_accuracy
    assert surprise(converted, test) < 0.6 * surprise(ptq, test)


def test_it_never_ends_below_ptq(trained: torch.nn.Module) -> None:
    train = pictures(60, 0)
    qat = wbcq.prepare_qat(trained, next(batches(train, 60))[0], progress=False)
    before = wbcq.convert(qat)
    spoiling = TrainConfig(epochs=2, batch=20, rate=5.0, keep_start=True)
    result = train_classifier(qat, train, VAL, spoiling)
    assert accuracy(wbcq.convert(qat), VAL) >= accuracy(before, VAL)
    assert result.best_epoch == -1
