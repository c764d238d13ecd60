"""The HTTP side: one page, and one address that takes pictures."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Annotated, Any, TypeAlias
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from wbcq.differential.statistics import Differential, from_counts
from wbcq.serve.limits import Limits
from wbcq.serve.worker import CountError, Worker
from wbcq.version import __version__

__all__ = ["create_app"]

_MOST_OF_A_NAME = 120
_Cells: TypeAlias = Annotated[int, Field(ge=0, le=10**9)]


class _RefusedError(Exception):
    """A request that is answered by an error.

    Attributes:
        status: Of HTTP.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def create_app(worker: Worker, limits: Limits, *, hosts: tuple[str, ...] | None = None) -> FastAPI:
    """Makes the application.

    Nothing is kept: a picture lives in memory until its answer is sent.

    Args:
        worker: What counts; started and closed with the application.
        limits: Of uploads and jobs.
        hosts: Names by which the service may be asked; by default those of this machine alone, so
            that no page of another site reaches it through a name of its own.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        app.state.about = await anyio.to_thread.run_sync(worker.start)
        yield
        worker.close()

    # The pages of documentation that come with FastAPI load scripts from the network.
    app = FastAPI(title="wbcq", version=__version__, lifespan=life, docs_url=None, redoc_url=None)
    page = files("wbcq.serve").joinpath("page.html").read_text(encoding="utf-8")
    policy = _policy(page)
    gate = _Gate(limits.waiting)

    @app.middleware("http")
    async def _headers(
        request: Request, proceed: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await proceed(request)
        response.headers["Content-Security-Policy"] = policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        response.headers["Cache-Control"] = "no-store"
        return response

    app.add_middleware(
        TrustedHostMiddleware, allowed_hosts=list(hosts or ("127.0.0.1", "localhost"))
    )

    @app.exception_handler(_RefusedError)
    async def _refuse(request: Request, error: _RefusedError) -> JSONResponse:
        headers = {"Retry-After": "5"} if error.status == 503 else {}
        if not request.scope.get("wbcq.read"):
            headers["Connection"] = "close"  # the rest of the body is not wanted
        return JSONResponse({"error": str(error)}, error.status, headers)

    @app.get("/", response_class=HTMLResponse)
    async def _page() -> str:
        return page

    @app.get("/api/about")
    async def _about() -> dict[str, Any]:
        return {
            **app.state.about,
            "upload_bytes": limits.upload_bytes,
            "pixels": limits.pixels,
            "seconds": limits.seconds,
        }

    @app.post("/api/count")
    async def _count(request: Request, name: str = "picture") -> JSONResponse:
        _check_source(request)
        shown = clean_name(name)
        async with gate:
            data = await _body(request, limits)
            request.scope["wbcq.read"] = True
            try:
                result = await anyio.to_thread.run_sync(worker.count, data, shown)
            except CountError as error:
                raise _RefusedError(504 if error.too_long else 422, str(error)) from None
        return JSONResponse(result)

    @app.post("/api/shares")
    async def _shares(sums: _Sums) -> dict[str, Any]:
        return sums.differential().to_json()

    return app


class _Sums(BaseModel):
    """Cells of several pictures, for their shares and intervals."""

    counts: dict[str, _Cells] = Field(max_length=100)
    review: dict[str, _Cells] = Field(max_length=100)

    def differential(self) -> Differential:
        return from_counts(self.counts, self.review)


class _Gate:
    """Lets in one job and so many that wait; refuses the rest."""

    def __init__(self, waiting: int) -> None:
        self._most, self._inside = waiting + 1, 0

    async def __aenter__(self) -> None:
        if self._inside >= self._most:
            raise _RefusedError(
                503, f"{self._inside} pictures are waiting already. Remedy: try again"
            )
        self._inside += 1

    async def __aexit__(self, *_: object) -> None:
        self._inside -= 1


def clean_name(name: str) -> str:
    """What remains of a name that a browser sends: no folders, nothing that does not print.

    Example:
        >>> clean_name("../../etc/cells.png")
        'cells.png'
    """
    last = PurePosixPath(name.replace("\\", "/")).name
    printable = "".join(letter for letter in last if letter.isprintable())
    return printable.strip(" .")[:_MOST_OF_A_NAME] or "picture"


def _check_source(request: Request) -> None:
    origin = request.headers.get("origin")
    if origin and urlsplit(origin).netloc != request.headers.get("host"):
        raise _RefusedError(403, "the request comes from another site's page")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # No form of another site can send these without asking first.
    if not (kind.startswith("image/") or kind == "application/octet-stream"):
        raise _RefusedError(
            415, f"the body is {kind or 'of no type'}; send a picture's file as image/..."
        )


async def _body(request: Request, limits: Limits) -> bytes:
    too_large = _RefusedError(
        413, f"the file is larger than {limits.upload_bytes / 1e6:g} MB. Remedy: a part of it"
    )
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > limits.upload_bytes:
        raise too_large
    data = bytearray()
    try:
        with anyio.fail_after(limits.upload_seconds):
            async for chunk in request.stream():
                data += chunk
                if len(data) > limits.upload_bytes:
                    raise too_large
    except TimeoutError:
        raise _RefusedError(
            408, f"the file did not arrive within {limits.upload_seconds:g} seconds"
        ) from None
    if not data:
        raise _RefusedError(422, "the file is empty")
    return bytes(data)


def _policy(page: str) -> str:
    """Content-Security-Policy: only the page's own script and style, and this address."""

    def hashes(tag: str) -> str:
        parts = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        digests = (hashlib.sha256(part.encode()).digest() for part in parts)
        return " ".join(f"'sha256-{base64.b64encode(d).decode()}'" for d in digests)

    return (
        f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; "
        "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
