"""What was measured on: processor, memory, devices, versions. Never a host name, a user or a path."""

import functools
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from thrombojax.bench import compiler

CPUINFO = Path("/proc/cpuinfo")
CPU = Path("/sys/devices/system/cpu")
EXTENSIONS = ("sse4_2", "avx", "fma", "avx2", "avx512f", "avx512dq", "avx512vl", "amx_tile", "asimd", "sve", "sve2")
PACKAGES = ("thrombojax", "jax", "jaxlib", "numpy", "scipy", "diffrax", "optax", "h5py")


def describe() -> dict[str, Any]:
    """The `machine` of a record."""
    return {
        "cpu": processor(),
        "cores": cores(),
        "logical_cpus": os.cpu_count(),
        "instructions": instructions(),
        "clock_hz": clock_hz(),
        "caches_bytes": caches(),
        "memory_bytes": memory_bytes(),
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "gpus": gpus(),
        "python": platform.python_version(),
        "compiler": compiler.version(),
        "vector_bytes": compiler.vector_bytes() if compiler.command() else None,
        "versions": {name: _version(name) for name in PACKAGES},
    }


def cores() -> int:
    """Cores that this process may use: a job's share of the machine, where the system says."""
    mine = getattr(os, "sched_getaffinity", None)
    return len(mine(0)) if mine else os.cpu_count() or 1


@functools.cache
def _cpuinfo() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo; empty elsewhere than on Linux."""
    try:
        first = CPUINFO.read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def processor() -> str:
    """Name of the processor."""
    info = _cpuinfo()
    name = info.get("model name") or _said("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor()
    return name or platform.machine()


def instructions() -> list[str]:
    """The vector extensions that count for speed, of those the processor says it has."""
    info = _cpuinfo()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return [name for name in EXTENSIONS if name in flags]


def clock_hz() -> float | None:
    """Hertz: the highest clock that the system promises, else what it runs at now."""
    try:
        return float((CPU / "cpu0/cpufreq/cpuinfo_max_freq").read_text()) * 1e3
    except (OSError, ValueError):
        said = _cpuinfo().get("cpu MHz")
        return float(said) * 1e6 if said else None


def caches() -> dict[str, int]:
    """Bytes of the data caches that the first processor sees, by level: `L1`, `L2`, `L3`."""
    found = {}
    for entry in sorted((CPU / "cpu0/cache").glob("index*")):
        try:
            kind, level, size = ((entry / name).read_text().strip() for name in ("type", "level", "size"))
        except OSError:
            continue
        if kind != "Instruction":
            found[f"L{level}"] = int(size.removesuffix("K")) * 1024
    return found


def memory_bytes() -> int | None:
    """Bytes of memory, where the system says."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


@functools.cache
def gpus() -> list[dict[str, str]]:
    """NVIDIA devices as their driver names them: name, memory, driver, power limit."""
    keys = ("name", "memory.total", "driver_version", "power.limit")
    said = _said("nvidia-smi", f"--query-gpu={','.join(keys)}", "--format=csv,noheader")
    return [dict(zip(keys, map(str.strip, line.split(",")), strict=False)) for line in (said or "").splitlines()]


def _said(*words: str) -> str | None:
    if not shutil.which(words[0]):
        return None
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
