"""Small work whose numbers depend on the patient alone, and a command that runs it, to be killed by tests."""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np

from thrombojax.errors import InputError, RunError
from thrombojax.execute import Progress, Work, execute
from thrombojax.store import Axis, Layout, Variable, flags

DOSES = np.array([1.0, 3.0, 10.0])
ARMS = np.array(["placebo", "1 µg/kg, weekly"])
DAYS = np.arange(0.0, 30.0)


def layout(n: int = 100, shard: int = 16, compression: str = "none") -> Layout:
    """Three doses, two arms, 30 days: endpoints, a status, trajectories and two groups' parameters."""
    cell = ("dose", "arm", "patient")
    return Layout(
        axes=(
            Axis("dose", DOSES, "ug/kg", "weekly dose"),
            Axis("arm", ARMS, long_name="arm"),
            Axis("time", DAYS, "day", "time since the first dose"),
            Axis("patient", np.arange(n), long_name="patient number"),
        ),
        variables=(
            Variable("nadir", cell, "float32", "1/nL", "lowest platelet count", attrs={"display_units": "10^9/L"}),
            Variable("weeks", cell, "int16", "week", "weeks of response"),
            Variable("status", cell, "uint8", role="status", attrs=flags({"ok": 0, "not_finite": 1})),
            Variable(
                "platelets",
                ("dose", "arm", "time", "patient"),
                unit="1/nL",
                long_name="platelet count",
                role="trajectory",
                compression=compression,
            ),
            Variable("kin", ("patient",), "float64", "1/day", "production", "parameter", "parameters"),
            Variable("response", ("dose",), "float64", long_name="known beforehand"),
            Variable("doses", (), "int32", long_name="a scalar"),
        ),
        attrs={"title": "a small study"},
        shard_patients=shard,
    )


def compute(start: int, stop: int) -> dict[str, np.ndarray]:
    patient = np.arange(start, stop)
    cell = DOSES[:, None, None] + np.arange(2)[:, None] * 0.5 + np.sin(patient * 1.7)
    curve = np.cos(DAYS)[:, None] * cell[:, :, None, :]
    return {
        "nadir": np.where(patient % 10 == 7, np.nan, cell).astype("float32"),
        "weeks": np.broadcast_to(patient % 26, cell.shape).astype("int16"),
        "status": np.broadcast_to(patient % 10 == 7, cell.shape).astype("uint8"),
        "platelets": curve.astype("float32"),
        "kin": np.exp(np.cos(patient * 2.3)),
        "response": DOSES / 10,
        "doses": np.array(7, "int32"),
    }


def work(n: int = 100, shard: int = 16, **changes) -> Work:
    given = {"study": "[study]\nseed = 1\n", "provenance": {"seed": 1, "versions": ["numpy 2", "h5py 3"]}}
    compression = changes.pop("compression", "none")
    return Work(n, layout(n, shard, compression), **{"kernel_hash": "k" * 64, "compute": compute, **given, **changes})


def plain_layout(n: int) -> Layout:
    """No study axis, no arm, no time: one endpoint by patient."""
    return Layout((Axis("patient", np.arange(n)),), (Variable("auc", ("patient",)),), shard_patients=16)


def differences(one: Path, other: Path) -> list[str]:
    """Datasets that differ between two files in values, chunk shape, filters or in a single byte of a raw chunk."""
    found = []
    with h5py.File(one) as a, h5py.File(other) as b:
        names: list[str] = []
        a.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in names:
            if not _same(a[name], b[name]):
                found.append(name)
        missing: list[str] = []
        b.visititems(lambda name, item: missing.append(name) if name not in a else None)
    return found + missing


def _same(a: h5py.Dataset, b: h5py.Dataset) -> bool:
    if (a.shape, a.dtype, a.chunks) != (b.shape, b.dtype, b.chunks):
        return False
    if np.asarray(a[()]).dtype.kind != "O" and np.asarray(a[()]).tobytes() != np.asarray(b[()]).tobytes():
        return False
    if a.chunks is None:
        return np.array_equal(a[()], b[()])
    if a.id.get_num_chunks() != b.id.get_num_chunks():
        return False
    offsets = [a.id.get_chunk_info(i).chunk_offset for i in range(a.id.get_num_chunks())]
    return all(a.id.read_direct_chunk(offset) == b.id.read_direct_chunk(offset) for offset in offsets)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--patients", type=int, default=100)
    parser.add_argument("--limit", type=int, help="largest file in bytes, a real failure of every longer write")
    options = parser.parse_args()
    if options.limit:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (options.limit, options.limit))

    def slowly(start: int, stop: int) -> dict[str, np.ndarray]:
        print(f"computing {start}", flush=True)
        time.sleep(options.delay)
        return compute(start, stop)

    def report(progress: Progress) -> None:
        print(f"done {progress.done}", flush=True)

    try:
        outcome = execute(work(options.patients, compute=slowly), options.out, resume=options.resume, progress=report)
    except (InputError, RunError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps({**asdict(outcome), "path": str(outcome.path)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
