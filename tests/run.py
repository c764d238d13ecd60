#!/usr/bin/env python3
"""Runs the test suites, or those named: ``python tests/run.py [SUITE ...]``.

Suites: lint, cpp, python, aarch64, asan (which looks for undefined behaviour too), tsan, and ubsan,
which only runs when it is named. Needs the ``dev`` extra; the C++ suites need
Debian's googletest, and aarch64 also g++-aarch64-linux-gnu and qemu-user.
"""

from __future__ import annotations

import argparse
import collections
import functools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# One process of each suite for each core; their libraries' own threads would only be in the way.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
JOBS = os.environ.get("WBCQ_TEST_JOBS", str(os.cpu_count() or 1))

AARCH64_CPUS = {
    "cortex-a72": "plain NEON",
    "cortex-a76": "dot product",
    "max": "i8mm",
}


# Lines of a failed command that are shown again at the end of the log.
LAST_LINES = 60


class SuiteError(Exception):
    """A suite failed or lacks a tool; ``output`` is the end of what the command printed."""

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


def run(*command: str, env: Mapping[str, str] | None = None) -> None:
    """Runs a command in the project's root and shows it; raises on failure."""
    print("$", " ".join(command), flush=True)
    last: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last.append(line)
    if process.returncode:
        raise SuiteError(f"{command[0]} ended with status {process.returncode}", "".join(last))


def need(tool: str, package: str) -> None:
    """Raises with the remedy if a tool is missing."""
    if shutil.which(tool) is None:
        raise SuiteError(f"{tool} not found: install Debian's package {package}")


def lint() -> None:
    """Format, style and types."""
    run(sys.executable, "-m", "ruff", "check", ".")
    run(sys.executable, "-m", "ruff", "format", "--check", ".")
    run(sys.executable, "-m", "mypy")
    need("clang-format", "clang-format")
    sources = subprocess.run(
        ["git", "ls-files", "*.cc", "*.h", "*.hpp"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    run("clang-format", "--dry-run", "--Werror", *sources)


def build(preset: str) -> None:
    run("cmake", "--preset", preset)
    run("cmake", "--build", "--preset", preset, "-j", JOBS)


@functools.cache
def corpus() -> Path:
    """Drawn programs and the zoo's networks with the exact executor's results, made once a run."""
    path = ROOT / "build" / "corpus.bin"
    run(sys.executable, "tests/wbcq/engine/corpus.py", str(path), env=ONE_THREAD)
    return path


def replay(preset: str, *isa: str, cpu: str | None = None) -> None:
    """Holds the engine of a build to the exact executor's bits, with Winograd's and without."""
    program = str(ROOT / "build" / preset / "tests" / "csrc" / "wbcq_replay")
    emulator = ("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", "-cpu", cpu) if cpu else ()
    for use in ("", "always"):
        run(*emulator, program, str(corpus()), *isa, env={"WBCQ_WINOGRAD": use})


def cpp() -> None:
    """C++ unit tests, release build, every instruction set of this machine."""
    build("release")
    run("ctest", "--preset", "release", "-j", JOBS)
    replay("release")


def python() -> None:
    """Python tests against the installed package."""
    build_dir = ROOT / "build" / "release"
    env = {"WBCQ_BUILD_DIR": str(build_dir)} if build_dir.exists() else {}
    env.update(ONE_THREAD)
    # Without the list of warnings a failure's trace stands at the end of the log.
    options = ("-n", JOBS, "--dist", "loadgroup", "--disable-warnings")
    run(sys.executable, "-m", "pytest", *options, "tests/wbcq", env=env)


def aarch64() -> None:
    """C++ unit tests cross-compiled and run under qemu on three kinds of ARM CPU."""
    need("aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu")
    need("qemu-aarch64", "qemu-user")
    build("aarch64-qemu")
    for cpu, what in AARCH64_CPUS.items():
        print(f"-- {cpu}: {what}", flush=True)
        run("ctest", "--preset", "aarch64-qemu", "-j", JOBS, env={"QEMU_CPU": cpu})
        replay("aarch64-qemu", cpu=cpu)


def sanitizer(preset: str) -> Callable[[], None]:
    def suite() -> None:
        build(preset)
        run("ctest", "--preset", preset, "-j", JOBS)
        replay(preset)

    return suite


SUITES: dict[str, Callable[[], None]] = {
    "lint": lint,
    "cpp": cpp,
    "python": python,
    "aarch64": aarch64,
    "asan": sanitizer("asan"),
    "ubsan": sanitizer("ubsan"),
    "tsan": sanitizer("tsan"),
}


ON_DEMAND = ("ubsan",)
"""Contained in another suite."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(SUITES))
    chosen = parser.parse_args(arguments).suites or [s for s in SUITES if s not in ON_DEMAND]
    if unknown := [name for name in chosen if name not in SUITES]:
        parser.error(f"unknown suite {unknown[0]!r}: choose from {', '.join(SUITES)}")
    failures: dict[str, SuiteError] = {}
    seconds: dict[str, float] = {}
    for name in chosen:
        print(f"\n==== {name}", flush=True)
        start = time.monotonic()
        try:
            SUITES[name]()
        except SuiteError as error:
            failures[name] = error
        seconds[name] = time.monotonic() - start
    for name, failure in failures.items():
        print(f"\n==== {name} failed: {failure}\n{failure.output}", end="")
    print("\n==== summary")
    for name in chosen:
        print(f"{name:8} {seconds[name]:7.1f} s  {failures.get(name, 'ok')}")
    print(f"{len(chosen) - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
