"""`verify`: reads a whole results file and says whether every number in it is what was written."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from ..errors import InputError
from .results import damage, datasets, dims, identity, reading, variables
from .shards import missing_or_changed

BLOCK = 2**24  # numbers read at once


@dataclass(frozen=True)
class Report:
    """ok: nothing is wrong; lines: one finding each, the wrong ones begin with 'FAILED'."""

    ok: bool
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.lines)


def verify(path: str | Path) -> Report:
    """Reads every checksummed chunk, and checks scales, status codes and, for a virtual master, its shards' SHA-256.

    Raises InputError where there is no file at all; damage is reported, not raised.
    """
    path = Path(path)
    try:
        with damage(path):
            lines = [*_shards(path), *_contents(path)]
    except InputError as error:
        if not path.is_file():
            raise
        lines = [f"FAILED {problem}" for problem in error.problems]
    return Report(not any(line.startswith("FAILED") for line in lines), tuple(lines))


def _shards(path: Path) -> Iterator[str]:
    found = identity(path)
    if found.folder is None:
        return
    changed = [(shard, why) for shard in found.shards if (why := missing_or_changed(found.folder, shard))]
    yield from (f"FAILED shard {found.folder / shard.file} {why}" for shard, why in changed)
    yield f"shards: {len(found.shards) - len(changed)} of {len(found.shards)} have their checksum"


def _contents(path: Path) -> Iterator[str]:
    with reading(path) as file:
        named = variables(file)
        for name, dataset in datasets(file).items():
            if name not in named and (why := _read(dataset)[0]):
                yield f"FAILED axis {name}: {why}"
        for name, dataset in named.items():
            yield from _variable(name, dataset)


def _variable(name: str, dataset: h5py.Dataset) -> Iterator[str]:
    bare = [index for index, dim in enumerate(dims(dataset)) if not dim]
    if bare:
        yield f"FAILED {name}: no scale on dimension {', '.join(map(str, bare))}"
    sizes = [len(dim[0]) if len(dim) else size for dim, size in zip(dataset.dims, dataset.shape, strict=True)]
    if tuple(sizes) != dataset.shape:
        yield f"FAILED {name}: shape {dataset.shape} does not match its axes {tuple(sizes)}"
    coded = dataset.attrs.get("role") == "status"
    why, counts = _read(dataset, count=coded)
    if why:
        yield f"FAILED {name}: {why}"
        return
    shape = ", ".join(f"{dim} {size}" for dim, size in zip(dims(dataset), dataset.shape, strict=True))
    yield f"{name} ({shape}) {dataset.dtype}: read"
    if coded:
        yield f"{name}: " + ", ".join(f"{n} {meaning}" for meaning, n in _meanings(dataset, counts).items())


def _meanings(dataset: h5py.Dataset, counts: Counter[int]) -> dict[str, int]:
    codes = np.atleast_1d(dataset.attrs.get("flag_values", []))
    words = str(dataset.attrs.get("flag_meanings", "")).split()
    known = dict(zip(codes.tolist(), words, strict=False))
    return {known.get(code, f"code {code}"): n for code, n in sorted(counts.items())}


def _read(dataset: h5py.Dataset, count: bool = False) -> tuple[str | None, Counter[int]]:
    """Reads everything in blocks of whole chunks: (why it fails or None, how often each value occurs if asked)."""
    counts: Counter[int] = Counter()
    if dataset.chunks and not dataset.is_virtual:
        wanted = math.prod(math.ceil(s / c) for s, c in zip(dataset.shape, dataset.chunks, strict=True))
        if dataset.id.get_num_chunks() != wanted:
            return f"{dataset.id.get_num_chunks()} of {wanted} chunks are stored", counts
    try:
        for block in _blocks(dataset):
            values = np.asarray(dataset[block])
            if count:
                codes, numbers = np.unique(values, return_counts=True)
                counts.update(dict(zip(codes.tolist(), numbers.tolist(), strict=True)))
    except OSError as error:
        return f"cannot be read: {error}", counts
    return None, counts


def _blocks(dataset: h5py.Dataset) -> Iterator[tuple[slice, ...]]:
    """Slices along the last dimension (patients), each of at most about BLOCK numbers but at least one chunk."""
    if dataset.ndim == 0:
        yield ()
        return
    width = dataset.chunks[-1] if dataset.chunks else 1
    per_column = math.prod(dataset.shape[:-1])
    width *= max(1, BLOCK // max(1, per_column * width))
    for start in range(0, dataset.shape[-1], width):
        yield (*(slice(None),) * (dataset.ndim - 1), slice(start, start + width))
