"""The training loop: it learns, chooses its epoch on validation, and resumes to the same bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

import torch
from torch import nn

from wbcq.data import ArrayPictures, Augment
from wbcq.train import (
    CheckpointError,
    Epoch,
    TrainConfig,
    decisions,
    evaluate,
    load_checkpoint,
    predict,
    save_checkpoint,
    train_classifier,
)

CLASSES = ("dark", "light", "striped")


def pictures(count: int, seed: int, classes: tuple[str, ...] = CLASSES) -> ArrayPictures:
    """Noise around a level per class; the last class has stripes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(classes)
    level = np.array([70, 170, 120])[labels][:, None, None, None]
    stripes = (labels == 2)[:, None, None, None] * 50 * (-1) ** np.arange(12)[None, None, :, None]
    noise = rng.normal(0, 30, (count, 12, 12, 3))
    pixels = np.clip(level + stripes + noise, 0, 255).astype(np.uint8)
    return ArrayPictures(pixels, labels, classes, tuple(f"{seed}-{k}" for k in range(count)))


def network(seed: int = 0, dropout: float = 0.2) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(8, 3),
    )


TRAIN, VAL = pictures(61, 0), pictures(24, 1)  # 61 = 3 batches of 20 and one picture
CONFIG = TrainConfig(epochs=3, batch=20, rate=0.02, seed=4)


