"""The service: what it answers, and what it refuses."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from tests.wbcq.detection.toy import COLOURS, field
from tests.wbcq.differential.test_pictures import bomb
from tests.wbcq.serve.service import png
from wbcq.serve.app import clean_name

PNG = {"Content-Type": "image/png"}


def decoded(uri: str) -> Image.Image:
    head, data = uri.split(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_counts(client: TestClient) -> None:
    response = client.post("/api/count?name=smear.png", content=png(), headers=PNG)
    assert response.status_code == 200
    found = response.json()
    _, boxes, classes = field(128, 256, seed=2)
    assert found["name"] == "smear.png"
    assert found["total"] == len(boxes) == len(found["cells"]) > 5
    for index, line in enumerate(found["classes"]):
        assert line["name"] == tuple(COLOURS)[index]
        assert line["count"] == int((classes == index).sum())
        assert 0 <= line["low"] <= line["share"] <= line["high"] <= 1
    assert decoded(found["preview"]).size == (256, 128)
    for cell in found["cells"]:
        assert decoded(cell["picture"]).size == decoded(cell["map"]).size
        assert sum(cell["shares"].values()) == pytest.approx(1, abs=1e-5)
    rows = list(csv.DictReader(io.StringIO(found["csv"])))
    assert [row["class"] for row in rows] == [cell["kind"] for cell in found["cells"]]


def test_large_pictures_are_shown_smaller(client: TestClient) -> None:
    white = io.BytesIO()
    Image.fromarray(np.full((300, 3000, 3), 255, np.uint8)).save(white, "PNG")
    found = client.post("/api/count", content=white.getvalue(), headers=PNG).json()
    assert (found["width"], found["height"]) == (3000, 300)
    assert decoded(found["preview"]).size == (1600, 160)
    assert found["cells"] == []
    assert {line["share"] for line in found["classes"]} == {None}


def test_the_page_is_whole_and_locked(client: TestClient) -> None:
    response = client.get("/")
    assert response.status_code == 200
    page = response.text
    assert not re.search(r"(?:src|href)=\"(?!data:,)", page)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert client.get("/docs").status_code == 404


def test_shares_of_several_pictures(client: TestClient) -> None:
    sums = {"counts": {"a": 3, "b": 1}, "review": {"a": 2}}
    found = client.post("/api/shares", json=sums).json()
    assert found["total"] == 4
    assert [line["share"] for line in found["classes"]] == [0.75, 0.25]
    assert found["review"] == 2
    for bad in ({"counts": {"a": -1}, "review": {}}, {"counts": {"a": 1e300}, "review": {}}, {}):
        assert client.post("/api/shares", json=bad).status_code == 422


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (b"", 422, "the file is empty"),
        (b"a cell", 422, "x.png: not a picture that can be read"),
        (png()[:200], 422, "x.png: damaged picture"),
        (bomb(50_000, 50_000), 422, "Remedy: cut it into parts"),
        (bomb(1001, 1000), 422, "is larger than 1 megapixels"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 422, "not a picture"),
        (bytes(300_001), 413, "larger than 0.3 MB"),
    ],
)
def test_hostile_files(client: TestClient, data: bytes, status: int, message: str) -> None:
    response = client.post("/api/count?name=x.png", content=data, headers=PNG)
    assert response.status_code == status
    assert message in response.json()["error"]
    again = client.post("/api/count", content=png(), headers=PNG)
    assert again.status_code == 200


def test_more_than_was_announced(client: TestClient) -> None:
    """Without a length, in pieces: counted as it arrives."""

    def pieces() -> object:
        for _ in range(100):
            yield bytes(10_000)

    response = client.post("/api/count", content=pieces(), headers=PNG)
    assert response.status_code == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({**PNG, "Origin": "http://evil.example"}, 403),
        ({**PNG, "Origin": "null"}, 403),
        ({**PNG, "Origin": "http://127.0.0.1:8000"}, 200),
        ({**PNG, "Host": "evil.example"}, 400),
        ({**PNG, "Host": "evil.example:8000", "Origin": "http://evil.example:8000"}, 400),
    ],
)
def test_pages_of_other_sites(client: TestClient, headers: dict[str, str], status: int) -> None:
    assert client.post("/api/count", content=png(), headers=headers).status_code == status


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\x\\cells.png", "cells.png"),
        ("a\x00b\r\nSet-Cookie: x.png", "abSet-Cookie: x.png"),
        ("..", "picture"),
        ("/", "picture"),
        ("<img src=x onerror=alert(1)>.png", "<img src=x onerror=alert(1)>.png"),
        ("\u202egnp.exe", "gnp.exe"),
        ("x" * 5000, "x" * 120),
    ],
)
def test_names(client: TestClient, given: str, kept: str) -> None:
    response = client.post("/api/count", params={"name": given}, content=png(), headers=PNG)
    assert response.json()["name"] == kept


@given(st.text(max_size=300))
def test_names_are_labels(name: str) -> None:
    kept = clean_name(name)
    assert 0 < len(kept) <= 120
    assert kept.isprintable()
    assert kept not in (".", "..")
    assert "/" not in kept
    assert "\\" not in kept
