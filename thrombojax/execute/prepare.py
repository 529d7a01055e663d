"""What must hold before a run computes: the output may be written, the disk can hold it, old shards still fit."""

import difflib
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem, RunError
from ..outputs import writable
from ..store.consolidate import VIRTUAL_ABOVE
from ..store.hdf5 import need_zstd
from ..store.layout import Layout, pack, to_json
from ..store.results import identity
from ..store.shards import (
    Header,
    Manifest,
    Shard,
    human,
    missing_or_changed,
    parts_folder,
    read_manifest,
    remove_parts,
    start_manifest,
)


@dataclass(frozen=True)
class Wanted:
    """What the caller asks for: which run, where to, and what may happen to what is there already."""

    out: Path
    layout: Layout
    kernel_hash: str
    study: str
    provenance: Mapping[str, Any]
    resume: bool
    overwrite: bool
    keep_shards: bool
    allow_mixed: bool


@dataclass(frozen=True)
class Ready:
    """A parts folder with a manifest. kept: shards that need no computing; finished: the results file is there."""

    header: Header
    kept: tuple[Shard, ...] = ()
    finished: bool = False


def check_output(wanted: Wanted) -> None:
    """Refuses an output that cannot be written or may not be replaced. Raises InputError; writes nothing."""
    out, parts = wanted.out, parts_folder(wanted.out)
    if wanted.resume and wanted.overwrite:
        raise InputError(Problem("", "--resume and --overwrite exclude each other"))
    writable(out)
    if parts.exists() and not parts.is_dir():
        raise InputError(Problem(str(parts), "is in the way: the folder of that name holds the shards of a run"))
    if out.exists() and not (wanted.resume or wanted.overwrite):
        raise InputError(Problem(str(out), "exists already; --overwrite replaces it, --resume keeps a finished run"))


def check_finished(wanted: Wanted) -> bool:
    """Whether --resume finds the results file complete, with no manifest. Raises InputError for another study's."""
    if not (wanted.resume and wanted.out.exists()) or read_manifest(parts_folder(wanted.out)) is not None:
        return False
    _same_results(wanted)
    return True


def prepare(wanted: Wanted) -> Ready:
    """Takes over or starts the parts folder, which the caller has locked.

    Raises InputError for leftovers without --resume or --overwrite and for shards of another study or kernel; RunError
    for a disk that clearly cannot hold the results.
    """
    out, parts = wanted.out, parts_folder(wanted.out)
    if any(variable.compression == "zstd" for variable in wanted.layout.variables):
        need_zstd()
    manifest = read_manifest(parts)
    if not wanted.resume:
        if manifest and manifest.shards and not wanted.overwrite:
            raise InputError(
                Problem(
                    str(parts),
                    f"holds {len(manifest.shards)} finished shards of an earlier run; "
                    "--resume goes on with it, --overwrite starts afresh",
                )
            )
        return _fresh(wanted)
    if manifest is None:
        return _fresh(wanted)
    if out.exists():
        if identity(out).run == manifest.header.run:
            _same_results(wanted)
            return Ready(manifest.header, manifest.shards, finished=True)
        if not manifest.header.replaces:
            raise InputError(Problem(str(out), "exists already and is of another run; move it away or use --overwrite"))
    return _resumed(wanted, manifest)


def _fresh(wanted: Wanted) -> Ready:
    out, parts = wanted.out, parts_folder(wanted.out)
    _check_disk(wanted, ())
    header = Header(
        run=uuid.uuid4().hex,
        patients=wanted.layout.n,
        kernel_hash=wanted.kernel_hash,
        fingerprint=wanted.layout.fingerprint(),
        study=wanted.study,
        layout=to_json(wanted.layout),
        provenance=pack(wanted.provenance),
        replaces=out.exists(),
    )
    # The shards of a virtual master stay until the new file takes its place.
    clean(parts, _shards_of(out))
    start_manifest(parts, header)
    return Ready(header)