def equal_states(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


class TestTraining:
    def test_it_learns(self) -> None:
        model = network()
        config = TrainConfig(epochs=8, batch=20, rate=0.05)
        result = train_classifier(model, pictures(120, 0), VAL, config)
        test = pictures(90, 2)
        assert evaluate(test.labels, decisions(predict(model, test)), CLASSES).accuracy > 0.9
        assert result.history[-1].loss < 0.6 * result.history[0].loss
        assert not model.training

    def test_same_seed_same_bits(self) -> None:
        models = [network() for _ in range(3)]
        results = [
            train_classifier(model, TRAIN, VAL, TrainConfig(epochs=2, batch=20, seed=seed))
            for model, seed in zip(models, (1, 1, 2), strict=True)
        ]
        assert equal_states(models[0], models[1])
        assert results[0].history == results[1].history
        assert results[0].history != results[2].history

    def test_callers_random_state_is_left_alone(self) -> None:
        model = network()
        torch.manual_seed(7)
        expected = torch.rand(3)
        torch.manual_seed(7)
        train_classifier(model, TRAIN, VAL, CONFIG)
        assert torch.equal(torch.rand(3), expected)

    def test_model_has_the_weights_of_the_best_validation_epoch(self) -> None:
        states: list[dict[str, torch.Tensor]] = []
        model = network()
        history: list[Epoch] = []

        def keep(_: int, epoch: Epoch) -> None:
            history.append(epoch)
            states.append({k: v.clone() for k, v in model.state_dict().items()})

        config = TrainConfig(epochs=6, batch=20, rate=0.3, seed=1)
        result = train_classifier(model, TRAIN, VAL, config, on_epoch=keep)
        ranks = [(e.val_accuracy, e.val_macro_f1, k) for k, e in enumerate(history)]
        assert result.best_epoch == max(ranks)[2]
        for key, value in model.state_dict().items():
            assert torch.equal(value, states[result.best_epoch][key])
        chosen = decisions(predict(model, VAL))
        assert evaluate(VAL.labels, chosen, CLASSES).accuracy == max(ranks)[0]

    @pytest.mark.parametrize(("count", "epochs"), [(2, 1), (20, 1), (21, 1), (22, 1), (40, 5)])
    def test_any_number_of_steps(self, count: int, epochs: int) -> None:
        config = TrainConfig(epochs=epochs, batch=20)
        result = train_classifier(network(), TRAIN.subset(range(count)), VAL, config)
        assert len(result.history) == epochs

    def test_steps_are_counted(self) -> None:
        steps: list[tuple[int, int]] = []
        train_classifier(
            network(), TRAIN, VAL, CONFIG, on_step=lambda done, total: steps.append((done, total))
        )
        assert steps == [(k, 9) for k in range(1, 10)]

    def test_balance_helps_a_rare_class(self) -> None:
        rng = np.random.default_rng(0)
        common = [k for k in range(300) if k % 3 != 2 or rng.random() < 0.05]
        rare = pictures(300, 0).subset(common)
        recalls = {}
        for balance in (False, True):
            model = network(dropout=0.0)
            config = TrainConfig(epochs=4, batch=20, rate=0.05, balance=balance)
            train_classifier(model, rare, VAL, config)
            test = pictures(150, 3)
            chosen = decisions(predict(model, test))
            recalls[balance] = evaluate(test.labels, chosen, CLASSES).recall[2]
        assert recalls[True] > recalls[False] + 0.2

    def test_label_smoothing_raises_the_loss_of_sure_decisions(self) -> None:
        losses = []
        for smoothing in (0.0, 0.3):
            config = TrainConfig(epochs=8, batch=20, rate=0.05, label_smoothing=smoothing)
            history = train_classifier(network(dropout=0.0), TRAIN, VAL, config).history
            losses.append(history[-1].loss)
        assert losses[1] > losses[0] + 0.2

    def test_balanced_sampling_helps_a_rare_class(self) -> None:
        rare = pictures(300, 0).subset([k for k in range(300) if k % 3 != 2 or k % 60 == 2])
        recalls = {}
        for sampling in ("shuffle", "balanced"):
            model = network(dropout=0.0)
            config = TrainConfig(epochs=4, batch=20, rate=0.05, sampling=sampling)  # type: ignore[arg-type]
            train_classifier(model, rare, VAL, config)
            test = pictures(150, 3)
            chosen = decisions(predict(model, test))
            recalls[sampling] = evaluate(test.labels, chosen, CLASSES).recall[2]
        assert recalls["balanced"] > recalls["shuffle"] + 0.2

    def test_the_average_of_the_weights_is_kept(self) -> None:
        plain, averaged = network(), network()
        train_classifier(plain, TRAIN, VAL, TrainConfig(epochs=1, batch=20, rate=0.3))
        start = network().state_dict()["6.weight"]
        train_classifier(averaged, TRAIN, VAL, TrainConfig(epochs=1, batch=20, rate=0.3, ema=0.9))
        moved = [(m.state_dict()["6.weight"] - start).abs().sum() for m in (averaged, plain)]
        assert 0 < moved[0] < 0.6 * moved[1]

    def test_patience_stops_early(self) -> None:
        model = network()
        config = TrainConfig(epochs=50, batch=20, rate=1e-9, patience=2)
        history: list[Epoch] = []
        result = train_classifier(
            model, TRAIN, VAL, config, on_epoch=lambda _, epoch: history.append(epoch)
        )
        assert 3 <= len(result.history) == len(history) < 50
        best = result.best_epoch
        assert len(history) - 1 - best == 2

    def test_the_start_is_kept_if_nothing_is_better(self) -> None:
        model = network()
        train_classifier(model, pictures(120, 0), VAL, TrainConfig(epochs=8, batch=20, rate=0.05))
        before = {k: v.clone() for k, v in model.state_dict().items()}
        spoiling = TrainConfig(epochs=2, batch=20, rate=3.0, keep_start=True)
        result = train_classifier(model, TRAIN, VAL, spoiling)
        assert result.start is not None
        assert result.best_epoch == -1
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())

    def test_a_teacher_is_learned_from(self) -> None:
        """A student that sees no labels that tell anything still learns what its teacher knows."""
        teacher = network()
        config = TrainConfig(epochs=8, batch=20, rate=0.05)
        train_classifier(teacher, pictures(120, 0), VAL, config)
        mislabelled = pictures(120, 0)
        rng = np.random.default_rng(0)
        noise = ArrayPictures(
            mislabelled.pixels, rng.permutation(mislabelled.labels), CLASSES, mislabelled.names
        )
        test = pictures(90, 2)
        accuracy = {}
        for distill in (0.0, 1.0):
            student = network(seed=3)
            settings = TrainConfig(epochs=8, batch=20, rate=0.05, distill=distill)
            train_classifier(student, noise, VAL, settings, teacher=teacher)
            chosen = decisions(predict(student, test))
            accuracy[distill] = evaluate(test.labels, chosen, CLASSES).accuracy
        assert accuracy[1.0] > max(0.9, accuracy[0.0])

    def test_a_loss_that_explodes_is_an_error(self) -> None:
        model = network()
        with torch.no_grad():
            model[6].weight.fill_(float("inf"))
        with pytest.raises(FloatingPointError, match="lower the learning rate"):
            train_classifier(model, TRAIN, VAL, CONFIG)

    def test_other_classes_in_val(self) -> None:
        with pytest.raises(ValueError, match="use the same"):
            train_classifier(network(), TRAIN, pictures(6, 0, ("x", "y", "z")), CONFIG)

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ({"epochs": 0}, "epochs is 0"),
            ({"batch": 1}, "batch is 1"),
            ({"rate": 0.0}, "rate is 0"),
            ({"label_smoothing": 1.0}, "label_smoothing is 1"),
            ({"ema": 1.0}, "ema is 1"),
            ({"patience": 0}, "patience is 0"),
            ({"temperature": 0}, "temperature is 0"),
            ({"distill": 1.5}, "distill is 1.5"),
            ({"repetition": -0.1}, "repetition is -0.1"),
            ({"sampling": "all"}, "sampling is 'all'"),
            ({"precision": "int4"}, "precision is 'int4'; use one of fp32, bf16, fp16, mixed"),
        ],
    )
    def test_wrong_settings(self, setting: dict[str, float], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            TrainConfig(**setting)  # type: ignore[arg-type]


class TestRecipes:
    def test_the_study(self) -> None:
        config = TrainConfig.study(epochs=2, seed=3)
        assert (config.optimizer, config.rate, config.warmup, config.batch) == (
            "adam",
            1e-3,
            0.1,
            64,
        )
        assert (config.epochs, config.seed, config.label_smoothing) == (2, 3, 0)
        assert (config.augment.operations, config.augment.magnitude) == (3, 5)
        assert TrainConfig.study().epochs == 25

    def test_it_trains(self) -> None:
        pytest.importorskip("kornia")
        model = network()
        config = TrainConfig.study(epochs=8, batch=20, rate=0.05)
        train_classifier(model, pictures(120, 0), VAL, config)
        assert evaluate(VAL.labels, decisions(predict(model, VAL)), CLASSES).accuracy > 0.6


class TestPrecision:
    def test_half_precision_needs_a_gpu(self) -> None:
        with pytest.raises(ValueError, match="'fp16' on a CPU"):
            train_classifier(network(), TRAIN, VAL, replace(CONFIG, precision="fp16"))

    def test_mixed_on_a_cpu_is_float32(self) -> None:
        plain, mixed = network(), network()
        train_classifier(plain, TRAIN, VAL, CONFIG)
        train_classifier(mixed, TRAIN, VAL, replace(CONFIG, precision="mixed"))
        assert equal_states(plain, mixed)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    @pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "mixed"])
    def test_a_gpu_learns_in_any_precision(self, precision: str, tmp_path: Path) -> None:
        model = network()
        config = TrainConfig(epochs=8, batch=20, rate=0.05, precision=precision, device="cuda")  # type: ignore[arg-type]
        path = tmp_path / "training.ckpt"
        result = train_classifier(model, pictures(120, 0), VAL, config, checkpoint=path)
        assert result.history[result.best_epoch].val_accuracy > 0.9
        assert next(model.parameters()).device.type == "cpu"
        again = train_classifier(network(), pictures(120, 0), VAL, config, checkpoint=path)
        assert again == result


