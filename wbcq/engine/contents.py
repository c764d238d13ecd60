"""The contents of a model file: bytes in memory, or a file that stays open."""

from __future__ import annotations

import os
import weakref
import zlib
from functools import cached_property

from wbcq.engine import _layout as layout
from wbcq.errors import ModelFileError

__all__ = ["OpenFile"]


class OpenFile:
    """A model file that an engine was loaded from; its bytes are read again when asked for.

    Replacing or deleting the file leaves these contents as they are; see :meth:`read` for a file
    that is written in place.

    Args:
        path: A regular file.

    Raises:
        OSError: The file cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.descriptor)
        self.size = os.fstat(self.descriptor).st_size
        self._header = os.pread(self.descriptor, layout.HEADER_BYTES, 0)

    @cached_property
    def _body_crc32(self) -> int:
        crc: int = layout.HEADER.unpack(self._header)[7]
        return crc

    def read(self) -> bytes:
        """All bytes.

        Raises:
            ModelFileError: They are not those that were there at first.
            OSError: The file cannot be read.
        """
        data = bytearray()
        while part := os.pread(self.descriptor, self.size + 1 - len(data), len(data)):
            data += part
        start = layout.HEADER_BYTES
        is_same = len(data) == self.size and data[:start] == self._header
        if not is_same or zlib.crc32(memoryview(data)[start:]) != self._body_crc32:
            raise ModelFileError(
                f"{self.path}: the file was written in place since it was loaded; load it again"
            )
        return bytes(data)
