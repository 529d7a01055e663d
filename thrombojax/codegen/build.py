"""From source text to a loaded library: the machine's C compiler, and a cache on disk by content and processor.

Nothing of a study reaches the command line or the text: the text is made of operations and numbers, its name is its hash.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from thrombojax.errors import RunError

FLAGS = ("-O3", "-std=gnu11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros",
         "-fvisibility=hidden", "-shared", "-fPIC", "-w")  # fmt: skip
SECONDS = 300
"""A compiler that takes longer has failed."""


class NoCompiler(RunError):
    """There is no C compiler that works here; `xla` runs instead."""


def compiler() -> tuple[str, ...]:
    """Command of the C compiler: THROMBOJAX_CC, else cc, gcc or clang. Raises NoCompiler."""
    asked = os.environ.get("THROMBOJAX_CC")
    if asked is not None:
        words = tuple(shlex.split(asked))
        if not words or shutil.which(words[0]) is None:
            raise NoCompiler(f"THROMBOJAX_CC: there is no command {asked!r}")
        return words
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name) is not None:
            return (name,)
    raise NoCompiler("there is no C compiler (cc, gcc or clang; THROMBOJAX_CC names another)")


@functools.lru_cache(maxsize=8)
def _version(command: tuple[str, ...]) -> str:
    """What the compiler says of itself, and of this processor; a command that fails is no compiler."""
    try:
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoCompiler(f"{' '.join(command)}: {error}") from None
    if done.returncode != 0:
        raise NoCompiler(f"{' '.join(command)} --version ended with status {done.returncode}")
    return done.stdout


@functools.lru_cache(maxsize=1)
def processor() -> str:
    """What `-march=native` depends on."""
    lines = []
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith(("model name", "flags", "Features", "CPU part")):
                    lines.append(line.strip())
                elif not line.strip():
                    break
    except OSError:
        pass
    return "\n".join([platform.machine(), platform.processor(), *lines])


def native_flag() -> str:
    """The option for this processor's own instructions; THROMBOJAX_MARCH names another, or nothing for the plain set."""
    asked = os.environ.get("THROMBOJAX_MARCH")
    if asked is not None:
        return f"-march={asked}" if asked else ""
    return "-mcpu=native" if platform.machine() in ("arm64", "ppc64le") else "-march=native"


def folder() -> Path:
    """Where libraries are kept: THROMBOJAX_CACHE, else the user's cache folder."""
    named = os.environ.get("THROMBOJAX_CACHE")
    if named:
        return Path(named) / "native"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(home) / "thrombojax" / "native"


def _safe(path: Path) -> bool:
    """A folder of the user's own that nobody else may write to: what lies in it gets executed."""
    found = os.lstat(path)
    own = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return stat.S_ISDIR(found.st_mode) and own and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _cache() -> Path | None:
    """The cache folder, made if need be; None where it cannot be written. Raises RunError where it is not safe."""
    path = folder()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return None
    for each in (path, path.parent):
        if not _safe(each):
            raise RunError(
                f"{each}: kernels are kept and run from there, so it must be a folder of yours that others cannot write"
            )
    return path


def identity() -> str:
    """All that decides a library's bytes besides its text: compiler, options, processor. Raises NoCompiler."""
    command = compiler()
    return "\0".join([*command, _version(command), *_flags(), processor()])


def _flags() -> tuple[str, ...]:
    return tuple(f for f in (*FLAGS, native_flag()) if f)


def load(text: str) -> ctypes.CDLL:
    """The library of a source text, from the cache or compiled. Raises NoCompiler, or RunError for an unsafe cache."""
    return _load(text, identity())


@functools.lru_cache(maxsize=256)
def _load(text: str, identity: str) -> ctypes.CDLL:
    command, flags = compiler(), _flags()
    name = hashlib.sha256(f"{identity}\0{text}".encode()).hexdigest()[:40]
    cache = _cache()
    if cache is not None:
        found = _open(cache / f"{name}.so")
        if found is not None:
            return found
    with tempfile.TemporaryDirectory(prefix="thrombojax-") as scratch:
        made = _compile(text, command, flags, Path(scratch))
        if cache is not None:
            kept = _keep(made, cache / f"{name}.so")
            if kept is not None:
                return kept
        return ctypes.CDLL(str(made))


def _open(path: Path) -> ctypes.CDLL | None:
    """A kept library if it is whole: its checksum lies beside it."""
    try:
        content = path.read_bytes()
        if path.with_suffix(".sha256").read_text(encoding="ascii") != hashlib.sha256(content).hexdigest():
            return None
        return ctypes.CDLL(str(path))
    except (OSError, UnicodeDecodeError):
        return None


def _compile(text: str, command: tuple[str, ...], flags: tuple[str, ...], scratch: Path) -> Path:
    source, made = scratch / "kernel.c", scratch / "kernel.so"
    source.write_text(text, encoding="utf-8")
    try:
        done = subprocess.run(
            [*command, *flags, str(source), "-o", str(made), "-lm", "-lpthread"],
            capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoCompiler(f"{' '.join(command)}: {error}") from None
    if done.returncode != 0:
        said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
        raise NoCompiler(f"{' '.join(command)} failed (status {done.returncode}): {said}")
    return made


def _keep(made: Path, path: Path) -> ctypes.CDLL | None:
    """Move a library into the cache, whole or not at all, whoever else does the same; None where it cannot be kept."""
    content = made.read_bytes()
    try:
        for target, data in (
            (path, content),
            (path.with_suffix(".sha256"), hashlib.sha256(content).hexdigest().encode()),
        ):
            handle, temporary = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        return ctypes.CDLL(str(path))
    except OSError:
        return None
