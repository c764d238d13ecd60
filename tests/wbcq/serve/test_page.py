"""The page in a real browser: what a user does, at the width of a desk and of a phone."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")
pytest.importorskip("httpx")
pytest.importorskip("playwright")

from playwright.sync_api import sync_playwright

from tests.wbcq.detection.toy import COLOURS, field
from tests.wbcq.serve.service import png
from tests.wbcq.serve.test_server import free_port, wait_for

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

HOSTILE = "<img src=x onerror=document.title='taken'>.png"


@pytest.fixture(scope="module")
def address(detector: str) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "wbcq", "serve", "--port", str(port), "--detector", detector]
    process = subprocess.Popen(command)
    try:
        wait_for(port, process)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [1280, 360])
def test_counting_in_the_browser(address: str, browser: Any, width: int, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    problems: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    for seed, name in ((2, "a.png"), (3, HOSTILE)):
        (tmp_path / name).write_bytes(png(seed=seed))
    (tmp_path / "notes.png").write_text("a cell")
    names = ("a.png", HOSTILE, "notes.png")
    page.set_input_files("#file", [str(tmp_path / name) for name in names])
    page.wait_for_selector("#errors p")
    page.wait_for_selector("#status[hidden]", state="attached")

    _, boxes, classes = field(128, 256, seed=3)
    labels = [*field(128, 256, seed=2)[2], *classes]
    assert page.locator("#stage rect").count() == len(boxes)
    assert page.locator("#cells button").count() == len(boxes)
    shown = page.locator("#counts tr:not(.range) td:nth-child(2)").all_inner_texts()
    expected = [sum(label == k for label in labels) for k in range(len(COLOURS))]
    assert shown == [str(number) for number in (*expected, len(labels))]
    assert "notes.png: not a picture" in page.inner_text("#errors")

    page.select_option("#filter", "neutrophil")
    assert page.locator("#cells button").count() == int((classes == 2).sum())
    page.locator("#cells button").first.click()
    assert "neutrophil" in page.inner_text("#detail")
    assert page.locator("#stage rect.chosen").count() == 1
    page.click("#heat")
    before = page.locator("#cells img").first.get_attribute("src")
    page.click("#heat")
    assert page.locator("#cells img").first.get_attribute("src") != before
    with page.expect_download() as download:
        page.click("#json")
    record = json.loads(Path(download.value.path()).read_text())
    assert [result["total"] for result in record] == [len(labels) - len(classes), len(classes)]

    assert problems == []
    assert all(url.startswith((address, "data:", "blob:")) for url in asked)
    assert page.title() == "wbcq: white cell differential"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
