"""The two ceilings of a roofline, measured on this machine: vector arithmetic over all cores, and memory bandwidth."""

import ctypes
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from thrombojax.bench import compiler, machine

REALS = {"f32": ("float", ctypes.c_float, 4), "f64": ("double", ctypes.c_double, 8)}
CHAINS = {64: 24, 32: 12, 16: 24}
"""Accumulators by vector width in bytes: 32 registers with AVX-512 and on ARM, 16 with AVX."""
PORTS = 2
"""Fused multiply-adds that a core of most machines starts in a cycle."""


@dataclass(frozen=True)
class Ceilings:
    """operations: precision -> operations per second (an FMA is two); bandwidth: bytes per second; nominal: what clock,

    vector width and two FMA ports would give, where the clock is known; how: `C` or `NumPy`.
    """

    operations: dict[str, float]
    bandwidth: float
    nominal: dict[str, float | None]
    how: str
    threads: int
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"notes": list(self.notes)}


def measure(seconds: float = 0.5, cores: int | None = None) -> Ceilings:
    """Both ceilings in about `seconds` each per precision, over the cores that this process may use."""
    cores = cores or machine.cores()
    compiled = {
        precision: compiler.library("ceilings.c", {"REAL": real, "W": width // size, "CHAINS": CHAINS[width]})
        for precision, (real, _, size) in REALS.items()
        for width in [compiler.vector_bytes()]
    }
    if any(found is None for found in compiled.values()):
        return _by_numpy(seconds, cores)
    libraries = {precision: found for precision, found in compiled.items() if found is not None}
    operations = {p: _arithmetic(library, REALS[p][1], seconds, cores) for p, library in libraries.items()}
    bandwidth = _bandwidth(libraries["f64"], seconds, cores)
    nominal = {p: _nominal(p, cores) for p in REALS}
    return Ceilings(operations, bandwidth, nominal, "C", cores, tuple(_doubts(operations, nominal)))


def _arithmetic(library: Any, real: Any, seconds: float, cores: int) -> float:
    """Operations per second: the best of several runs of about 20 ms."""
    call = library.arithmetic
    call.restype, call.argtypes = ctypes.c_double, (ctypes.c_long, ctypes.c_int, real)
    rounds, best, until = 1_000_000, 0.0, time.perf_counter() + seconds
    while best == 0.0 or time.perf_counter() < until:
        best = max(best, call(rounds, cores, 1e-3))
    return best


def _bandwidth(library: Any, seconds: float, cores: int) -> float:
    """Bytes per second: the best of several runs over arrays of four times the last cache."""
    call = library.bandwidth
    call.restype, call.argtypes = ctypes.c_double, (ctypes.c_long, ctypes.c_long, ctypes.c_int, ctypes.c_double)
    n = _array_bytes() // 8
    best, until = 0.0, time.perf_counter() + seconds
    while best == 0.0 or time.perf_counter() < until:
        best = max(best, call(n, 3, cores, 3.0))
    return best


def _array_bytes() -> int:
    """Bytes of one triad array: far beyond the caches, and three of them within a quarter of the memory."""
    last = max(machine.caches().values(), default=32 * 2**20)
    memory = machine.memory_bytes() or 2**32
    return min(max(4 * last, 2**26), memory // 12)


def _nominal(precision: str, cores: int) -> float | None:
    clock = machine.clock_hz()
    lanes = compiler.vector_bytes() // REALS[precision][2]
    return None if clock is None else 2.0 * PORTS * lanes * clock * cores


def _doubts(operations: dict[str, float], nominal: dict[str, float | None]) -> Sequence[str]:
    """What does not fit the processor's nominal figures."""
    notes = []
    for precision, found in operations.items():
        expected = nominal[precision]
        if expected and not 0.4 <= found / expected <= 2.0:
            notes.append(
                f"the measured arithmetic ceiling ({precision}, {found / 1e9:.0f} GFLOP/s) is {found / expected:.2f} of clock x "
                "vector width x two FMA ports: the machine was busy, its clock is another, or it has more or fewer ports"
            )
    return notes


def _by_numpy(seconds: float, cores: int) -> Ceilings:
    """Without a compiler: a matrix product for arithmetic, a NumPy sum of arrays for memory. Both read too low."""
    operations = {}
    for precision, kind in (("f32", np.float32), ("f64", np.float64)):
        n = 1024
        a = np.ones((n, n), kind)
        operations[precision] = 2.0 * n**3 / _best(lambda a=a: a @ a, seconds)
    x, y, out = (np.ones(_array_bytes() // 8) for _ in range(3))
    bandwidth = 3.0 * x.nbytes / _best(lambda: np.add(x, y, out=out), seconds)
    note = "no C compiler: the ceilings are estimates by NumPy (a matrix product; an addition of arrays on one core)"
    return Ceilings(operations, bandwidth, dict.fromkeys(REALS), "NumPy", cores, (note,))


def _best(call: Any, seconds: float) -> float:
    """Least seconds of a call, repeated for about `seconds`."""
    best, until = float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < until:
        began = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - began)
    return best
