"""From shards to the one results file: chunks copied as they are, or a master of virtual datasets over kept shards."""

import json
import math
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import InputError, Problem, RunError
from ..outputs import free
from .hdf5 import fill_value, filters, lay_out, new_file, rename, write_attrs
from .layout import Layout, Variable, from_json, unpack
from .shards import (
    MANIFEST,
    Manifest,
    Shard,
    disk_error,
    missing_or_changed,
    parts_folder,
    read_manifest,
    read_patients,
    remove_parts,
)

VIRTUAL_ABOVE = 20e9  # bytes of shards from which copying them costs more than it gives


@dataclass(frozen=True)
class Consolidated:
    """The file that was written. bytes: with its shards, where it is a virtual master."""

    path: Path
    virtual: bool
    bytes: int


def consolidate(
    parts: Path,
    out: Path,
    *,
    keep_shards: bool = False,
    overwrite: bool = False,
    check: bool = True,
    virtual_above: float = VIRTUAL_ABOVE,
    layout: Layout | None = None,
) -> Consolidated:
    """Makes OUT from a complete parts folder; removes the parts, if they are OUT's own, unless its master reads them.

    check: compare every shard with its checksum first. layout: the run's own, where it is at hand (same numbers,
    perhaps newer descriptions). Raises InputError for an incomplete or changed folder or an existing OUT, RunError for
    a full disk.
    """
    manifest = read_manifest(parts)
    if manifest is None:
        raise InputError(Problem(str(parts), "holds no manifest of shards"))
    free(out, overwrite)
    if check:
        _refuse_changed(parts, manifest)
    done, total = sum(shard.stop - shard.start for shard in manifest.shards), manifest.header.patients
    if done != total:
        raise InputError(Problem(str(parts), f"holds {done} of {total} patients; finish the run with --resume"))
    layout = layout or _stored_layout(parts, manifest)
    size = sum(shard.bytes for shard in manifest.shards)
    virtual = keep_shards or size > virtual_above
    if not virtual and shutil.disk_usage(out.parent).free < size:
        raise RunError(
            f"{out}: no room to put the finished shards together: {size} bytes needed; all shards are kept: "
            "free some space and go on with --resume, or keep them as they are with --keep-shards"
        )
    temporary = out.with_name(out.name + ".tmp")
    try:
        _in_a_thread(lambda cancelled: _write(temporary, out, parts, layout, manifest, virtual, cancelled))
        rename(temporary, out)
    except OSError as error:
        raise disk_error(error, out, "all shards are kept: free some space and go on with --resume") from None
    if parts == parts_folder(out):  # another file's shards are left alone
        remove_parts(parts, keep=[MANIFEST, *(shard.file for shard in manifest.shards)] if virtual else ())
    return Consolidated(out, virtual, out.stat().st_size + (size if virtual else 0))


def _in_a_thread(write: Callable[[threading.Event], None]) -> None:
    """Runs it where no signal handler runs: an exception raised between two writes inside HDF5 would crash it.

    Ctrl-C sets the event and waits for the write in hand.
    """
    cancelled = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="thrombojax-writer") as pool:
        try:
            pool.submit(write, cancelled).result()
        except BaseException:
            cancelled.set()
            raise


def _refuse_changed(parts: Path, manifest: Manifest) -> None:
    why = [Problem(str(parts / s.file), w) for s in manifest.shards if (w := missing_or_changed(parts, s))]
    if why:
        raise InputError(*why)


def _stored_layout(parts: Path, manifest: Manifest) -> Layout:
    patients = np.concatenate([read_patients(parts / shard.file) for shard in manifest.shards])
    return from_json(manifest.header.layout, patients)


