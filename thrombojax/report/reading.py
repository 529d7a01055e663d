"""What a report needs of a results file, never more of it in memory than one cell's sample of patients."""

import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from thrombojax.errors import InputError, Problem
from thrombojax.store.results import coordinate, damage, dims, reading, variables

ARM, TIME, PATIENT, STATUS = "arm", "time", "patient", "status"
MOST_CHUNKS = 256  # that a sample of one cell is read from, unless it needs more


@dataclass(frozen=True, eq=False)
class Axis:
    """One dimension: values [size], numbers or strings."""

    name: str
    label: str
    unit: str
    values: np.ndarray


@dataclass(frozen=True)
class Variable:
    """An endpoint (axis..., arm, patient) or a trajectory (axis..., arm, time, patient)."""

    name: str
    label: str
    unit: str


@dataclass(frozen=True, eq=False)
class Results:
    """A results file that is open for reading. axes: the study's; failed, total: trajectories; facts: provenance."""

    file: h5py.File
    path: Path
    title: str
    axes: tuple[Axis, ...]
    arms: Axis
    time: Axis | None
    patients: int
    endpoints: tuple[Variable, ...]
    trajectories: tuple[Variable, ...]
    failed: int
    total: int
    facts: dict[str, Any]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the study axes and of `arm`, in the order in which a cell is indexed."""
        return (*(len(axis.values) for axis in self.axes), len(self.arms.values))


@contextmanager
def open_results(path: str | Path) -> Iterator[Results]:
    """The results file, open within the block. Raises InputError for a file that is none of ours, damaged or empty."""
    path = Path(path)
    with reading(path) as file:
        with damage(path):
            results = _results(file, path)
        yield results


def _results(file: h5py.File, path: Path) -> Results:
    found: dict[str, list[Variable]] = {"endpoint": [], "trajectory": []}
    names: tuple[str, ...] | None = None
    for name, data in variables(file).items():
        role = data.attrs.get("role", "")
        tail = {"endpoint": (ARM, PATIENT), "trajectory": (ARM, TIME, PATIENT)}.get(role, ())
        if "/" in name or not tail or dims(data)[-len(tail) :] != tail:
            continue  # a parameter, a status, or a number that is not each patient's
        axes = dims(data)[: -len(tail)]
        if names not in (None, axes):
            raise InputError(Problem(str(path), f"{name!r} has the axes {axes}, other variables have {names}"))
        names = axes
        found[role].append(Variable(name, _label(data, name), _unit(data)))
    if names is None:
        raise InputError(Problem(str(path), "holds no endpoint and no trajectory by arm, nothing to report"))
    facts = dict(file["provenance"].attrs) if "provenance" in file else {}
    failed, total = _failures(file)
    return Results(
        file,
        path,
        _title(facts, path),
        tuple(_axis(file, name) for name in names),
        _axis(file, ARM),
        _axis(file, TIME) if found["trajectory"] else None,
        len(file[PATIENT]),
        tuple(found["endpoint"]),
        # platelets first: they are what the house is about
        tuple(sorted(found["trajectory"], key=lambda v: v.name != "platelets")),
        failed,
        total,
        {name: value.item() if isinstance(value, np.generic) else value for name, value in facts.items()},
    )


def _axis(file: h5py.File, name: str) -> Axis:
    data = file[name]
    return Axis(name, _label(data, name), _unit(data), coordinate(data))


def _label(data: h5py.Dataset, name: str) -> str:
    return str(data.attrs.get("long_name", "")) or name.replace("_", " ")


def _unit(data: h5py.Dataset) -> str:
    return str(data.attrs.get("display_units", data.attrs.get("units", "")))


def _failures(file: h5py.File) -> tuple[int, int]:
    """Trajectories that failed, and all: read cell by cell, since there may be millions of patients."""
    if STATUS not in file:
        return 0, 0
    data = file[STATUS]
    return sum(int(np.count_nonzero(data[cell])) for cell in np.ndindex(data.shape[:-1])), int(data.size)


def _title(facts: dict[str, Any], path: Path) -> str:
    """The study's question or name, if its text is in the file; else the file's name."""
    try:
        head = tomllib.loads(str(facts.get("study", ""))).get("study", {})
        return str(head.get("question") or head.get("name") or path.stem)
    except (ValueError, AttributeError):
        return path.stem


def sample(results: Results, variable: Variable, most: int) -> np.ndarray:
    """Indices, ascending, of `most` patients (all, if there are fewer), spread evenly over all.

    They come from some of the file's chunks, also evenly spread: a chunk is read as a whole, so patients from every
    chunk would cost the reading of the whole variable.
    """
    width = _chunk(results.file[variable.name])
    count = -(-results.patients // width)
    enough = max(MOST_CHUNKS, -(-most // width) + 1)  # one more, as the last chunk may hold few
    chunks = np.unique(np.linspace(0, count - 1, min(count, enough)).round().astype(np.int64))
    patients = (chunks[:, None] * width + np.arange(width)).ravel()
    patients = patients[patients < results.patients]
    if len(patients) <= most:
        return patients
    return patients[np.linspace(0, len(patients) - 1, most).round().astype(np.int64)]


def _chunk(data: h5py.Dataset) -> int:
    """Patients that are read at once; a virtual dataset has no chunks of its own."""
    return data.chunks[-1] if data.chunks else min(data.shape[-1], 4096)


def values(results: Results, variable: Variable, cell: Sequence[int], chosen: np.ndarray) -> np.ndarray:
    """Values of the chosen patients in one cell, without those who failed: [patient], or [time, patient].

    Read chunk by chunk, so that memory holds the sample and not the population.
    """
    data = results.file[variable.name]
    width = _chunk(data)
    pieces = []
    with damage(results.path):
        for start in np.unique(chosen // width) * width:
            here = chosen[(chosen >= start) & (chosen < start + width)] - start
            kept = data[(*cell, ..., slice(start, start + width))][..., here]
            if STATUS in results.file:
                kept = kept[..., results.file[STATUS][(*cell, slice(start, start + width))][here] == 0]
            pieces.append(kept)
    return np.concatenate(pieces, axis=-1)
