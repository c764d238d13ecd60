"""The command line: help, usage errors, and files it is pointed at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from wbcq.cli.app import run

COMMANDS = ("demo", "predict", "reproduce", "report", "info", "run", "bench")

ROOT = Path(__file__).resolve().parents[2]


def have_engine() -> bool:
    try:
        from wbcq import _core
    except ImportError:
        return False
    return bool(_core.available_isas())


needs_engine = pytest.mark.skipif(not have_engine(), reason="the engine (wbcq._core) is not built")


class TestUsage:
    def test_help_names_every_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["--help"]) == 0
        shown = capsys.readouterr().out
        for command in COMMANDS:
            assert command in shown

    @pytest.mark.parametrize("command", COMMANDS)
    def test_help_of_a_command_has_examples(
        self, command: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run([command, "--help"]) == 0
        shown = capsys.readouterr().out
        assert "For example" in shown
        assert f"wbcq {command} " in shown

    def test_bare_command_shows_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run([]) == 2
        assert "demo" in capsys.readouterr().out

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        import wbcq

        assert run(["--version"]) == 0
        assert capsys.readouterr().out == f"wbcq {wbcq.__version__}\n"

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["demoo"], ["demoo", "demo"]),
            (["demo", "--epochs", "0"], ["--epochs"]),
            (["demo", "--epochs", "many"], ["--epochs"]),
            (["demo", "--sice", "64"], ["--sice"]),
            (["info"], ["FILE"]),
            (["run", "a.wbcq"], ["PICTURE"]),
            (["bench", "a.wbcq", "--batch", "0"], ["--batch"]),
        ],
    )
    def test_wrong_usage_is_one_line_and_status_2(
        self, arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(arguments) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        assert message.startswith("wbcq")
        assert "--help'" in message
        for word in words:
            assert word in message

    def test_help_needs_no_torch(self) -> None:
        code = (
            "import sys\nfrom wbcq.cli.app import run\nassert run(['demo', '--help']) == 0\n"
            "heavy = {'torch', 'sklearn', 'matplotlib', 'scipy'} & set(sys.modules)\n"
            "assert not heavy, heavy"
        )
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)

    def test_missing_package_is_named(self) -> None:
        code = "import sys\nsys.modules['typer'] = None\nfrom wbcq.cli import main\nmain(['info'])"
        result = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True
        )
        assert result.returncode == 1
        assert "typer" in result.stderr
        assert "pip install 'wbcq[demo]'" in result.stderr


@needs_engine
class TestErrors:
    @pytest.mark.parametrize("command", [["info"], ["bench"], ["run"], ["tune"]])
    def test_missing_file(
        self, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        extra = ["x.png"] if command == ["run"] else []
        assert run([*command, str(tmp_path / "none.wbcq"), *extra]) == 1
        message = capsys.readouterr().err
        assert "none.wbcq: no such file" in message
        assert message.count("\n") == 1

    def test_not_a_model_file(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "a.wbcq").write_bytes(b"not a model" * 20)
        assert run(["info", str(tmp_path / "a.wbcq")]) == 1
        assert "a.wbcq: not a wbcq model file" in capsys.readouterr().err

    def test_debug_shows_the_trace(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = ["info", str(tmp_path / "none.wbcq")]
        assert run(arguments) == run([*arguments, "--debug"]) == 1
        plain, traced = capsys.readouterr().err.split("Traceback", 1)
        assert "wbcq: error" in plain
        assert "FileNotFoundError" in traced

    def test_missing_data(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        pytest.importorskip("torch")
        code = run(["demo", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")])
        assert code == 1
        assert "none: no such folder" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_unknown_architecture_lists_those_there_are(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pytest.importorskip("torch")
        assert run(["demo", "--arch", "resnet19", "--out", str(tmp_path / "out")]) == 1
        assert "resnet18" in capsys.readouterr().err


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of 3x16x16 pictures that sees how red they are."""
    torch = pytest.importorskip("torch")
    import wbcq

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 2),
    )
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].weight[0, 0, 1, 1] = 1
        net[4].weight.copy_(torch.tensor([[8.0, 0, 0, 0], [-8.0, 0, 0, 0]]))
        net[4].bias.copy_(torch.tensor([-4.0, 4.0]))
    config = wbcq.QuantConfig(class_names=("red", "other"))
    calibration = [torch.rand(8, 3, 16, 16)]
    model = wbcq.quantize(net, calibration, config=config, progress=False)
    path = tmp_path_factory.mktemp("model") / "red.wbcq"
    model.save(path)
    return path