class TestCheckpoint:
    @pytest.mark.parametrize(("interrupted_after", "ema"), [(0, 0.0), (1, 0.0), (1, 0.9)])
    def test_resumed_training_gives_the_same_bits(
        self, tmp_path: Path, interrupted_after: int, ema: float
    ) -> None:
        whole, config = network(), replace(CONFIG, ema=ema)
        expected = train_classifier(whole, TRAIN, VAL, config)

        def interrupt(epoch: int, _: Epoch) -> None:
            if epoch == interrupted_after:
                raise KeyboardInterrupt

        path = tmp_path / "training.ckpt"
        with pytest.raises(KeyboardInterrupt):
            train_classifier(network(), TRAIN, VAL, config, checkpoint=path, on_epoch=interrupt)
        resumed = network(seed=99)  # other weights: all must come from the checkpoint
        epochs: list[int] = []
        result = train_classifier(
            resumed,
            TRAIN,
            VAL,
            config,
            checkpoint=path,
            on_epoch=lambda epoch, _: epochs.append(epoch),
        )
        assert epochs == list(range(interrupted_after + 1, 3))
        assert result == expected
        assert equal_states(resumed, whole)

    def test_finished_training_only_loads(self, tmp_path: Path) -> None:
        path = tmp_path / "training.ckpt"
        first, second = network(), network(seed=5)
        train_classifier(first, TRAIN, VAL, CONFIG, checkpoint=path)
        steps: list[int] = []
        train_classifier(
            second, TRAIN, VAL, CONFIG, checkpoint=path, on_step=lambda done, _: steps.append(done)
        )
        assert not steps
        assert equal_states(first, second)

    def test_interrupted_writing_keeps_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "training.ckpt"
        save_checkpoint(path, {"epoch": 1})

        def half(_: object, file: Path) -> None:
            Path(file).write_bytes(b"half")
            raise KeyboardInterrupt

        monkeypatch.setattr(torch, "save", half)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(path, {"epoch": 2})
        monkeypatch.undo()
        assert load_checkpoint(path) == {"epoch": 1}
        assert list(tmp_path.iterdir()) == [path]

    def test_other_settings_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "training.ckpt"
        train_classifier(network(), TRAIN, VAL, CONFIG, checkpoint=path)
        other = TrainConfig(epochs=3, batch=20, rate=0.01, seed=4, augment=Augment(zoom=0))
        with pytest.raises(CheckpointError, match=r"augment .*instead of|rate 0.02 instead of"):
            train_classifier(network(), TRAIN, VAL, other, checkpoint=path)

    def test_another_model_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "training.ckpt"
        train_classifier(network(), TRAIN, VAL, CONFIG, checkpoint=path)
        with pytest.raises(CheckpointError, match="does not fit this model"):
            train_classifier(
                nn.Sequential(nn.Flatten(), nn.Linear(432, 3)), TRAIN, VAL, CONFIG, checkpoint=path
            )

    @pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 truncated"])
    def test_damaged(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "training.ckpt"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"training\.ckpt: damaged"):
            load_checkpoint(path)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="no such checkpoint"):
            load_checkpoint(tmp_path / "none.ckpt")

    def test_a_file_that_would_run_code_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "evil.ckpt"
        torch.save({"x": Path("y")}, path)  # any class outside of torch's list
        with pytest.raises(CheckpointError):
            load_checkpoint(path)


class TestPredict:
    def test_order_and_batches(self) -> None:
        class Mean(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return torch.stack([x.mean((1, 2, 3)), -x.mean((1, 2, 3))], 1)

        seen: list[tuple[int, int]] = []
        logits = predict(
            Mean(), VAL, batch=7, progress=lambda done, total: seen.append((done, total))
        )
        expected = VAL.pixels.mean(axis=(1, 2, 3)) / 255
        np.testing.assert_allclose(logits[:, 0], expected, rtol=1e-5)
        assert seen == [(7, 24), (14, 24), (21, 24), (24, 24)]

    @pytest.mark.parametrize(
        "model",
        [lambda x: x, lambda x: x.mean((2, 3))[:3], lambda x: x.mean((2, 3)) * float("nan")],
    )
    def test_not_a_classifier(self, model) -> None:  # type: ignore[no-untyped-def]
        with pytest.raises(ValueError, match="a classifier returns"):
            predict(model, VAL)

    def test_ties_go_to_the_lowest_class(self) -> None:
        assert decisions(np.array([[1, 1, 0], [0, 2, 2]], np.float32)).tolist() == [0, 1]