def _resumed(wanted: Wanted, manifest: Manifest) -> Ready:
    parts = parts_folder(wanted.out)
    header = manifest.header
    _same_study(str(parts), wanted, header.fingerprint, header.study)
    kept = tuple(shard for shard in manifest.shards if missing_or_changed(parts, shard) is None)
    others = sorted({shard.kernel_hash for shard in kept} - {wanted.kernel_hash})
    if others and not wanted.allow_mixed:
        raise _other_kernel(str(parts), wanted, " ".join(others), "--allow-mixed goes on all the same")
    _check_disk(wanted, kept)
    # Written anew: it drops a torn line, after which nothing could be appended, and shards that are gone.
    header = replace(header, layout=to_json(wanted.layout), provenance=pack(wanted.provenance))
    start_manifest(parts, header, kept)
    clean(parts, {shard.file for shard in kept} | _shards_of(wanted.out))
    return Ready(header, kept)


def clean(parts: Path, keep: set[str]) -> None:
    """Removes half-written files and shards that nothing names any more; manifest and lock stay."""
    for path in (*parts.glob("shard-*.h5"), *parts.glob("*.tmp")):
        if path.name not in keep:
            path.unlink(missing_ok=True)


def discard_if_empty(parts: Path, out: Path) -> None:
    """Removes the parts folder of a run that ended before its first shard."""
    manifest = read_manifest(parts)
    if parts.is_dir() and not (manifest and manifest.shards) and not _shards_of(out):
        remove_parts(parts)


def _shards_of(out: Path) -> set[str]:
    """Names of the shards that an existing virtual master reads."""
    try:
        return {shard.file for shard in identity(out).shards}
    except InputError:
        return set()  # no such file, or one that is to be overwritten whatever it is


def _same_results(wanted: Wanted) -> None:
    found = identity(wanted.out)
    _same_study(str(wanted.out), wanted, found.fingerprint, str(found.provenance.get("identity", "")))
    kernels = str(found.provenance.get("kernel_hash", ""))
    if kernels != wanted.kernel_hash and not wanted.allow_mixed:
        raise _other_kernel(str(wanted.out), wanted, kernels, "--allow-mixed keeps it all the same")


def _same_study(where: str, wanted: Wanted, fingerprint: str, study: str) -> None:
    if study != wanted.study:
        changed = difflib.unified_diff(study.splitlines(), wanted.study.splitlines(), n=0, lineterm="")
        lines = [line for line in changed if line[:1] in "+-" and line[:3] not in ("+++", "---")]
        was = next((line[1:].strip() for line in lines if line[0] == "-"), "nothing")
        now = next((line[1:].strip() for line in lines if line[0] == "+"), "nothing")
        what = f"is of another study (was: {was[:120]}; now: {now[:120]})"
    elif fingerprint != wanted.layout.fingerprint():
        what = "is of another study: its patients, arms, axes, endpoints or shard size differ"
    else:
        return
    raise InputError(Problem(where, f"{what}; --overwrite starts afresh, or name another output"))


def _other_kernel(where: str, wanted: Wanted, found: str, way_out: str) -> InputError:
    now = wanted.kernel_hash
    message = f"was computed by kernel {found[:12]}, this one is {now[:12]}; --overwrite starts afresh, {way_out}"
    return InputError(Problem(where, message))


def _check_disk(wanted: Wanted, kept: tuple[Shard, ...]) -> None:
    """Refuses only what clearly cannot fit: compressed variables are counted at a tenth."""
    layout = wanted.layout
    patients = layout.n - sum(shard.stop - shard.start for shard in kept)
    least = _least_bytes(layout, patients)
    whole = sum(shard.bytes for shard in kept) + least
    if not wanted.keep_shards and whole <= VIRTUAL_ABOVE:
        least += whole  # the final file, while the shards are still there
    free = shutil.disk_usage(wanted.out.parent).free
    if least > free:
        raise RunError(f"{wanted.out}: needs at least {human(least)}, and {human(free)} are free on that disk")


def _least_bytes(layout: Layout, patients: int) -> int:
    if patients == 0:
        return 0
    return layout.bytes("none", patients) + layout.bytes("gzip", patients) // 10 + layout.bytes("zstd", patients) // 10
