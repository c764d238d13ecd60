"""What the service takes: bytes, pixels, time, and jobs at once."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Limits of one service.

    Attributes:
        upload_bytes: Of a picture's file.
        upload_seconds: For a picture to arrive.
        pixels: Of a picture; refused before it is decoded.
        seconds: For counting one picture; then the process that counts is ended.
        waiting: Jobs that wait while one runs; more are refused at once.
        memory_bytes: Address space of the process that counts.

    Raises:
        ValueError: A limit is not positive (``waiting``: negative).
    """

    upload_bytes: int = 64_000_000
    upload_seconds: float = 30.0
    pixels: int = 50_000_000
    seconds: float = 60.0
    waiting: int = 4
    memory_bytes: int = 4_000_000_000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 0 or (value == 0 and field.name != "waiting"):
                raise ValueError(f"{field.name} is {value}; use more than 0")
