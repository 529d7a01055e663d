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
from thrombojax.store.layout import DRAW, WEIGHT
from thrombojax.store.results import coordinate, damage, dims, reading, variables
from thrombojax.study.reducers import YES_NO

ARM, TRIAL, TIME, VISIT, PATIENT, STATUS = "arm", "trial", "time", "visit", "patient", "status"
SEEN = "ledger/seen"
REPLICATES = (TRIAL, DRAW)
"""Dimensions along which a cell has its patients several times."""
MOST_BLOCKS = 256  # that a sample of one cell is read from, unless it needs more
BLOCK_VALUES = 2**18  # small trials are read together, up to so many numbers


@dataclass(frozen=True, eq=False)
class Axis:
    """One dimension: values [size], numbers or strings."""

    name: str
    label: str
    unit: str
    values: np.ndarray


@dataclass(frozen=True)
class Variable:
    """An endpoint (axis..., arm, patient) or a trajectory (axis..., arm, time, patient); with trials after `arm`.

    yes_no: 1 or 0 in the file, reported as a share in %; published: what the study says that a trial found.
    """

    name: str
    label: str
    unit: str
    yes_no: bool = False
    published: str = ""

    @property
    def of_days(self) -> bool:
        """Whether it is a day, which may never come: then it is missing in the file."""
        return self.unit in ("day", "days", "d")


