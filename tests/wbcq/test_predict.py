"""``wbcq predict`` and the example model: answers, bad pictures among good ones, bad models."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("PIL")

from PIL import Image

import wbcq
from wbcq.cli.app import run
from wbcq.data import Preprocess, open_pbc

CLASSES = ["basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil"]
PBC = Path(__file__).resolve().parents[3] / "shared/data/pbc_wbc5"


@pytest.fixture
def cell(tmp_path: Path) -> Callable[..., Path]:
    """Writes a picture of a dark disc."""

    def write(name: str, mode: str = "RGB", side: int = 80) -> Path:
        y, x = np.mgrid[:side, :side] - side / 2
        pixels = np.full((side, side, 3), (235, 200, 190), np.uint8)
        pixels[x**2 + y**2 < (side / 4) ** 2] = (90, 40, 130)
        Image.fromarray(pixels).convert(mode).save(tmp_path / name)
        return tmp_path / name

    return write


class TestExampleModel:
    def test_it_tells_what_it_is(self) -> None:
        model = wbcq.example_model(threads=1)
        about = model.metadata
        assert about["classes"] == CLASSES
        assert about["credits"]["notice"] == "Not for clinical use."
        assert "CC BY 4.0" in about["credits"]["data"]
        assert "Acevedo" in about["credits"]["data"]
        assert set(about["results"]["tests"]) == {"pbc_wbc5 test", "bcisc, shifted"}
        assert model.file_size < 450_000
        assert model.float_operators == ()
        assert Preprocess.from_metadata(about["preprocess"]).size == model.input_shapes[0][2]

    def test_it_needs_no_torch(self) -> None:
        code = (
            "import sys, numpy as np, wbcq\nmodel = wbcq.example_model()\n"
            "model(np.zeros((1, *model.input_shapes[0][1:]), np.float32))\n"
            "assert not {'torch', 'PIL', 'typer'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    @pytest.mark.skipif(not PBC.exists(), reason="needs shared/data/pbc_wbc5")
    def test_it_is_as_good_as_it_says(self) -> None:
        """Sixty test pictures, whose accuracy lies within chance of what the file says."""
        model = wbcq.example_model(threads=1)
        pictures = open_pbc(PBC, "test", Preprocess.from_metadata(model.metadata["preprocess"]))
        chosen = np.arange(0, len(pictures), len(pictures) // 60)
        x = np.stack([pictures.picture(int(i)) for i in chosen]).transpose(0, 3, 1, 2)
        decisions = model(np.ascontiguousarray(x, np.float32) / np.float32(255)).argmax(1)
        told = model.metadata["results"]["tests"]["pbc_wbc5 test"]["int8"]["accuracy"]
        assert np.mean(decisions == pictures.labels[chosen]) >= told - 0.05 > 0.9


class TestPredict:
    def test_table(self, cell: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
        files = [str(cell(name)) for name in ("a.png", "b.jpg")]
        assert run(["predict", *files]) == 0
        captured = capsys.readouterr()
        _, _, *rows = captured.out.splitlines()
        assert [row.split()[1] for row in rows] == files
        assert all(row.split()[3] in CLASSES for row in rows)
        assert captured.err == "Not for clinical use.\n"

    def test_json_agrees_with_the_model(
        self, cell: Callable[..., Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = cell("a.png")
        assert run(["predict", str(path), "--json", "--threads", "1"]) == 0
        record = json.loads(capsys.readouterr().out)
        (answer,) = record["pictures"]
        model = wbcq.example_model()
        pixels = Preprocess.from_metadata(model.metadata["preprocess"])(Image.open(path))
        logits = model(pixels.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255))[0]
        shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        np.testing.assert_allclose([answer["shares"][name] for name in CLASSES], shares, rtol=1e-5)
        assert answer["class"] == CLASSES[int(logits.argmax())]
        assert answer["confidence"] == pytest.approx(shares.max())
        assert record["notice"] == "Not for clinical use."
        assert record["classes"] == CLASSES

    def test_many_pictures_are_answered_as_one_by_one(
        self, cell: Callable[..., Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """More than go into one batch, of several sizes and modes, damaged ones between them."""
        modes = ("RGB", "L", "RGBA", "P")
        files = [cell(f"{k}.png", modes[k % 4], 40 + k) for k in range(35)]
        files[3].write_bytes(b"")
        files[33].write_bytes(files[32].read_bytes()[:200])
        assert run(["predict", *map(str, files), "--json"]) == 1
        answers = json.loads(capsys.readouterr().out)["pictures"]
        assert [answer["picture"] for answer in answers] == [str(path) for path in files]
        assert [k for k, answer in enumerate(answers) if "error" in answer] == [3, 33]
        for k in (0, 31, 34):
            assert run(["predict", str(files[k]), "--json"]) == 0
            assert json.loads(capsys.readouterr().out)["pictures"] == [answers[k]]

    def test_bad_files_are_reported_and_the_others_answered(
        self, cell: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "notes.txt").write_text("a cell")
        (tmp_path / "half.jpg").write_bytes(cell("whole.jpg").read_bytes()[:700])
        names = ("none.png", "notes.txt", "half.jpg", "")
        bad = [str(tmp_path / name) for name in names]
        assert run(["predict", bad[0], str(cell("a.png")), *bad[1:]]) == 1
        captured = capsys.readouterr()
        assert len(captured.out.splitlines()) == 3
        missing, text, half, folder, notice = captured.err.splitlines()
        assert missing == f"wbcq: error: {bad[0]}: no such file"
        assert "notes.txt: not a picture" in text
        assert "half.jpg: damaged picture" in half
        assert f"{tmp_path}: a folder. Remedy: name its pictures" in folder
        assert notice == "Not for clinical use."

    def test_nothing_but_bad_files(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["predict", str(tmp_path / "none.png")]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1

    def test_missing_or_damaged_model(
        self, cell: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        picture = str(cell("a.png"))
        assert run(["predict", picture, "--model", str(tmp_path / "none.wbcq")]) == 1
        assert "none.wbcq: no such file" in capsys.readouterr().err
        (tmp_path / "bad.wbcq").write_bytes(b"nothing" * 40)
        assert run(["predict", picture, "--model", str(tmp_path / "bad.wbcq")]) == 1
        assert "bad.wbcq: not a wbcq model file" in capsys.readouterr().err


class TestOtherModels:
    """Models that cannot answer for a picture are refused, by name and with a remedy."""

    @staticmethod
    def save(path: Path, channels: int, *, inputs: int = 1, pooled: bool = True) -> Path:
        torch = pytest.importorskip("torch")

        class Net(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = torch.nn.Conv2d(channels * inputs, 3, 3)

            def forward(self, *xs: object) -> object:
                y = self.conv(torch.cat(xs, 1) if inputs > 1 else xs[0])
                return y.mean((2, 3)) if pooled else y

        torch.manual_seed(0)
        x = tuple(torch.rand(4, channels, 16, 16) for _ in range(inputs))
        wbcq.quantize(Net().eval(), [x], progress=False).save(path)
        return path

    @pytest.mark.parametrize("channels", [1, 3])
    def test_grey_and_unnamed_classes(
        self,
        channels: int,
        cell: Callable[..., Path],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        model = self.save(tmp_path / "m.wbcq", channels)
        assert run(["predict", str(cell("a.png")), "--model", str(model)]) == 0
        captured = capsys.readouterr()
        assert "class " in captured.out
        assert captured.err == ""

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"channels": 12}, "the model takes [-1, 12, 16, 16], not a grey or RGB picture"),
            ({"channels": 3, "inputs": 4}, "the model takes 4 pictures of each cell, not one"),
            ({"channels": 3, "pooled": False}, "the model gives [-1, 3, 14, 14], not a score"),
        ],
    )
    def test_refused(
        self,
        options: dict[str, int],
        message: str,
        cell: Callable[..., Path],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        model = self.save(tmp_path / "m.wbcq", **options)
        assert run(["predict", str(cell("a.png")), "--model", str(model)]) == 1
        shown = capsys.readouterr().err
        assert shown.count("\n") == 1
        assert f"{model}: {message}" in shown
        assert "Remedy: a classifier of single pictures" in shown
