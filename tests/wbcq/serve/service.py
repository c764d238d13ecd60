"""Limits and pictures of the tests."""

from __future__ import annotations

import io

from PIL import Image

from tests.wbcq.detection.toy import field
from wbcq.serve import Limits

LIMITS = Limits(upload_bytes=300_000, upload_seconds=5, pixels=1_000_000, seconds=60, waiting=1)


def png(height: int = 128, width: int = 256, seed: int = 2) -> bytes:
    """A field of discs as a file."""
    buffer = io.BytesIO()
    Image.fromarray(field(height, width, seed=seed)[0]).save(buffer, "PNG")
    return buffer.getvalue()
