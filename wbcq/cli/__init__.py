"""The ``wbcq`` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command and exits: 0 on success, 2 on wrong usage, 1 on any other error."""
    try:
        from wbcq.cli.app import run
    except ModuleNotFoundError as error:
        print(
            f"wbcq: error: the command line needs {error.name}. Remedy: pip install 'wbcq[demo]'",
            file=sys.stderr,
        )
        sys.exit(1)
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))
