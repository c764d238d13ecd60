"""The process that decodes and counts: pictures from strangers are never decoded in the server.

It is ended when a picture takes too long and may not grow beyond its memory; either way the next
picture gets a new one.
"""

from __future__ import annotations

import io
import multiprocessing
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from wbcq.differential import PictureError, Rules, open_field
from wbcq.errors import WbcqError
from wbcq.serve.limits import Limits

__all__ = ["CountError", "Models", "Worker"]

_START_SECONDS = 120.0


@dataclass(frozen=True)
class Models:
    """What counts.

    Attributes:
        detector: A file; the example if None.
        classifier: A file; the example if None.
        rules: How cells are found and named.
        threads: Of a job.
    """

    detector: str | None = None
    classifier: str | None = None
    rules: Rules = field(default_factory=lambda: Rules(by="both"))
    threads: int | None = None


class CountError(WbcqError):
    """A picture could not be counted; the message is for the user.

    Attributes:
        too_long: Whether it took too much time.
    """

    def __init__(self, message: str, *, too_long: bool = False) -> None:
        super().__init__(message)
        self.too_long = too_long


class Worker:
    """Counts one picture at a time in a process of its own.

    Args:
        models: What counts.
        limits: Of time, pixels and memory.

    Raises:
        CountError: The models cannot be loaded; from :meth:`start`.
    """

    def __init__(self, models: Models, limits: Limits) -> None:
        self._models, self._limits = models, limits
        self._lock = threading.Lock()
        self._about: dict[str, Any] = {}
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def start(self) -> dict[str, Any]:
        """Starts the process if there is none.

        Returns:
            What it says of the models.
        """
        with self._lock:
            return self._started()

    def count(self, data: bytes, name: str) -> dict[str, Any]:
        """Counts the cells of one picture; waits while another is counted.

        Args:
            data: A picture's file.
            name: What to call it.

        Returns:
            As :func:`wbcq.serve.answer.answer` makes it.

        Raises:
            CountError: It could not be counted.
        """
        with self._lock:
            self._started()
            connection = self._connection
            assert connection is not None
            try:
                connection.send((data, name))
                if not connection.poll(self._limits.seconds):
                    self._end()
                    raise CountError(
                        f"{name}: not counted within {self._limits.seconds:g} seconds. Remedy: a "
                        "smaller part of it",
                        too_long=True,
                    )
                kind, value = connection.recv()
            except (EOFError, OSError):
                self._end()
                raise CountError(
                    f"{name}: counting it ended the process, most likely for lack of memory. "
                    "Remedy: a smaller part of it"
                ) from None
        if kind != "done":
            raise CountError(str(value))
        result: dict[str, Any] = value
        return result

    def close(self) -> None:
        """Ends the process; what it counts is lost."""
        # Without the lock: a job that runs is meant to end too.
        self._end()

    def _started(self) -> dict[str, Any]:
        if self._process is not None and self._process.is_alive():
            return self._about
        self._end()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, self._models, self._limits), daemon=True
        )
        process.start()
        theirs.close()
        self._process, self._connection = process, ours
        try:
            if not ours.poll(_START_SECONDS):
                raise EOFError
            kind, value = ours.recv()
        except (EOFError, OSError):
            self._end()
            raise CountError("the process that counts did not start") from None
        if kind != "ready":
            self._end()
            raise CountError(str(value))
        self._about = value
        return self._about

    def _end(self) -> None:
        process, self._process = self._process, None
        connection, self._connection = self._connection, None
        if process is not None:
            process.kill()
            process.join(10)
        if connection is not None:
            connection.close()


def _serve(connection: Connection, models: Models, limits: Limits) -> None:
    """The process: says that it is ready, then answers until the server is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to handle
    try:
        answer, about = _prepare(models, limits)
    except Exception as error:
        connection.send(("failed", _one_line(error)))
        return
    _limit_memory(limits.memory_bytes)
    connection.send(("ready", about))
    with suppress(EOFError, OSError):
        while True:
            data, name = connection.recv()
            connection.send(_attempt(answer, data, name))


def _prepare(
    models: Models, limits: Limits
) -> tuple[Callable[[bytes, str], dict[str, Any]], dict[str, Any]]:
    from wbcq.differential.models import load_counter
    from wbcq.serve.answer import Answerer

    counter = load_counter(
        detector=models.detector,
        classifier=models.classifier,
        rules=models.rules,
        threads=models.threads,
    )
    answerer = Answerer(counter)

    def answer(data: bytes, name: str) -> dict[str, Any]:
        view = open_field(io.BytesIO(data), name, max_pixels=limits.pixels)
        return answerer.answer(view, name)

    return answer, answerer.about()


def _attempt(
    answer: Callable[[bytes, str], dict[str, Any]], data: bytes, name: str
) -> tuple[str, Any]:
    try:
        return "done", answer(data, name)
    except PictureError as error:
        return "refused", _one_line(error)
    except MemoryError:
        return "refused", f"{name}: not enough memory. Remedy: a smaller part of it"
    except Exception as error:  # the next picture must find a process that works
        return "refused", f"{name}: {type(error).__name__}: {_one_line(error)}"


def _limit_memory(size: int) -> None:
    try:
        import resource
    except ModuleNotFoundError:  # not on Windows
        return
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