def _write(
    temporary: Path,
    out: Path,
    parts: Path,
    layout: Layout,
    manifest: Manifest,
    virtual: bool,
    cancelled: threading.Event,
) -> None:
    header, shards = manifest.header, manifest.shards
    folder = Path(os.path.relpath(parts, out.parent))

    def make(parent: h5py.Group, variable: Variable, shape: tuple[int, ...]) -> h5py.Dataset:
        check()
        if virtual and variable.by_patient:
            return _virtual(parent, layout, variable, shards, folder)
        chunks = layout.chunks(variable)
        packed = {} if chunks is None else {"chunks": chunks, "fillvalue": fill_value(variable), **filters(variable)}
        return parent.create_dataset(variable.name, shape, variable.dtype, **packed)

    with new_file(temporary) as (file, check):
        lay_out(file, layout, 0, layout.n, make)
        file.attrs["thrombojax_run"] = header.run
        file.attrs["thrombojax_fingerprint"] = header.fingerprint
        file.attrs["thrombojax_virtual"] = int(virtual)
        provenance = file.create_group("provenance")
        write_attrs(provenance, _provenance(manifest))
        if virtual:
            provenance.attrs["shards_folder"] = str(folder)
            provenance.attrs["shards"] = json.dumps([asdict(shard) for shard in shards])
        for shard in shards:
            with h5py.File(parts / shard.file) as source:
                for variable in layout.variables:
                    if (variable.by_patient and virtual) or (not variable.by_patient and shard.index > 0):
                        continue
                    check()
                    if cancelled.is_set():
                        raise RunError(f"{out}: stopped while the shards were put together; they are kept")
                    copy_chunks(source[variable.path], file[variable.path], shard.start)


def _virtual(
    parent: h5py.Group, layout: Layout, variable: Variable, shards: tuple[Shard, ...], folder: Path
) -> h5py.Dataset:
    target = h5py.VirtualLayout(layout.shape(variable), variable.dtype)
    for shard in shards:
        shape = layout.shape(variable, shard.stop - shard.start)
        source = h5py.VirtualSource(
            str(folder / shard.file), variable.path, shape, variable.dtype, maxshape=(*shape[:-1], None)
        )
        target[..., shard.start : shard.stop] = source
    return parent.create_virtual_dataset(variable.name, target, fillvalue=fill_value(variable))


def copy_chunks(source: h5py.Dataset, target: h5py.Dataset, start: int) -> None:
    """Copies every chunk of a shard's dataset to where its patients stand in the target, without unpacking it."""
    if source.chunks is None:
        target[()] = source[()]
        return
    if source.chunks != target.chunks or source.dtype != target.dtype:
        raise RunError(f"{source.file.filename}: {source.name} is not cut into chunks like the results file")
    shift = (0,) * (source.ndim - 1) + (start,)  # a variable without patients comes from the first shard, start 0
    counts = [math.ceil(size / chunk) for size, chunk in zip(source.shape, source.chunks, strict=True)]
    for index in np.ndindex(*counts):
        offset = tuple(i * chunk for i, chunk in zip(index, source.chunks, strict=True))
        mask, data = source.id.read_direct_chunk(offset)
        target.id.write_direct_chunk(tuple(o + s for o, s in zip(offset, shift, strict=True)), data, mask)


def _provenance(manifest: Manifest) -> dict[str, Any]:
    """What the run said of itself, plus what the shards know: kernels and wall time, over all its resumptions."""
    header, shards = manifest.header, manifest.shards
    kernels = sorted({shard.kernel_hash for shard in shards})
    return {
        "study": header.study,
        **unpack(header.provenance),
        "identity": header.study,
        "kernel_hash": " ".join(kernels),
        "mixed_kernels": len(kernels) > 1,
        "failed_trajectories": sum(shard.failed for shard in shards),
        "wall_seconds": sum(shard.seconds for shard in shards),
    }


def annotate(path: Path, attrs: Mapping[str, Any]) -> None:
    """Adds attributes to the `provenance` group of a finished file, such as an audit's results.

    Raises InputError where there is no such file, RunError if it is open elsewhere or the disk is full.
    """
    if not path.is_file():
        raise InputError(Problem(str(path), "no such file"))
    # A write that fails inside HDF5 cannot be undone, so there must be room before it starts.
    if shutil.disk_usage(path.parent).free < 2**22:
        raise RunError(f"{path}: no room on the disk to add {', '.join(attrs)}; the file is unchanged")
    try:
        with h5py.File(path, "r+") as file:
            write_attrs(file.require_group("provenance"), attrs)
            file.flush()
    except OSError as error:
        raise RunError(f"{path}: cannot add {', '.join(attrs)}: {error}") from None
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
