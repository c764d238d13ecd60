"""A service with a detector of coloured discs."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from PIL import Image
from starlette.testclient import TestClient

from tests.wbcq.detection.toy import field, spot_model
from wbcq.serve import Limits, Models, Worker
from wbcq.serve.app import create_app

LIMITS = Limits(upload_bytes=300_000, upload_seconds=5, pixels=1_000_000, seconds=60, waiting=1)


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("model") / "spots.wbcq"
    spot_model().save(path)
    return str(path)


@pytest.fixture(scope="session")
def models(detector: str) -> Models:
    return Models(detector, threads=1)


@pytest.fixture(scope="session")
def client(models: Models) -> Iterator[TestClient]:
    app = create_app(Worker(models, LIMITS), LIMITS)
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        yield client


def png(height: int = 128, width: int = 256, seed: int = 2) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(field(height, width, seed=seed)[0]).save(buffer, "PNG")
    return buffer.getvalue()
