"""From source text to a loaded library: the machine's C compiler, and a cache on disk by content and processor.

Nothing of a study reaches the command line or the text: the text is made of operations and numbers, its name is its hash.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from thrombojax.errors import RunError

FLAGS = ("-O3", "-std=gnu11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros",
         "-fvisibility=hidden", "-shared", "-fPIC", "-w")  # fmt: skip
SECONDS = 300
"""A compiler that takes longer has failed."""
DIGEST = hashlib.sha256().digest_size
"""Bytes at the end of a kept library that say whether the others are whole."""
MOST = 256 * 2**20
"""Bytes that are kept: some five thousand libraries."""


class NoCompiler(RunError):
    """There is no C compiler that works here; `xla` runs instead."""


def compiler() -> tuple[str, ...]:
    """Command of the C compiler: THROMBOJAX_CC, else cc, gcc or clang. Raises NoCompiler."""
    asked = os.environ.get("THROMBOJAX_CC")
    if asked is not None:
        try:
            words = tuple(shlex.split(asked))
        except ValueError:
            words = ()
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
    status, said = _call([*command, "--version"])
    if status != 0:
        raise NoCompiler(f"{shlex.join(command)} --version ended with status {status}")
    return said


def _call(words: Sequence[str]) -> tuple[int, str]:
    """Exit status of a command and all that it said; nothing that it started outlives it. Raises NoCompiler."""
    try:
        with subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", start_new_session=True,
        ) as process:  # fmt: skip
            try:
                said, _ = process.communicate(timeout=SECONDS)
            except BaseException:  # too late, or Ctrl-C
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
    except subprocess.TimeoutExpired:
        raise NoCompiler(f"{words[0]} took more than {SECONDS} s") from None
    except OSError as error:
        raise NoCompiler(f"{words[0]}: {error.strerror}") from None
    return process.returncode, said


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


def _own(path: Path) -> bool:
    """A folder of the user's own that nobody else may write to: what lies in it gets executed."""
    found = os.lstat(path)
    own = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return stat.S_ISDIR(found.st_mode) and own and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _held(path: Path) -> bool:
    """A folder in which not everybody may rename what others have."""
    mode = os.stat(path).st_mode
    return not mode & stat.S_IWOTH or bool(mode & stat.S_ISVTX)


def _cache() -> Path | None:
    """The cache folder, made if need be; None where it cannot be written. Raises RunError where it is not safe."""
    path = folder()
    mine = (path.parent, path)
    try:
        for each in mine:  # with a mode of their own: the user's mask may let a group write
            each.mkdir(parents=True, exist_ok=True, mode=0o700)
        unsafe = [each for each in mine if not _own(each)]
        unsafe += [each for each in path.parent.resolve().parents if not _held(each)]
    except OSError:
        return None
    if unsafe:
        raise RunError(
            f"{unsafe[0]}: kernels are kept and run from there, so it must be a folder of yours that others cannot write"
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
        kept = _keep(made, cache / f"{name}.so") if cache is not None else None
        try:
            return kept if kept is not None else ctypes.CDLL(str(made))
        except OSError as error:
            raise NoCompiler(f"{shlex.join(command)} made a library that does not load: {_line(str(error))}") from None


def _open(path: Path) -> ctypes.CDLL | None:
    """A kept library if it is whole."""
    try:
        content = path.read_bytes()
        if content[-DIGEST:] != hashlib.sha256(content[:-DIGEST]).digest():
            return None
        used(path)
        return ctypes.CDLL(str(path))
    except OSError:
        return None


def used(path: Path) -> None:
    """Note that a kept file is in use, for `make_room`."""
    with contextlib.suppress(OSError):
        os.utime(path)


def make_room(path: Path) -> None:
    """Remove kept files that were not used for longest, down to MOST bytes; never `path`, which was just made.

    Other processes may do the same: what is gone is gone, and is made again by whoever needs it.
    """
    kept: list[tuple[int, int, str]] = []
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(found.st_mode):
                    kept.append((found.st_mtime_ns, found.st_size, entry.path))
    excess = sum(size for _, size, _ in kept) - MOST
    for _, size, old in sorted(kept):
        if excess <= 0:
            break
        if old != str(path):
            with contextlib.suppress(OSError):
                os.unlink(old)
            excess -= size


def _compile(text: str, command: tuple[str, ...], flags: tuple[str, ...], scratch: Path) -> Path:
    source, made = scratch / "kernel.c", scratch / "kernel.so"
    source.write_text(text, encoding="utf-8")
    status, said = _call([*command, *flags, str(source), "-o", str(made), "-lm", "-lpthread"])
    if status != 0 or not made.is_file():
        why = next((line for line in said.splitlines() if "error" in line), said) or "it made no library"
        raise NoCompiler(f"{shlex.join(command)} failed (status {status}): {_line(why)}")
    return made


def _line(text: str) -> str:
    """What somebody else's program says, fit for a line of a message."""
    return "".join(c if c.isprintable() else " " for c in text).strip()[:200]


def _keep(made: Path, path: Path) -> ctypes.CDLL | None:
    """Put a library into the cache, whole or not at all, whoever else does the same; None where it cannot be kept."""
    content = made.read_bytes()
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content + hashlib.sha256(content).digest())
            file.flush()
            os.fsync(file.fileno())
        library = ctypes.CDLL(temporary)
        os.replace(temporary, path)
        make_room(path)
        return library
    except OSError:
        return None
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
