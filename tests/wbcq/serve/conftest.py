"""A service with a detector of coloured discs; FastAPI is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from wbcq.serve import Models


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> str:
    from tests.wbcq.detection.toy import spot_model

    path: Path = tmp_path_factory.mktemp("model") / "spots.wbcq"
    spot_model().save(path)
    return str(path)


@pytest.fixture(scope="session")
def models(detector: str) -> Models:
    from wbcq.serve import Models

    return Models(detector, threads=1)


@pytest.fixture(scope="session")
def client(models: Models) -> Iterator[TestClient]:
    from starlette.testclient import TestClient

    from tests.wbcq.serve.service import LIMITS
    from wbcq.serve import Worker
    from wbcq.serve.app import create_app

    app = create_app(Worker(models, LIMITS), LIMITS)
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        yield client
