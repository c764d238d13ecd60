"""The container of a model file: header, checksums and section table."""

from __future__ import annotations

import json
import zlib
from typing import Any, NoReturn

import numpy as np

from wbcq.engine import _layout as layout
from wbcq.errors import ModelFileError

__all__ = ["MAX_RECORDS", "fail", "metadata_bytes", "pack", "unpack"]

MAX_RECORDS = 1 << 20
"""Of one section."""


def pack(sections: dict[str, bytes], minor: int, features: int) -> bytes:
    """A file of the contents of its sections, of a minor version, that requires features."""
    table = np.zeros(len(layout.SECTIONS), layout.SECTION)
    offset = layout.FIRST_SECTION
    for i, name in enumerate(layout.SECTIONS):
        offset = layout.align_up(offset)
        size = len(sections[name])
        if size >= 1 << 32:
            raise ValueError(f"the program's {name} section has {size} bytes, must be below 2^32")
        record_bytes = layout.RECORDS[name].itemsize if name in layout.RECORDS else 1
        table[i] = (i + 1, size // record_bytes, offset, size, 0)
        offset += size
    body = bytearray(table.tobytes())
    for name in layout.SECTIONS:
        position = layout.HEADER_BYTES + len(body)
        body += bytes(layout.align_up(position) - position)
        body += sections[name]
    header = layout.HEADER.pack(
        layout.MAGIC,
        layout.MAJOR,
        minor,
        layout.HEADER_BYTES,
        layout.HEADER_BYTES + len(body),
        features,
        len(layout.SECTIONS),
        zlib.crc32(body),
        bytes(20),
        0,
    )[:-4]
    return b"".join((header, zlib.crc32(header).to_bytes(4, "little"), body))


def unpack(data: bytes) -> dict[str, memoryview]:
    """The checked sections of a file; ModelFileError if something is wrong with the container."""
    _check_header(data)
    return _read_sections(data)


def metadata_bytes(metadata: dict[str, Any]) -> bytes:
    """The metadata section. It is compact: the engine looks for some keys in it."""
    try:
        text = json.dumps(metadata, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the program's metadata cannot be written as JSON: {error}") from error


def fail(message: str) -> NoReturn:
    """Raises the error of a damaged file."""
    raise ModelFileError(message)


def _check_magic(data: bytes) -> None:
    if not data:
        fail("the file is empty: write or copy the model again")
    if data[:8] != layout.MAGIC[: len(data)]:
        as_text = data[:4] == layout.MAGIC[:4]
        hint = "; it seems to have been transferred as text: copy it as binary" if as_text else ""
        fail(
            f"not a wbcq model file: it does not begin with the bytes {layout.MAGIC.hex(' ')}{hint}"
        )
    if len(data) < layout.FIRST_SECTION:
        fail(
            f"the file is truncated: it has {len(data)} bytes, the smallest has "
            f"{layout.FIRST_SECTION}: copy it again"
        )


def _check_header(data: bytes) -> None:
    _check_magic(data)
    (_, major, minor, header_bytes, file_bytes, features, sections, body_crc, reserved, crc) = (
        layout.HEADER.unpack_from(data)
    )
    known = f"{layout.MAJOR}.{layout.MINOR}"
    if major != layout.MAJOR:  # before the checksum: another version may have another header
        fail(
            f"the file has format version {major}.{minor}, this reader knows version "
            f"{layout.MAJOR}.x: use the version of wbcq that wrote it, or write it again"
        )
    if crc != zlib.crc32(memoryview(data)[: layout.HEADER_BYTES - 4]):
        fail("the header is damaged (its checksum differs): copy the file again")
    if header_bytes != layout.HEADER_BYTES:
        fail(f"header_bytes is {header_bytes}, must be {layout.HEADER_BYTES}")
    if file_bytes != len(data):
        why = (
            "it is truncated, copy it again"
            if file_bytes > len(data)
            else "something was appended to it"
        )
        fail(f"the file has {len(data)} bytes, its header says {file_bytes}: {why}")
    if unknown := features & ~layout.SPARSE_BLOBS:
        bit = (unknown & -unknown).bit_length() - 1
        fail(
            f"the file (version {major}.{minor}) needs feature bit {bit}, which this reader "
            f"(version {known}) does not know: update wbcq"
        )
    if sections != len(layout.SECTIONS):
        fail(f"section_count is {sections}, must be {len(layout.SECTIONS)}")
    if any(reserved):
        fail("reserved bytes of the header are not zero")
    if body_crc != zlib.crc32(memoryview(data)[layout.HEADER_BYTES :]):
        fail("the contents are damaged (their checksum differs): copy the file again")


def _read_sections(data: bytes) -> dict[str, memoryview]:
    table = np.frombuffer(data, layout.SECTION, len(layout.SECTIONS), layout.HEADER_BYTES)
    sections: dict[str, memoryview] = {}
    end = layout.FIRST_SECTION
    for i, name in enumerate(layout.SECTIONS):
        kind, count, offset, size, reserved = table[i].item()
        label = f"section {i} ({name})"
        if kind != i + 1:
            fail(f"{label}: kind is {kind}, must be {i + 1}: sections are in the order of kinds")
        if reserved:
            fail(f"{label}: reserved is not zero")
        start = layout.align_up(end)
        if offset != start:
            fail(f"{label}: offset is {offset}, must be {start}")
        if start + size > len(data):
            fail(f"{label}: {size} bytes at offset {start} leave the file of {len(data)} bytes")
        record_bytes = layout.RECORDS[name].itemsize if name in layout.RECORDS else 1
        if name in layout.RECORDS and count > MAX_RECORDS:
            fail(f"{label}: count is {count}, must be at most {MAX_RECORDS}")
        if size != count * record_bytes:
            fail(f"{label}: bytes is {size}, must be {count * record_bytes}")
        if any(data[end:start]):
            fail(f"{label}: the bytes before it are not zero")
        end = start + size
        sections[name] = memoryview(data)[start:end]
    if end != len(data):
        fail(f"the data section ends at byte {end} of {len(data)}, must end the file")
    return sections
