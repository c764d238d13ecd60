"""``wbcq serve``: the counter as a page in the browser. It needs no torch."""

from __future__ import annotations

import ipaddress
import sys
from typing import Annotated

import typer

from wbcq.cli.counting_options import By, Classifier, DetectorFile, Review, Threads, Threshold

__all__ = ["serve"]


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; other machines reach it if not loopback.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    detector: DetectorFile = None,
    classifier: Classifier = None,
    by: Annotated[
        By, typer.Option(help="Who names a cell; both marks those on which they differ.")
    ] = By.BOTH,
    threshold: Threshold = 0.25,
    review: Review = 0.6,
    max_megabytes: Annotated[
        int, typer.Option(min=1, max=2000, help="Larger files are refused.")
    ] = 64,
    max_megapixels: Annotated[
        int, typer.Option(min=1, max=175, help="Larger pictures are refused.")
    ] = 50,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Time for one picture; then it is given up.")
    ] = 60.0,
    waiting: Annotated[
        int, typer.Option(min=0, help="Pictures that may wait while one is counted.")
    ] = 4,
    threads: Threads = None,
) -> None:
    """Count white blood cells in the browser.

    Serves one page on this machine alone: drop a picture on it and see the cells, their classes,
    what to review and where the classifier looks. Pictures stay in memory and are forgotten.
    There is no login: think before another `--host`. Not for clinical use.

    For example:

    - `wbcq serve`
    - `wbcq serve --port 9000 --max-megapixels 100`
    """
    import uvicorn

    from wbcq.differential import Rules
    from wbcq.serve import Limits, Models, Worker
    from wbcq.serve.app import create_app

    limits = Limits(
        upload_bytes=max_megabytes * 1_000_000,
        pixels=max_megapixels * 1_000_000,
        seconds=seconds,
        waiting=waiting,
    )
    rules = Rules(by=by.value, threshold=threshold, review=review)
    models = Models(
        None if detector is None else str(detector),
        None if classifier is None else str(classifier),
        rules,
        threads,
    )
    worker = Worker(models, limits)
    hosts = None
    if not _is_loopback(host):
        hosts = ("*",)
        print(
            f"wbcq: {host} is reached from other machines, without login and encryption",
            file=sys.stderr,
        )
    try:
        worker.start()  # a model that cannot be loaded is told before anything listens
        app = create_app(worker, limits, hosts=hosts)
        print(f"wbcq: http://{host}:{port} (Ctrl-C ends it)", file=sys.stderr)
        uvicorn.run(
            app,
            host=host,
            port=port,
            log_level="warning",
            limit_concurrency=32,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=5,
            server_header=False,
        )
    finally:
        worker.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