@needs_engine
class TestModelFiles:
    def test_info(self, model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["info", str(model_file)]) == 0
        shown = capsys.readouterr().out
        assert '["red", "other"]' in shown
        assert "conv2d" in shown
        assert "although the network is INT8" not in shown

    def test_info_lists_float_islands(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        torch = pytest.importorskip("torch")
        import wbcq

        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Softmax(dim=1))
        with pytest.warns(wbcq.FloatFallbackWarning):
            model = wbcq.quantize(net, [torch.rand(8, 3, 16, 16)], progress=False)
        path = tmp_path / "islands.wbcq"
        model.save(path)
        assert run(["info", str(path)]) == 0
        shown = capsys.readouterr().out
        assert "float32 although the network is INT8, 1 of its operators:" in shown
        assert shown.endswith("  1 (Softmax): has no integer form\n")
        assert "float_operators:" not in shown
        assert run(["info", str(path), "--json"]) == 0
        record = json.loads(capsys.readouterr().out)
        assert record["float_operators"][0]["reason"] == "has no integer form"
        assert run(["bench", str(path), "--repeats", "3"]) == 0
        assert "float32 although the network is INT8" in capsys.readouterr().out

    def test_info_as_json(self, model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["info", str(model_file), "--json"]) == 0
        record = json.loads(capsys.readouterr().out)
        assert record["classes"] == ["red", "other"]
        assert record["inputs"] == [[-1, 3, 16, 16]]
        assert record["bytes"] == model_file.stat().st_size
        assert record["parameters"] == 3 * 4 * 9 + 4 + 4 * 2 + 2

    def test_tune(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        torch = pytest.importorskip("torch")
        import wbcq

        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Conv2d(16, 32, 1), torch.nn.Conv2d(32, 32, 1))
        pruned = wbcq.prune(net, 0.75, pattern="1x4")
        path, other = tmp_path / "pruned.wbcq", tmp_path / "tuned.wbcq"
        wbcq.quantize(pruned, [torch.rand(4, 16, 8, 8)], progress=False).save(path)
        before = path.read_bytes()
        arguments = ["tune", str(path), "--threads", "1", "--rounds", "1"]
        assert run([*arguments, "--out", str(other)]) == 0
        shown = capsys.readouterr().out
        assert shown.splitlines()[0].split("|")[1].strip() == "layer"
        assert f"wrote {other}" in shown
        assert path.read_bytes() == before
        assert run(arguments) == 0
        assert [t.machine.threads for t in wbcq.load(path).tunings] == [1]
        capsys.readouterr()
        assert run(["info", str(path)]) == 0
        assert ", 1 thread: " in capsys.readouterr().out.split("tuned for ")[1]
        wbcq.quantize(net, [torch.rand(4, 16, 8, 8)], progress=False).save(other)
        before = other.read_bytes()
        assert run(["tune", str(other)]) == 0
        assert "no operator has zero blocks" in capsys.readouterr().out
        assert other.read_bytes() == before
        assert run([*arguments, "--out", str(tmp_path / "none" / "x.wbcq")]) == 1
        assert "no such folder" in capsys.readouterr().err

    def test_run_on_pictures(
        self, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        image = pytest.importorskip("PIL.Image")
        image.new("RGB", (40, 30), (250, 10, 10)).save(tmp_path / "r.png")
        image.new("RGB", (30, 40), (5, 250, 10)).save(tmp_path / "g.png")
        files = [str(tmp_path / name) for name in ("r.png", "g.png")]
        assert run(["run", str(model_file), *files, "--top", "2"]) == 0
        red, green = capsys.readouterr().out.splitlines()
        assert red.startswith(files[0])
        assert red.split()[1:4:2] == ["red", "other"]
        assert green.split()[1] == "other"

    def test_run_on_arrays(
        self, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        import wbcq

        batch = np.random.default_rng(0).random((3, 3, 16, 16), dtype=np.float32)
        np.save(tmp_path / "x.npy", batch)
        np.save(tmp_path / "one.npy", batch[1])
        arguments = ["run", str(model_file), str(tmp_path / "x.npy"), str(tmp_path / "one.npy")]
        assert run([*arguments, "--save", str(tmp_path / "y.npy")]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 4
        expected = wbcq.load(model_file)(batch)
        np.testing.assert_array_equal(
            np.load(tmp_path / "y.npy"), np.vstack([expected, expected[1]])
        )

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.zeros((1, 3, 16, 15), np.float32), "shape"),
            (np.zeros((1, 3, 16, 16), np.float64), "float64"),
            (np.array([{"a": 1}]), "not a .npy array of numbers"),
        ],
    )
    def test_run_on_a_wrong_array(
        self,
        model_file: Path,
        tmp_path: Path,
        array: np.ndarray,
        message: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        np.save(tmp_path / "x.npy", array)
        assert run(["run", str(model_file), str(tmp_path / "x.npy")]) == 1
        shown = capsys.readouterr().err
        assert message in shown
        assert shown.count("\n") == 1

    def test_run_on_a_damaged_picture(
        self, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pytest.importorskip("PIL")
        (tmp_path / "a.png").write_bytes(b"nothing")
        assert run(["run", str(model_file), str(tmp_path / "a.png")]) == 1
        assert "a.png: not a picture" in capsys.readouterr().err

    def test_bench(self, model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ["bench", str(model_file), "--batch", "2", "--threads", "1", "--repeats", "3"]
        assert run(arguments) == 0
        shown = capsys.readouterr().out
        assert "batch 2, 1 thread, " in shown
        assert "GMAC/s" in shown
        assert "time / floor" in shown
        assert "packed weights" in shown
        assert run([*arguments, "--memory", "tiny"]) == 1
        assert 'must be "speed" or "small"' in capsys.readouterr().err
        assert run([*arguments, "--memory", "small", "--no-profile"]) == 0
        assert "GMAC/s" not in capsys.readouterr().out

    def test_bench_of_an_unknown_isa(
        self, model_file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["bench", str(model_file), "--isa", "mmx"]) == 1
        assert "mmx" in capsys.readouterr().err

    def test_reader_that_leaves_early(self, model_file: Path) -> None:
        code = "import sys; from wbcq.cli import main; main(sys.argv[1:])"
        process = subprocess.Popen(
            [sys.executable, "-c", code, "info", str(model_file)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
        process.wait(60)
        process.stderr.close()


@needs_engine
class TestDemo:
    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A folder per class with colours that differ, one damaged picture, one copy."""
        pytest.importorskip("torch")
        image = pytest.importorskip("PIL.Image")
        root = tmp_path_factory.mktemp("data")
        rng = np.random.default_rng(0)
        for name, colour in (("blue", (60, 60, 200)), ("red", (200, 60, 60))):
            (root / name).mkdir()
            for k in range(20):
                pixels = np.clip(rng.normal(colour, 25, (40, 40, 3)), 0, 255).astype(np.uint8)
                image.fromarray(pixels).save(root / name / f"{k:02d}.png")
        (root / "red" / "damaged.png").write_bytes(b"\x89PNG broken")
        (root / "red" / "copy.png").write_bytes((root / "blue" / "03.png").read_bytes())
        return root

    @pytest.mark.slow
    def test_end_to_end(
        self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for package in ("matplotlib", "sklearn", "scipy"):
            pytest.importorskip(package)
        out = tmp_path / "out"
        arguments = ["demo", "--data", str(data), "--out", str(out), "--size", "32"]
        assert run([*arguments, "--epochs", "2", "--threads", "1"]) == 0
        captured = capsys.readouterr()
        for text in ("FP32", "per tensor", "per channel", "macro F1", "decisions differ"):
            assert text in captured.out
        assert "damaged.png" in captured.err
        assert "copy.png" in captured.err
        assert {path.name for path in out.iterdir()} == {
            "comparison.png",
            "confusion.png",
            "flips.csv",
            "resnet18-fp32.pt",
            "resnet18-int8-per-channel.wbcq",
            "resnet18-int8-per-tensor.wbcq",
            "results.json",
            "results.md",
            "training.png",
        }
        self.check_results(out)
        picture = str(data / "red" / "00.png")
        assert run(["run", str(out / "resnet18-int8-per-channel.wbcq"), picture]) == 0
        assert capsys.readouterr().out.split()[1] in ("red", "blue")

    @staticmethod
    def check_results(out: Path) -> None:
        record = json.loads((out / "results.json").read_text())
        assert [v["name"] for v in record["variants"]] == [
            "FP32",
            "INT8 per tensor",
            "INT8 per channel",
        ]
        full, *integer = record["variants"]
        assert record["pictures"]["test"] == sum(map(sum, full["confusion"]))
        flips = (out / "flips.csv").read_text().splitlines()[1:]
        for column, variant in enumerate(integer, start=3):
            changed = [line for line in flips if line.split(",")[column] != line.split(",")[2]]
            assert len(changed) == variant["flips"]
            assert variant["bytes"] == (out / variant["file"]).stat().st_size
            assert 3.8 < full["bytes"] / variant["bytes"] < 4.1

    @pytest.mark.slow
    def test_interrupted_training_leaves_a_whole_checkpoint_and_nothing_else(
        self, data: Path, tmp_path: Path
    ) -> None:
        pytest.importorskip("sklearn")
        # A shell's background jobs, and so these tests, may be started with SIGINT ignored.
        heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
        code = f"{heed}; import sys; from wbcq.cli import main; main(sys.argv[1:])"
        arguments = ["demo", "--data", str(data), "--out", str(tmp_path), "--size", "32"]
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments, "--epochs", "500", "--threads", "1"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 300
        while not list(tmp_path.glob("training-*.ckpt")):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 130
        assert "interrupted" in errors
        assert "Traceback" not in errors
        (left,) = tmp_path.iterdir()
        assert left.suffix == ".ckpt"
        from wbcq.train import load_checkpoint

        assert 1 <= len(load_checkpoint(left)["history"]) < 500
