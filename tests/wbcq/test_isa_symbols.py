"""Kernel objects must not hold code that the linker may share with the rest of the program.

An inline function compiled in a file with AVX-512 flags is a weak symbol; the linker keeps one
copy for the whole program, and if it keeps that one, a CPU without AVX-512 stops on code that never
asked for it. So an ISA's objects define local symbols and their kernel tables, and nothing else.

Looks at the build trees of ``WBCQ_BUILD_DIR`` (several are separated as in ``PATH``) or else at
those of the presets ``release`` and ``aarch64-qemu``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OBJECT_LIBRARY = re.compile(r"wbcq_kernels_(?P<isa>\w+)\.dir")
# In namespace wbcq: <family>_<isa>, for example gemm_x86_avx2.
KERNEL_OBJECT = re.compile(r"wbcq::[a-z0-9_]+")
# What the compiler itself may call for copies and fills of memory.
LIBRARY_CALLS = {"memcpy", "memmove", "memset", "_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail"}


def build_directories() -> list[Path]:
    given = os.environ.get("WBCQ_BUILD_DIR")
    if given:
        return [Path(directory) for directory in given.split(os.pathsep)]
    return [ROOT / "build" / preset for preset in ("release", "aarch64-qemu")]


def kernel_objects() -> list[Path]:
    return sorted(
        path
        for directory in build_directories()
        for path in directory.rglob("*.o")
        if OBJECT_LIBRARY.search(str(path))
    )


def symbols(path: Path) -> list[tuple[str, str]]:
    """Type letter and demangled name of every global or undefined symbol."""
    output = subprocess.run(
        ["nm", "--extern-only", "--demangle", "--format=posix", str(path)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # "name type value size"; a demangled name may hold spaces.
    found = re.findall(r"^(.+) ([A-Za-z])(?: +[0-9a-f]+)* *$", output, re.MULTILINE)
    return [(kind, name) for name, kind in found]


@pytest.fixture(scope="module")
def objects() -> list[Path]:
    if shutil.which("nm") is None:
        pytest.skip("nm not found: install binutils")
    found = kernel_objects()
    if not found:
        pytest.skip("no build tree with kernel objects: build a preset, or set WBCQ_BUILD_DIR")
    return found


def test_kernel_objects_define_only_their_tables(objects: list[Path]) -> None:
    for path in objects:
        match = OBJECT_LIBRARY.search(str(path))
        assert match
        defined = [(kind, name) for kind, name in symbols(path) if kind not in "Uw"]
        assert defined, f"{path} defines no kernel table"
        for kind, name in defined:
            assert kind in "DR", f"{path} defines {name} as {kind}, which the linker may share"
            assert KERNEL_OBJECT.fullmatch(name), f"{path} exports {name}"
            assert name.endswith(match["isa"]), f"{path} defines {name}, named after another ISA"


def test_kernel_objects_need_nothing_but_memory_functions(objects: list[Path]) -> None:
    for path in objects:
        needed = {name for kind, name in symbols(path) if kind in "Uw"}
        # The scalar table of the same family, for what an ISA has no kernel of its own.
        needed = {name for name in needed if not re.fullmatch(r"wbcq::\w+_reference", name)}
        assert needed <= LIBRARY_CALLS, f"{path} needs {sorted(needed - LIBRARY_CALLS)}"


def test_a_shared_inline_function_is_noticed(tmp_path: Path) -> None:
    """The test can fail: what it looks for is what the compiler emits for such a function."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None or shutil.which("nm") is None:
        pytest.skip("needs a C++ compiler and nm")
    source = tmp_path / "shared.cc"
    source.write_text("inline int f(int x) { return x + 1; }\nint (*g)(int) = f;\n")
    subprocess.run([compiler, "-O2", "-c", source.name], cwd=tmp_path, check=True)
    assert ("W", "f(int)") in symbols(tmp_path / "shared.o")
