"""From CUDA text to a GPU's own instructions: NVRTC of the `nvidia` wheels or of the system, and a cache on disk by content.

Instructions for the very GPU, not PTX: a driver then has nothing to translate, and needs only to be of NVRTC's major version.
"""

import ctypes
import ctypes.util
import functools
import hashlib
import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

from thrombojax.codegen import build
from thrombojax.errors import RunError

FLAGS = ("--fmad=false", "--ftz=true", "--prec-div=false", "--prec-sqrt=false", "--disable-warnings")
"""Fused multiply-adds where the text has them; float32 as on the host, small numbers zero, 1/x and roots to the last place."""


class NoNvrtc(RunError):
    """There is no NVRTC that works here."""


class Nvrtc:
    """A loaded NVRTC; version: (major, minor)."""

    def __init__(self, path: str):
        self.path = path
        self.library = ctypes.CDLL(path)
        self.library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        self.version = (major.value, minor.value)

    def targets(self) -> list[int]:
        """Compute capabilities that it knows, as 90 for 9.0."""
        n = ctypes.c_int()
        self._call("nvrtcGetNumSupportedArchs", ctypes.byref(n))
        found = (ctypes.c_int * n.value)()
        self._call("nvrtcGetSupportedArchs", found)
        return list(found)

    def compile(self, text: str, target: int) -> bytes:
        """A cubin for one compute capability."""
        if target not in self.targets():
            raise NoNvrtc(f"{self}: does not know compute capability {target // 10}.{target % 10}")
        options = [f.encode() for f in (*FLAGS, f"--gpu-architecture=sm_{target}")]
        program = ctypes.c_void_p()
        self._call("nvrtcCreateProgram", ctypes.byref(program), text.encode(), b"thrombojax.cu", 0, None, None)
        try:
            given = (ctypes.c_char_p * len(options))(*options)
            if self.library.nvrtcCompileProgram(program, len(options), given):
                log = self._bytes(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog").decode(errors="replace")
                said = next((line for line in log.splitlines() if "error" in line), log[:200])
                raise NoNvrtc(f"{self} failed: {said}")
            return self._bytes(program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN")
        finally:
            self.library.nvrtcDestroyProgram(ctypes.byref(program))

    def _bytes(self, program: ctypes.c_void_p, size: str, get: str) -> bytes:
        n = ctypes.c_size_t()
        self._call(size, program, ctypes.byref(n))
        found = ctypes.create_string_buffer(n.value)
        self._call(get, program, found)
        return found.raw

    def _call(self, name: str, *args: Any) -> None:
        code = getattr(self.library, name)(*args)
        if code:
            raise NoNvrtc(f"{self.path}: {name}: {self.library.nvrtcGetErrorString(code).decode()}")

    def __str__(self) -> str:
        return f"NVRTC {'.'.join(map(str, self.version))} ({self.path})"


@functools.lru_cache(maxsize=4)
def find(major: int) -> Nvrtc:
    """The newest NVRTC of a driver's major version; THROMBOJAX_NVRTC names one. Raises NoNvrtc."""
    tried: list[str] = []
    found: list[Nvrtc] = []
    for path in candidates():
        try:
            nvrtc = Nvrtc(path)
        except (OSError, AttributeError, NoNvrtc) as error:
            tried.append(f"{path}: {error}")
            continue
        if nvrtc.version[0] == major:
            found.append(nvrtc)
        else:
            tried.append(str(nvrtc))
    if found:
        return max(found, key=lambda n: n.version)
    if tried:
        raise NoNvrtc(f"the driver is of CUDA {major}, and there is no NVRTC of that version, but {'; '.join(tried)}")
    raise NoNvrtc(f"there is no NVRTC; `pip install 'jax[cuda{major}]'` brings it")


def candidates() -> list[str]:
    """Libraries that may be NVRTC: the one named, or those of wheels, then the system's."""
    named = os.environ.get("THROMBOJAX_NVRTC")
    if named:
        return [named]
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(p) for p in (spec.submodule_search_locations or ())] if spec else []
    wheels = [p for folder in folders for p in sorted(folder.glob("*/lib/libnvrtc.so.*"))]
    system = ctypes.util.find_library("nvrtc")
    return [*map(str, wheels), *([system] if system else [])]


def load(nvrtc: Nvrtc, text: str, target: int) -> bytes:
    """The cubin of a text, from the cache or compiled. Raises NoNvrtc, or RunError for an unsafe cache."""
    identity = "\0".join([str(nvrtc.version), *FLAGS, str(target), text])
    cache = build._cache()
    path = cache / f"{hashlib.sha256(identity.encode()).hexdigest()[:40]}.cubin" if cache is not None else None
    kept = _open(path) if path is not None else None
    return kept if kept is not None else _keep(nvrtc.compile(text, target), path)


def _open(path: Path) -> bytes | None:
    """A kept cubin if it is whole: its checksum stands before it."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    build.used(path)
    digest, cubin = content[:32], content[32:]
    return cubin if digest == hashlib.sha256(cubin).digest() else None


def _keep(cubin: bytes, path: Path | None) -> bytes:
    """Into the cache, whole or not at all, whoever else does the same; nowhere if it cannot be written."""
    if path is not None:
        try:
            handle, temporary = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(cubin).digest() + cubin)
            os.replace(temporary, path)
            build.make_room(path)
        except OSError:
            pass
    return cubin
