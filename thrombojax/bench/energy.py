"""Energy that the machine reports: Linux powercap (RAPL) packages, and NVIDIA devices where pynvml is installed.

Both count everything that ran meanwhile, not this process alone.
"""

import importlib
from pathlib import Path
from typing import NamedTuple

POWERCAP = Path("/sys/class/powercap")


class Reading(NamedTuple):
    """joules: of each counter since some start; wrap: joules at which it begins again at 0 (0: never)."""

    joules: tuple[float, ...]
    wrap: tuple[float, ...]


def read() -> Reading:
    """All counters of the machine; none where it reports nothing, or only to root."""
    counters = [*_packages(), *_devices()]
    return Reading(tuple(joules for joules, _ in counters), tuple(wrap for _, wrap in counters))


def between(before: Reading, after: Reading) -> float | None:
    """Joules used between two readings; None where nothing is reported."""
    if not before.joules or len(before.joules) != len(after.joules):
        return None
    pairs = zip(before.joules, after.joules, after.wrap, strict=True)
    return sum(b - a if b >= a else b - a + wrap for a, b, wrap in pairs)


def _packages() -> list[tuple[float, float]]:
    """Joules and wrap of each processor package (`intel-rapl:0`, not its parts, which it contains)."""
    found = []
    for folder in sorted(POWERCAP.glob("intel-rapl:*")):
        if folder.name.count(":") != 1:
            continue
        try:
            joules, wrap = (int((folder / name).read_text()) * 1e-6 for name in ("energy_uj", "max_energy_range_uj"))
        except (OSError, ValueError):
            continue
        found.append((joules, wrap))
    return found


def _devices() -> list[tuple[float, float]]:
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        return [(nvml.nvmlDeviceGetTotalEnergyConsumption(handle) * 1e-3, 0.0) for handle in handles]
    except Exception:  # not installed, no driver, or a device that does not count
        return []
