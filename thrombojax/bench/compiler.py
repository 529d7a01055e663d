"""The machine's C compiler: what it is, how wide its vectors are, and a shared library from one of our sources."""

import ctypes
import functools
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from thrombojax.codegen import build

HERE = Path(__file__).parent
FLAGS = ("-O3", "-ffast-math", "-fopenmp-simd", "-fPIC", "-pthread", "-Wno-psabi")
MATHS = (("-lmvec", "-lm"), ("-lm",))
"""glibc's vector exp and log where they exist; the loops over lanes are left to the compiler elsewhere."""


def command() -> tuple[str, ...]:
    """The compiler that generated kernels are built by (`THROMBOJAX_CC`, else `cc`); empty where there is none."""
    try:
        return build.compiler()
    except build.NoCompiler:
        return ()


def version() -> str | None:
    """The first line that the compiler says about itself."""
    said = _run([*command(), "--version"]) if command() else None
    return said.splitlines()[0] if said else None


def native() -> tuple[str, ...]:
    """The flag by which the compiler uses all of this processor's instructions."""
    return tuple(filter(None, [build.native_flag()]))


@functools.cache
def vector_bytes() -> int:
    """Width in bytes of the widest vectors that the compiler would use here."""
    said = _run([*command(), *native(), "-dM", "-E", "-x", "c", os.devnull]) or ""
    macros = {line.split()[1] for line in said.splitlines() if line.startswith("#define ")}
    return 64 if "__AVX512F__" in macros else 32 if "__AVX__" in macros else 16


def library(source: str, defines: Mapping[str, object]) -> ctypes.CDLL | None:
    """A source of this folder, compiled for this processor; None where nothing here compiles it."""
    if not command():
        return None
    words = [f"-D{name}={value}" for name, value in defines.items()]
    if vector_bytes() == 64:
        words.append("-mprefer-vector-width=512")
    with tempfile.TemporaryDirectory(prefix="thrombojax-bench-") as folder:
        # In two steps: GCC links code into a library made with -ffast-math that flushes small numbers in the whole process.
        object_, out = Path(folder) / "library.o", Path(folder) / "library.so"
        if _run([*command(), *FLAGS, *native(), *words, "-c", source, "-o", str(object_)]) is None:
            return None
        for maths in MATHS:
            if _run([*command(), "-shared", "-pthread", str(object_), "-o", str(out), *maths]) is not None:
                return ctypes.CDLL(str(out))
    return None


def _run(line: list[str]) -> str | None:
    """What a command printed; None where it failed or is not there."""
    try:
        return subprocess.run(line, capture_output=True, text=True, check=True, timeout=120, cwd=HERE).stdout
    except (OSError, subprocess.SubprocessError):
        return None
