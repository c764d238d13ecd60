#!/usr/bin/env python3
"""Writes seeds for the fuzzers: ``PYTHONPATH=. python csrc/fuzz/make_corpus.py DIRECTORY [COUNT]``.

The golden file and programs drawn by the strategies of the tests, small ones first.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.wbcq.engine.golden import golden_program
from tests.wbcq.engine.strategies import programs
from wbcq.engine.program import Program
from wbcq.engine.program_file import program_bytes

MAX_BYTES = 8192


def main(directory: Path, count: int) -> None:
    """Writes up to ``count`` files of at most ``MAX_BYTES``, named by their contents."""
    directory.mkdir(parents=True, exist_ok=True)

    def write(program: Program) -> None:
        data = program_bytes(program)
        if len(data) <= MAX_BYTES:
            (directory / hashlib.sha1(data).hexdigest()).write_bytes(data)

    @seed(1)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(programs())
    def draw(program: Program) -> None:
        write(program)

    write(golden_program())
    draw()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) == 3 else 500)
