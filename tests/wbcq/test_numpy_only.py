"""A model file runs where numpy is all that is installed."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

import wbcq

SCRIPT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "rich", "matplotlib", "typer", "PIL", "scipy"}:
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Absent())
import numpy as np
import wbcq

model = wbcq.load(sys.argv[1])
x = np.load(sys.argv[2])
np.save(sys.argv[3], model(x))
np.save(sys.argv[4], model.simulate(x))
assert "conv2d" in model.summary()
assert "conv2d" in str(model.profile(x, repeats=1))
assert model.metadata["model"] == "Sequential"
assert wbcq.QuantConfig().seed == 0
assert wbcq.__version__
model.save(sys.argv[1] + ".copy")

loaded = {name.partition(".")[0] for name in sys.modules}
third_party = loaded - set(sys.stdlib_module_names) - {"wbcq", "numpy"}
print(sorted(name for name in third_party if not name.startswith(("_", "sitecustomize"))))
try:
    wbcq.quantize
except ImportError as error:
    print(error)
"""


@pytest.fixture
def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2)
    ).eval()


def test_load_and_run_without_torch(tmp_path, network):
    x = torch.rand(3, 3, 10, 10)
    model = wbcq.quantize(network, [x])
    path = tmp_path / "model.wbcq"
    model.save(path)
    np.save(tmp_path / "x.npy", x.numpy())
    outputs = [tmp_path / "y.npy", tmp_path / "oracle.npy"]
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), path, tmp_path / "x.npy", *outputs],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    packages, torch_missing = result.stdout.splitlines()
    assert packages == "[]"
    assert torch_missing == "torch is not installed"
    for output in outputs:
        np.testing.assert_array_equal(np.load(output), model(x).numpy())
    assert (tmp_path / "model.wbcq.copy").read_bytes() == path.read_bytes()


def test_import_is_lazy():
    code = "import sys, wbcq; print({'torch', 'numpy'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"
