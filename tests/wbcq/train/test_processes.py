"""Two processes train one network, as torchrun starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

import torch
import torch.distributed as dist

if not dist.is_available():
    pytest.skip("this torch has no distributed package", allow_module_level=True)

from tests.wbcq.train.test_classify import VAL, pictures
from wbcq.data import Augment
from wbcq.train import Processes, TrainConfig, process_group, train_classifier

ROOT = Path(__file__).resolve().parents[3]

# Every process saves what it ended with. Without normalization, dropout and augmentation, the mean
# of two processes' gradients is the gradient of one process that sees all.
SCRIPT = """
import json, pathlib, sys, torch
sys.path.insert(0, {root!r})
from tests.wbcq.train.test_processes import CONFIG, plain_network, trained
from wbcq.train import process_group

torch.set_num_threads(1)
out = pathlib.Path({out!r})
with process_group() as processes:
    assert processes.count == 2
    failed = ""
    try:
        processes.from_first(lambda: 1 / 0)
    except ZeroDivisionError as error:
        failed = str(error)
    for name, config in CONFIG.items():
        model, history = trained(config, out / f"{{name}}.ckpt")
        state = model.state_dict()
        torch.save([state, history, failed], out / f"{{name}}-{{processes.rank}}.pt")
"""

STILL = Augment(flip=False, rotation=0, zoom=0, light=0)
CONFIG = {
    "plain": TrainConfig(epochs=2, batch=20, rate=0.02, augment=STILL),
    "augmented": TrainConfig(epochs=2, batch=20, rate=0.02, ema=0.5),
}
TRAIN = pictures(67, 0)  # 3 batches of 20 and one of 7, which halves into 4 and 3


def plain_network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 3),
    )


def trained(config: TrainConfig, checkpoint: Path) -> tuple[torch.nn.Module, list[float]]:
    model = plain_network()
    result = train_classifier(model, TRAIN, VAL, config, checkpoint=checkpoint)
    return model, [epoch.val_accuracy for epoch in result.history]


def torchrun(arguments: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", *arguments]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    script = tmp_path / "both.py"
    script.write_text(SCRIPT.format(root=str(ROOT), out=str(tmp_path)))
    result = torchrun([str(script)], tmp_path)
    assert result.returncode == 0, result.stderr
    ends = {
        name: [torch.load(tmp_path / f"{name}-{rank}.pt", weights_only=True) for rank in (0, 1)]
        for name in CONFIG
    }
    for name, (first, second) in ends.items():
        assert first[1:] == second[1:], name
        assert all(torch.equal(value, second[0][key]) for key, value in first[0].items()), name
        assert "division by zero" in first[2]
    alone, history = trained(CONFIG["plain"], tmp_path / "alone.ckpt")
    assert ends["plain"][0][1] == pytest.approx(history, abs=0.05)
    for key, value in alone.state_dict().items():
        torch.testing.assert_close(ends["plain"][0][0][key], value, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_the_command_under_torchrun(tmp_path: Path) -> None:
    pytest.importorskip("typer")
    arguments = ["-m", "wbcq", "train", "--arch", "shufflenet_v2_x0_5", "--scale", "0.05"]
    arguments += ["--size", "32", "--epochs", "1", "--recipe", "wbcq", "--out", "out"]
    result = torchrun(arguments, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Results are in out.") == 1
    assert json.loads((tmp_path / "out/history.json").read_text())["processes"] == 2
    assert not list((tmp_path / "out").glob("*.ckpt"))


class TestAlone:
    def test_a_process_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        with process_group() as processes:
            assert processes == Processes(0, 1)
            assert not dist.is_initialized()
        assert processes.from_first(lambda: 3) == 3

    def test_a_group_of_one(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        store = dist.FileStore(str(tmp_path / "store"), 1)
        dist.init_process_group("gloo", store=store, rank=0, world_size=1)
        try:
            monkeypatch.setenv("WORLD_SIZE", "1")
            with process_group() as processes:
                assert (processes.count, processes.first) == (1, True)
            assert dist.is_initialized()  # who made it ends it
        finally:
            dist.destroy_process_group()
