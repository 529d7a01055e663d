"""Reading a results file: what it is, whether its shards are still its own, and xarray's view of it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import InputError, Problem, RunError
from .hdf5 import FORMAT, need_zstd
from .shards import MANIFEST, Shard

SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Identity:
    """Which run a results file is of. shards and folder: of a virtual master, else empty and None."""

    run: str
    fingerprint: str
    virtual: bool
    provenance: Mapping[str, Any]
    folder: Path | None = None
    shards: tuple[Shard, ...] = field(default=())


def open(path: str | Path, *, group: str | None = None) -> Any:
    """The results as an `xarray.Dataset`, read lazily: named dimensions, coordinates, units. Close it, or use `with`.

    group: 'parameters' or another group instead of the root. Raises InputError for a file that is none of ours,
    damaged or parted from its shards; RunError where xarray, h5netcdf or a filter is not installed.
    """
    try:
        import h5netcdf  # noqa: F401
        import xarray
    except ImportError as error:
        raise RunError(f"opening results needs {error.name}: pip install 'thrombojax[xarray]'") from None
    path = Path(path)
    with reading(path) as file, damage(path):
        if group is not None and not isinstance(file.get(group), h5py.Group):
            groups = [name for name, item in file.items() if isinstance(item, h5py.Group)]
            raise InputError(Problem(str(path), f"has no group {group!r}; it has: {', '.join(groups)}"))
    with damage(path):
        return xarray.open_dataset(path, engine="h5netcdf", group=group, decode_timedelta=False)


def provenance(path: str | Path) -> dict[str, Any]:
    """The attributes of the file's `provenance` group as Python values."""
    with reading(Path(path)) as file:
        return _attributes(file["provenance"]) if "provenance" in file else {}


def identity(path: Path) -> Identity:
    """Which run a results file is of; its shards are not looked at. Raises InputError as `open` does."""
    with _readable(path) as file, damage(path):
        return _identity(path, file)


@contextmanager
def damage(path: Path) -> Iterator[None]:
    """Turns what h5py raises on damaged metadata, which is nearly anything, into an InputError."""
    try:
        yield
    except (InputError, RunError):
        raise
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise InputError(Problem(str(path), f"is damaged: {error}")) from None


@contextmanager
def reading(path: Path) -> Iterator[h5py.File]:
    """A results file opened for reading, known to be ours, with its shards in place and its filters at hand.

    Raises InputError, or RunError for a filter that is not installed.
    """
    with _readable(path) as file:
        with damage(path):
            found = _identity(path, file)
            problems = [p for shard in found.shards if (p := _parted(found, shard))]
            if problems:
                raise InputError(*problems)
            if file.attrs.get("thrombojax_filters") == "zstd":
                need_zstd()
        yield file


def datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Every dataset of the file by path in the order it was written, scales included."""
    found: dict[str, h5py.Dataset] = {}
    for name, item in file.items():
        if isinstance(item, h5py.Dataset):
            found[name] = item
        else:
            found |= {f"{name}/{inner}": dataset for inner, dataset in item.items()}
    return found


def variables(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Every dataset that is not a dimension scale, by path."""
    return {name: dataset for name, dataset in datasets(file).items() if not dataset.is_scale}


def dims(dataset: h5py.Dataset) -> tuple[str, ...]:
    """Names of a variable's dimensions, from the scales attached to them ('' where there is none)."""
    return tuple(dim[0].name.rsplit("/", 1)[-1] if len(dim) else "" for dim in dataset.dims)


def coordinate(scale: h5py.Dataset) -> np.ndarray:
    """A scale's values, text as str."""
    return scale.asstr()[...] if scale.dtype.kind == "O" else scale[...]


@contextmanager
def _readable(path: Path) -> Iterator[h5py.File]:
    try:
        file = _open_hdf5(path)
    except OSError as error:
        raise InputError(Problem(str(path), f"cannot be read: {error.strerror or error}")) from None
    with file:
        with damage(path):
            found = file.attrs.get("thrombojax_format")
        if found is None:
            raise InputError(Problem(str(path), "is an HDF5 file, but no thrombojax results file"))
        if found != FORMAT:
            raise InputError(Problem(str(path), f"has results format {found}; this thrombojax reads format {FORMAT}"))
        yield file


def _open_hdf5(path: Path) -> h5py.File:
    where = str(path)
    if path.is_dir():
        hint = " of an unfinished run; go on with `thrombojax run ... --resume`" if (path / MANIFEST).exists() else ""
        raise InputError(Problem(where, f"is a folder{hint}"))
    if not path.exists():
        parts = path.with_name(path.name + ".parts")
        hint = f"; {parts.name} holds shards of an unfinished run: go on with --resume" if parts.is_dir() else ""
        raise InputError(Problem(where, f"no such file{hint}"))
    with path.open("rb") as raw:
        if raw.read(len(SIGNATURE)) != SIGNATURE:
            raise InputError(Problem(where, "is not an HDF5 file"))
    try:
        return h5py.File(path, "r")
    except OSError as error:
        kind = "is truncated" if "truncated" in str(error) else "is damaged or locked"
        raise InputError(Problem(where, f"{kind} and cannot be opened ({error})")) from None


def _identity(path: Path, file: h5py.File) -> Identity:
    attrs = _attributes(file)
    noted = _attributes(file["provenance"]) if "provenance" in file else {}
    run, fingerprint = str(attrs.get("thrombojax_run", "")), str(attrs.get("thrombojax_fingerprint", ""))
    if not attrs.get("thrombojax_virtual"):
        return Identity(run, fingerprint, False, noted)
    shards = tuple(Shard(**line) for line in json.loads(noted["shards"]))
    return Identity(run, fingerprint, True, noted, path.parent / noted["shards_folder"], shards)


def _parted(found: Identity, shard: Shard) -> Problem | None:
    """What is wrong with one shard of a virtual master: HDF5 itself would read NaN in its place and say nothing."""
    assert found.folder is not None
    path = found.folder / shard.file
    if not path.is_file():
        return Problem(str(path), "this shard is missing; a results file and its parts folder move together")
    if path.stat().st_size != shard.bytes:
        return Problem(str(path), f"has {path.stat().st_size} bytes instead of {shard.bytes}: not the shard it was")
    try:
        with h5py.File(path, "r") as file:
            same = file.attrs.get("thrombojax_run") == found.run and file.attrs.get("thrombojax_shard") == shard.index
    except OSError:
        return Problem(str(path), "cannot be opened: not the shard it was")
    return None if same else Problem(str(path), "is a shard of another run")


def _attributes(item: Any) -> dict[str, Any]:
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in item.attrs.items()}
