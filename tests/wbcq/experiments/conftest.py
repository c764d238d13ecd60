"""Settings so small that units take a second."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """Settings of two folds of 50 cells of 48 pixels."""
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    from wbcq.experiments.settings import Settings

    out: Path = tmp_path_factory.mktemp("results")
    return Settings.quick(
        out,
        scale=0.001,
        folds=2,
        size=48,
        epochs=1,
        qat_epochs=1,
        calibration=20,
        timing_seconds=0.001,
    )
