"""A real server: queue, slow uploads, clients that leave, no torch."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")
pytest.importorskip("httpx")

import httpx

from tests.wbcq.serve.service import png

PNG = {"Content-Type": "image/png"}

START = """
import sys
from wbcq.serve import Limits, Models, Worker
from wbcq.serve.app import create_app
from wbcq.differential import Rules
import uvicorn
if __name__ == "__main__":
    limits = Limits(upload_bytes=3_000_000, upload_seconds=1.5, pixels=3_000_000, waiting=1)
    worker = Worker(Models(sys.argv[1], rules=Rules(by="both", scale=3.0), threads=1), limits)
    app = create_app(worker, limits)
    assert "torch" not in sys.modules
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def address(detector: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    script = tmp_path_factory.mktemp("server") / "start.py"
    script.write_text(START)
    port = free_port()
    process = subprocess.Popen([sys.executable, str(script), detector, str(port)])
    try:
        wait_for(port, process)
        yield "127.0.0.1", port
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


def wait_for(port: int, process: subprocess.Popen) -> None:
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        try:
            httpx.get(f"http://127.0.0.1:{port}/api/about", timeout=5)
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


def post(port: int, data: bytes) -> httpx.Response:
    url = f"http://127.0.0.1:{port}/api/count"
    return httpx.post(url, content=data, headers=PNG, timeout=120)


def test_more_jobs_than_the_queue_holds(address: tuple[str, int]) -> None:
    """One runs and one waits; others are refused at once and told to come again."""
    _, port = address
    data = png(640, 1024)
    answers: list[httpx.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(post(port, data))) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert httpx.get(f"http://127.0.0.1:{port}/", timeout=10).status_code == 200
    for thread in threads:
        thread.join()
    codes = sorted(answer.status_code for answer in answers)
    assert codes.count(200) >= 2
    assert codes.count(503) >= 1
    assert set(codes) == {200, 503}
    for answer in answers:
        if answer.status_code == 503:
            assert answer.headers["retry-after"] == "5"
            assert "waiting already" in answer.json()["error"]
    assert post(port, png()).status_code == 200


def request(port: int, length: int, sent: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=15)
    connection.sendall(
        f"POST /api/count HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: image/png\r\n"
        f"Content-Length: {length}\r\n\r\n".encode()
        + sent
    )
    return connection


def test_slow_uploads_do_not_hold_the_queue(address: tuple[str, int]) -> None:
    _, port = address
    start = time.monotonic()
    slow = [request(port, 1000, b"x") for _ in range(2)]
    assert post(port, png()).status_code in (200, 503)
    for connection in slow:
        assert re.match(rb"HTTP/1.1 408 ", connection.recv(4096))
        connection.close()
    assert time.monotonic() - start < 12
    assert post(port, png()).status_code == 200


def test_clients_that_leave(address: tuple[str, int]) -> None:
    _, port = address
    for _ in range(4):
        request(port, 100_000, bytes(1000)).close()
    whole = png()
    request(port, len(whole), whole).close()
    deadline = time.monotonic() + 20
    while (answer := post(port, whole)).status_code == 503:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert answer.status_code == 200


def test_too_large_is_refused_before_it_arrives(address: tuple[str, int]) -> None:
    _, port = address
    connection = request(port, 10**12, b"")
    assert re.match(rb"HTTP/1.1 413 ", connection.recv(4096))
    connection.close()


def test_nonsense(address: tuple[str, int]) -> None:
    _, port = address
    for data in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n", bytes(70_000)):
        with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            assert b"200 OK" not in connection.recv(4096)
    assert httpx.get(f"http://127.0.0.1:{port}/", timeout=10).status_code == 200
