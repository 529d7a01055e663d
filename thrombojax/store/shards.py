"""Shards: one small HDF5 file for patients [start, stop) of all cells, and the manifest that says which are whole.

A shard appears under its name only when it is complete and synced, and in the manifest only after that. So whatever
kills the process, what the manifest names is there, and a checksum tells whether it still is what was written.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import InputError, Problem, RunError
from .hdf5 import fill_value, filters, lay_out, new_file, rename, sync_folder
from .layout import PATIENT, Layout, Variable

MANIFEST = "manifest.jsonl"
LOCK = "lock"
MANIFEST_FORMAT = 1


@dataclass(frozen=True)
class Header:
    """First line of the manifest: what run this is. study: the text by which two runs are the same study."""

    run: str
    patients: int
    kernel_hash: str
    fingerprint: str
    study: str
    layout: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    replaces: bool = False  # begun with --overwrite while a results file existed
    format: int = MANIFEST_FORMAT


@dataclass(frozen=True)
class Shard:
    """One later line: a finished shard. failed: trajectories with a status other than 0; seconds: to compute it."""

    index: int
    start: int
    stop: int
    file: str
    sha256: str
    bytes: int
    kernel_hash: str
    failed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Manifest:
    header: Header
    shards: tuple[Shard, ...]  # by index


def parts_folder(out: Path) -> Path:
    """Where the shards of a results file lie while it is being made."""
    return out.with_name(out.name + ".parts")


def write_shard(
    folder: Path, layout: Layout, run: str, index: int, arrays: Mapping[str, np.ndarray], kernel_hash: str
) -> Shard:
    """Writes shard `index` and returns its record, not yet in the manifest. Raises OSError when the disk is full.

    arrays: by variable name, of the layout's shapes with this shard's patients.
    """
    start, stop = layout.bounds(index)
    path = shard_path(folder, run, index)
    temporary = path.with_suffix(".tmp")

    def make(parent: h5py.Group, variable: Variable, shape: tuple[int, ...]) -> h5py.Dataset:
        check()
        chunks = layout.chunks(variable)
        if chunks is None:
            return parent.create_dataset(variable.name, data=arrays[variable.name], dtype=variable.dtype)
        # Resizable in patient, because the last shard may hold fewer patients than its whole, padded chunk.
        limit = (*shape[:-1], None) if variable.by_patient else shape
        dataset = parent.create_dataset(
            variable.name,
            shape,
            variable.dtype,
            chunks=chunks,
            maxshape=limit,
            fillvalue=fill_value(variable),
            **filters(variable),
        )
        dataset[...] = arrays[variable.name]
        return dataset

    with new_file(temporary) as (file, check):
        lay_out(file, layout, start, stop, make)
        write_identity(file, run, index)
    digest, size = sha256(temporary), temporary.stat().st_size
    rename(temporary, path)
    return Shard(index, start, stop, path.name, digest, size, kernel_hash, count_failed(layout, arrays))


def count_failed(layout: Layout, arrays: Mapping[str, np.ndarray]) -> int:
    """Trajectories with a status other than 0."""
    return sum(int(np.count_nonzero(arrays[v.name])) for v in layout.variables if v.role == "status")


def shard_path(folder: Path, run: str, index: int) -> Path:
    """A shard's file, named after its run: two runs share a folder while one replaces the other."""
    return folder / f"shard-{run[:8]}-{index:06d}.h5"


def write_identity(file: h5py.File, run: str, index: int) -> None:
    file.attrs["thrombojax_run"] = run
    file.attrs["thrombojax_shard"] = index


def read_patients(path: Path) -> np.ndarray:
    """The patients' own coordinate values of one shard: [stop - start]."""
    with h5py.File(path) as file:
        scale = file[PATIENT]
        return scale.asstr()[...] if scale.dtype.kind == "O" else scale[...]


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def missing_or_changed(folder: Path, shard: Shard) -> str | None:
    """Why a shard cannot be used, or None if its bytes are those that were written."""
    path = folder / shard.file
    if not path.is_file():
        return "is missing"
    if path.stat().st_size != shard.bytes:
        return f"has {path.stat().st_size} bytes instead of {shard.bytes}"
    return None if sha256(path) == shard.sha256 else "has another checksum"


def start_manifest(folder: Path, header: Header, shards: Iterable[Shard] = ()) -> None:
    """Writes a manifest anew, replacing any old one at once."""
    temporary = folder / (MANIFEST + ".tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        for line in (asdict(header), *map(asdict, shards)):
            file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())
    rename(temporary, folder / MANIFEST)


def append(folder: Path, shard: Shard) -> None:
    """Adds a finished shard to the manifest."""
    with open(folder / MANIFEST, "a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(shard)) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest, or None where there is none worth the name. A line that does not parse (torn) counts as absent.

    Raises InputError for a manifest of another format.
    """
    path = folder / MANIFEST
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    parsed = [_parse(line) for line in lines]
    if not parsed or not parsed[0]:
        return None
    found = parsed[0].get("format")
    if found != MANIFEST_FORMAT:
        raise InputError(Problem(str(path), f"manifest of format {found}; this thrombojax reads {MANIFEST_FORMAT}"))
    shards = {line["index"]: Shard(**line) for line in parsed[1:] if line}
    return Manifest(Header(**parsed[0]), tuple(shards[index] for index in sorted(shards)))


def _parse(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def remove_parts(folder: Path, keep: Iterable[str] = ()) -> None:
    """Removes what this module wrote, except the shards to keep, and the folder if nothing else is in it."""
    keep = set(keep)
    for pattern in ("shard-*.h5", "*.tmp", MANIFEST, LOCK):
        for path in folder.glob(pattern):
            if path.name not in keep:
                path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()
        sync_folder(folder.parent)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the parts folder, made if need be, for one run. Raises InputError if another has it or nothing can."""
    try:
        folder.mkdir(exist_ok=True)
        lock = open(folder / LOCK, "w")  # noqa: SIM115  (closed below)
    except OSError as error:
        raise InputError(Problem(str(folder), f"cannot be written: {error.strerror}")) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(Problem(str(folder), "another run is writing here; wait for it or stop it")) from None
        except OSError:
            pass  # a file system without locks: nothing to hold
        yield


def disk_error(error: OSError, path: Path, kept: str) -> RunError:
    """The message for a write that failed: which file, why, how much room is left, what is kept."""
    why = error.strerror or str(error)
    return RunError(f"{path}: cannot be written: {why} ({free_space(path)}); {kept}")


def free_space(path: Path) -> str:
    stats = os.statvfs(path.parent)
    return f"{human(stats.f_bavail * stats.f_frsize)} free on that disk"


def human(size: float) -> str:
    """A size as a person reads it: 1.5 GB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit != "bytes" else f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
