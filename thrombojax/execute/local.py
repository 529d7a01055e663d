"""The shard loop on this machine: compute a shard while the one before is written, until all are there."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..store.consolidate import consolidate
from ..store.layout import Layout
from ..store.results import identity
from ..store.shards import (
    MANIFEST,
    Shard,
    append,
    count_failed,
    disk_error,
    locked,
    parts_folder,
    remove_parts,
    shard_path,
    write_shard,
)
from .prepare import Ready, Wanted, check_finished, check_output, discard_if_empty, prepare
from .signals import StopRequest, stop_request

RATE_SHARDS = 8  # the rate is that of the last few shards: the first one pays for compilation


@dataclass(frozen=True)
class Work:
    """What is to be computed, whatever computes it.

    n: patients, the size of the layout's patient axis. compute(start, stop): new arrays by variable name, with the
    patient dimension (last) of size stop - start; they are written while the next call runs, so it must not reuse them.
    study: the text by which two runs are the same study; provenance: attributes of the file's `provenance` group.
    """

    n: int
    layout: Layout
    kernel_hash: str
    compute: Callable[[int, int], Mapping[str, np.ndarray]]
    study: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """done, total: patients; failed: trajectories with a status other than 0; rate: patients/s; eta: seconds."""

    done: int
    total: int
    failed: int
    rate: float
    eta: float | None


@dataclass(frozen=True)
class Outcome:
    """How a run ended. interrupted: not all patients are done, and --resume goes on; reason: 'SIGINT', 'stop_after' ...

    complete: nothing had to be computed, the file was there; bytes: of the file and the shards it reads; seconds: of
    this call.
    """

    path: Path
    done: int
    total: int
    failed: int
    seconds: float
    interrupted: bool = False
    reason: str | None = None
    complete: bool = False
    virtual: bool = False
    bytes: int = 0


def execute(
    work: Work,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    keep_shards: bool = False,
    allow_mixed: bool = False,
    stop_after: float | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Computes and writes every shard, then makes the results file OUT, which appears only when it is whole.

    stop_after: seconds after which no new shard is begun (one is always computed). Raises InputError before computing
    for an output that may not be written and for shards of another study or kernel; RunError for a disk that is full,
    with the finished shards kept; KeyboardInterrupt at the second Ctrl-C.
    """
    if work.n != work.layout.n:
        raise ValueError(f"work of {work.n} patients with a layout of {work.layout.n}")
    began = time.monotonic()
    out = Path(out)
    wanted = Wanted(
        out, work.layout, work.kernel_hash, work.study, work.provenance, resume, overwrite, keep_shards, allow_mixed
    )
    check_output(wanted)
    if check_finished(wanted):
        return _complete(work, out, began)
    parts = parts_folder(out)
    with locked(parts):
        try:
            try:
                ready = prepare(wanted)
            except OSError as error:
                raise disk_error(error, parts / MANIFEST, "nothing was computed") from None
            if ready.finished:
                _remove_leftovers(parts, out)
                return _complete(work, out, began)
            with stop_request() as stop:
                done, failed = _loop(work, parts, ready, stop, stop_after, progress)
                if done < work.n:
                    reason = stop.reason or "stop_after"
                    return Outcome(out, done, work.n, failed, time.monotonic() - began, True, reason)
                made = consolidate(parts, out, keep_shards=keep_shards, overwrite=True, check=False, layout=work.layout)
        finally:
            discard_if_empty(parts, out)
    seconds = time.monotonic() - began
    return Outcome(out, done, work.n, failed, seconds, virtual=made.virtual, bytes=made.bytes)


def _loop(
    work: Work,
    parts: Path,
    ready: Ready,
    stop: StopRequest,
    stop_after: float | None,
    progress: Callable[[Progress], None] | None,
) -> tuple[int, int]:
    """Computes what is missing: (patients done, trajectories failed), all of them written when it returns."""
    layout, run = work.layout, ready.header.run
    kept = {shard.index for shard in ready.kept}
    done = sum(shard.stop - shard.start for shard in ready.kept)
    failed = sum(shard.failed for shard in ready.kept)
    began = last = time.monotonic()
    marks = deque([(began, done)], maxlen=RATE_SHARDS)
    pending: Future[Shard] | None = None
    path = parts  # of the shard being written
    written = len(kept)

    def save(index: int, arrays: Mapping[str, np.ndarray], seconds: float) -> Shard:
        shard = replace(write_shard(parts, layout, run, index, arrays, work.kernel_hash), seconds=seconds)
        append(parts, shard)
        return shard

    # One writer and at most one shard waiting for it: two shards in memory, whatever the number of patients.
    with ThreadPoolExecutor(1, thread_name_prefix="thrombojax-writer") as pool:
        for index in range(layout.shard_count):
            if index in kept:
                continue
            first, end = layout.bounds(index)
            arrays = _computed(work, first, end)
            written += _settle(pending, path, written)
            now = time.monotonic()
            pending, path, last = pool.submit(save, index, arrays, now - last), shard_path(parts, run, index), now
            done += end - first
            failed += count_failed(layout, arrays)
            marks.append((now, done))
            if progress is not None:
                progress(_progress(marks, work.n, failed))
            if stop.reason or (stop_after is not None and now - began >= stop_after):
                break
        _settle(pending, path, written)
    return done, failed


def _computed(work: Work, start: int, stop: int) -> dict[str, np.ndarray]:
    """One shard's arrays in the layout's types. Raises ValueError where `compute` broke its word."""
    given = work.compute(start, stop)
    names = {variable.name for variable in work.layout.variables}
    if given.keys() != names:
        raise ValueError(f"computed {sorted(given)}, the layout has {sorted(names)}")
    arrays = {}
    for variable in work.layout.variables:
        array = np.asarray(given[variable.name])
        shape = work.layout.shape(variable, stop - start)
        if array.shape != shape:
            raise ValueError(f"computed {variable.name} of shape {array.shape}, the layout has {shape}")
        arrays[variable.name] = array.astype(variable.dtype, casting="same_kind", copy=False)
    return arrays


def _settle(pending: "Future[Shard] | None", path: Path, written: int) -> int:
    """Waits for the shard being written: 1, or 0 if there was none. Raises RunError if it could not be written."""
    if pending is None:
        return 0
    try:
        pending.result()
    except OSError as error:
        kept = f"finished shards are kept ({written}): free some space and go on with --resume"
        raise disk_error(error, path, kept if written else "no shard was finished") from None
    return 1


def _progress(marks: "deque[tuple[float, int]]", total: int, failed: int) -> Progress:
    # From the second mark on, the first shard with its compilation no longer counts.
    (since, before), (now, done) = marks[min(1, len(marks) - 2)], marks[-1]
    rate = (done - before) / max(now - since, 1e-9)
    return Progress(done, total, failed, rate, (total - done) / rate if rate > 0 else None)


def _complete(work: Work, out: Path, began: float) -> Outcome:
    """The outcome where --resume finds the results file whole."""
    found = identity(out)
    size = out.stat().st_size + sum(shard.bytes for shard in found.shards)
    failed = int(found.provenance.get("failed_trajectories", 0))
    seconds = time.monotonic() - began
    return Outcome(out, work.n, work.n, failed, seconds, complete=True, virtual=found.virtual, bytes=size)


def _remove_leftovers(parts: Path, out: Path) -> None:
    """What a run killed between naming its results file and removing its shards left behind."""
    shards = identity(out).shards
    remove_parts(parts, keep={MANIFEST, *(shard.file for shard in shards)} if shards else ())