@dataclass(frozen=True, eq=False)
class Results:
    """A results file that is open for reading.

    axes: the study's; trials: replicates of the trial, 0 where there is one population; patients: of one trial; failed,
    total: trajectories; facts: provenance; nested: whether the replicates are draws of uncertain parameters, each with the same
    patients; weights: `[patient]`, None where all count alike.
    """

    file: h5py.File
    path: Path
    title: str
    axes: tuple[Axis, ...]
    arms: Axis
    time: Axis | None
    trials: int
    patients: int
    endpoints: tuple[Variable, ...]
    trajectories: tuple[Variable, ...]
    failed: int
    total: int
    facts: dict[str, Any]
    nested: bool = False
    weights: np.ndarray | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the study axes and of `arm`, in the order in which a cell is indexed."""
        return (*(len(axis.values) for axis in self.axes), len(self.arms.values))

    @property
    def people(self) -> int:
        """Patients of a cell, those of all its trials; they are counted one trial after another."""
        return self.patients * (self.trials or 1)


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
        own = tuple(dim for dim in dims(data) if dim not in REPLICATES)
        if "/" in name or not tail or own[-len(tail) :] != tail:
            continue  # a parameter, a status, or a number that is not each patient's
        axes = own[: -len(tail)]
        if names not in (None, axes):
            raise InputError(Problem(str(path), f"{name!r} has the axes {axes}, other variables have {names}"))
        names = axes
        yes_no = data.attrs.get("reducer") in YES_NO
        unit, published = "%" if yes_no else _unit(data), str(data.attrs.get("published", ""))
        found[role].append(Variable(name, _label(data, name), unit, yes_no, published))
    if names is None:
        raise InputError(Problem(str(path), "holds no endpoint and no trajectory by arm, nothing to report"))
    facts = dict(file["provenance"].attrs) if "provenance" in file else {}
    trials = next((len(file[name]) for name in REPLICATES if name in file), 0)
    failed, total = _failures(file)
    return Results(
        file,
        path,
        _title(facts, path),
        tuple(_axis(file, name) for name in names),
        _axis(file, ARM),
        _axis(file, TIME) if found["trajectory"] else None,
        trials,
        len(file[PATIENT]),
        tuple(found["endpoint"]),
        # platelets first: they are what the house is about
        tuple(sorted(found["trajectory"], key=lambda v: v.name != "platelets")),
        failed,
        total,
        {name: value.item() if isinstance(value, np.generic) else value for name, value in facts.items()},
        DRAW in file,
        np.asarray(file[WEIGHT][...], float) if WEIGHT in file else None,
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
    cells = data.shape[: -2 if set(REPLICATES) & set(dims(data)) else -1]
    return sum(int(np.count_nonzero(data[cell])) for cell in np.ndindex(cells)), int(data.size)


def _title(facts: dict[str, Any], path: Path) -> str:
    """The study's question or name, if its text is in the file; else the file's name."""
    try:
        head = tomllib.loads(str(facts.get("study", ""))).get("study", {})
        return str(head.get("question") or head.get("name") or path.stem)
    except (ValueError, AttributeError):
        return path.stem


# ---- patients of a cell, read in blocks ----
#
# A block is a range of a cell's patients that is read at once: a chunk of the file or, since a trial is a chunk at least,
# several small trials.


def _starts(results: Results, data: h5py.Dataset) -> np.ndarray:
    """First patient of each block, ascending. A virtual dataset has no chunks of its own."""
    width = data.chunks[-1] if data.chunks else min(data.shape[-1], 4096)
    if width < results.patients or not results.trials:
        inside = np.arange(0, results.patients, width)
        return (np.arange(results.trials or 1)[:, None] * results.patients + inside).ravel()
    times = data.shape[-2] if dims(data)[-2] not in REPLICATES else 1
    together = max(1, BLOCK_VALUES // (times * results.patients))
    return np.arange(0, results.trials, together) * results.patients


def _read(results: Results, data: h5py.Dataset, cell: Sequence[int], start: int, stop: int) -> np.ndarray:
    """Values of one block: [patient], or [time, patient]."""
    if not results.trials:
        return data[(*cell, ..., slice(start, stop))]
    trial, first = divmod(start, results.patients)
    count = -(-(first + stop - start) // results.patients)
    if count == 1:
        return data[(*cell, trial, ..., slice(first, first + stop - start))]
    block = np.moveaxis(data[(*cell, slice(trial, trial + count))], 0, -2)
    return block.reshape(*block.shape[:-2], -1)


def sample(results: Results, variable: Variable, most: int) -> np.ndarray:
    """Indices, ascending, of `most` patients (all, if there are fewer), spread evenly over all.

    They come from some of the file's blocks, also evenly spread: a block is read as a whole, so patients from every
    block would cost the reading of the whole variable.
    """
    return _evenly(_starts(results, results.file[variable.name]), results.people, most)


def _evenly(starts: np.ndarray, total: int, most: int) -> np.ndarray:
    stops = np.append(starts[1:], total)
    enough = max(MOST_BLOCKS, -(-most // int(stops[0] - starts[0])) + 1)  # one more, as the last block may hold few
    blocks = np.unique(np.linspace(0, len(starts) - 1, min(len(starts), enough)).round().astype(np.int64))
    patients = np.concatenate([np.arange(starts[b], stops[b]) for b in blocks])
    if len(patients) <= most:
        return patients
    return patients[np.linspace(0, len(patients) - 1, most).round().astype(np.int64)]


def values(results: Results, variable: Variable, cell: Sequence[int], chosen: np.ndarray) -> np.ndarray:
    """Values of the chosen patients in one cell, without those who failed: [patient], or [time, patient]."""
    return weighted(results, variable, cell, chosen)[0]


def weighted(
    results: Results, variable: Variable, cell: Sequence[int], chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """`values`, and the weights of these patients, [patient]: None where all count alike."""
    kept, well = _chosen(results, variable, cell, chosen)
    return kept[..., well], None if results.weights is None else results.weights[chosen % results.patients][well]


def trial_weights(results: Results, variable: Variable, most: int) -> np.ndarray | None:
    """Weights of the patients of a trial that `by_trial` has, [patient]: None where all count alike."""
    if results.weights is None or results.patients <= most:
        return results.weights
    starts = _starts(results, results.file[variable.name])
    return results.weights[_evenly(starts[starts < results.patients], results.patients, most)]


def by_trial(
    results: Results, variable: Variable, cell: Sequence[int], most: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All trials, a few at a time: values [trial, patient] or [time, trial, patient], and who of them did not fail.

    A trial of more than `most` patients is thinned to so many. What is one population is one trial.
    """
    starts = _starts(results, results.file[variable.name])
    if results.trials and len(starts) <= results.trials and results.patients <= most:
        for start, stop in zip(starts, np.append(starts[1:], results.people), strict=True):
            kept, well = _chosen(results, variable, cell, np.arange(start, stop))
            yield kept.reshape(*kept.shape[:-1], -1, results.patients), well.reshape(-1, results.patients)
        return
    within = _evenly(starts[starts < results.patients], results.patients, most)
    for trial in range(results.trials or 1):
        kept, well = _chosen(results, variable, cell, trial * results.patients + within)
        yield kept[..., None, :], well[None, :]


def _chosen(
    results: Results, variable: Variable, cell: Sequence[int], chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Values of the chosen patients, and who of them did not fail.

    Read block by block, so that memory holds the sample and not the population.
    """
    data = results.file[variable.name]
    starts = _starts(results, data)
    stops = np.append(starts[1:], results.people)
    pieces, well = [], []
    with damage(results.path):
        for block in np.unique(np.searchsorted(starts, chosen, side="right") - 1):
            start, stop = int(starts[block]), int(stops[block])
            here = chosen[(chosen >= start) & (chosen < stop)] - start
            pieces.append(_read(results, data, cell, start, stop)[..., here])
            if STATUS in results.file:
                well.append(_read(results, results.file[STATUS], cell, start, stop)[here] == 0)
            else:
                well.append(np.ones(len(here), bool))
    return np.concatenate(pieces, axis=-1), np.concatenate(well)
