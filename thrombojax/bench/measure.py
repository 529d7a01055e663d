"""The whole benchmark: which backends run here, every part in turn, one record."""

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from thrombojax.bench import child, compiler, machine, parts, peers, record
from thrombojax.bench.found import FULL, QUICK, Found, Setting, Sizes
from thrombojax.errors import InputError, Problem, RunError, unknown

PRECISIONS = ("f32", "f64")
PARTS: dict[str, Callable[[Setting], Found]] = {
    "prototype": parts.prototype,
    "forward sweep": parts.forward,
    "titrated sweep": parts.titrated,
    "gradient": parts.gradient,
    "results file": parts.results,
    "cold and warm start": parts.start,
    "scaling": parts.scaling,
    "linear cost": parts.linear,
    "peers": peers.measure,
}


def bench(
    *,
    quick: bool = False,
    with_peers: bool = False,
    backend: str | None = None,
    precision: str | None = None,
    sizes: Sizes | None = None,
    chosen: Sequence[str] = tuple(PARTS),
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure and return the record; `say` gets a line before each part. InputError for an unknown backend.

    with_peers: all of them; else the main ones, whose ratios every record has.
    """
    began, spent = time.time(), dict[str, float]()
    sizes = sizes or (QUICK if quick else FULL)
    precisions = PRECISIONS if precision is None else (precision,)
    try:
        known = child.once(workload="about")
        backends, notes = _backends(known, backend)
        say("arithmetic and memory ceilings")
        ceilings = child.once(workload="ceilings", seconds=sizes.ceilings)
        found = Found([], {}, [*notes])
        with tempfile.TemporaryDirectory(prefix="thrombojax-bench-") as folder:
            others = (("--quick",) if quick else ()) if with_peers else ("--main",)
            setting = Setting(sizes, backends, precisions, machine.cores(), folder, backend or "auto", others)
            for name in chosen:
                say(name)
                start = time.perf_counter()
                found += _part(name, setting)
                spent[name] = round(time.perf_counter() - start, 1)
        ceilings = _higher(ceilings, child.once(workload="ceilings", seconds=sizes.ceilings))
    except child.Failed as error:
        raise RunError(f"a benchmark process failed: {error}") from None
    found += Found([], {}, ceilings["notes"])
    described = machine.describe() | {"devices": known["devices"], "ceilings": ceilings}
    how = {
        "taken": time.strftime("%Y-%m-%d", time.gmtime(began)),
        "quick": quick,
        "seconds": round(time.time() - began, 1),
        "seconds_of_parts": spent,
    }
    return record.build(described, found, how)


def _part(name: str, setting: Setting) -> Found:
    """One part; a note where it could not be measured, so that the others still are."""
    try:
        return PARTS[name](setting)
    except child.Failed as error:
        return Found([], {}, [f"{name}: not measured: {error}"])


def _higher(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Of two measurements of the ceilings, before and after, the higher of each: a busy machine reads too low."""
    rates = {p: max(rate, other["operations"][p]) for p, rate in one["operations"].items()}
    later = sum(other["operations"].values()) > sum(one["operations"].values())
    bandwidth = max(one["bandwidth"], other["bandwidth"])
    return {**one, "operations": rates, "bandwidth": bandwidth, "notes": (other if later else one)["notes"]}


def _backends(known: dict[str, Any], wanted: str | None) -> tuple[tuple[str, ...], list[str]]:
    """The backends to measure, and notes on those that cannot run here."""
    if wanted not in (None, "auto", *known["backends"]):
        raise InputError(unknown("--backend", "backend", str(wanted), ("auto", *known["backends"])))
    if wanted == "reference":
        others = ", ".join(name for name in known["allowed"] if name != wanted)
        raise InputError(
            Problem("--backend", f"the reference is in every record, on few patients; allowed: auto, {others}")
        )
    notes, runs = [], []
    for name in known["allowed"]:
        missing = _missing(name, known["devices"])
        if missing is None:
            runs.append(name)
        else:
            notes.append(f"backend {name}: not measured, {missing}")
    if wanted == "auto":
        return tuple(runs[:1]), notes
    if wanted is not None:
        if wanted not in runs:
            raise RunError(
                f"backend {wanted} cannot run here: {_missing(wanted, known['devices']) or 'not with this model'}"
            )
        return (wanted,), []
    return tuple(runs), notes


def _missing(backend: str, devices: Sequence[str]) -> str | None:
    """What this machine lacks for a backend; None where it has all."""
    if backend == "native" and not compiler.command():
        return "there is no C compiler (cc, or THROMBOJAX_CC)"
    if backend == "cuda" and (all(kind == "cpu" for kind in devices) or not shutil.which("nvidia-smi")):
        return "JAX finds no NVIDIA device"
    return None
