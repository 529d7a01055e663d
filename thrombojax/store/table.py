"""`export`: a results file as one tidy table, CSV or Parquet, streamed so that its size does not matter."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import InputError, Problem, RunError, unknown
from ..outputs import free
from . import indices
from .hdf5 import rename
from .layout import PATIENT
from .results import coordinate, damage, dims, reading, variables
from .shards import disk_error

TABLES = ("endpoints", "trajectories", "ledger", "observed", "indices")
_ROLES = {
    "endpoints": ("endpoint", "status", "weight"),
    "trajectories": ("trajectory",),
    "ledger": ("trajectory",),
    "observed": ("covariate", "trajectory"),
}
_GROUPS = {"ledger": "ledger", "observed": "observed"}
_HINTS = {
    "ledger": "; a study keeps one with `ledger = true` in [output]",
    "observed": " counts; those of studies with [events] do",
}
_ALONG = ("time", "visit", "observation")
ROWS = 2**17  # rows of one Parquet row group, and about the rows held in memory

Columns = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Plan:
    """What the table is made of. axes: its key columns in order; columns: variables by column name.

    inner: the key columns whose rows of one cell lie together, the last of them running fastest; words: the texts of a
    coded column, by code; needed: a column without which there is no row.
    """

    axes: dict[str, np.ndarray]
    columns: dict[str, h5py.Dataset]
    dims: dict[str, tuple[str, ...]]  # of the columns: asking the file for each block costs more than reading it
    units: dict[str, str]
    width: int  # patients read at once
    inner: tuple[str, ...] = (PATIENT,)
    words: Mapping[str, np.ndarray] = field(default_factory=dict)
    needed: str = ""


def export(
    path: str | Path, out: str | Path, *, what: str = "endpoints", parameters: bool = False, overwrite: bool = False
) -> int:
    """Writes a tidy table to OUT (.csv or .parquet) and returns its number of rows.

    what: 'endpoints', one row per study axis, arm, draw or trial (if the study has them) and patient, with the status, the
    patient's weight (if patients have weights) and, if asked, the parameters; 'trajectories', one row per time too; 'ledger', one
    row per visit, a patient's visits one after another, with decisions in words; 'observed', one row per observation of an event
    table, with what is predicted for it; or 'indices', one row per number of a sensitivity analysis. A number that is missing is
    an empty cell (null).
    Raises InputError for a wrong source, kind of table or output; RunError for a full disk or without pyarrow.
    """
    path, out = Path(path), Path(out)
    if what not in TABLES:
        raise InputError(unknown("what", "table", what, TABLES))
    writers = {".csv": _csv, ".parquet": _parquet}
    if out.suffix.lower() not in writers:
        raise InputError(Problem(str(out), f"a table ends in {' or '.join(writers)}, not in {out.suffix!r}"))
    free(out, overwrite)
    temporary = out.with_name(out.name + ".tmp")
    with reading(path) as file:
        with damage(path):
            whole = indices.columns(path, file) if what == "indices" else None
            plan = Plan(whole, {}, {}, {}, 1) if whole is not None else _plan(path, file, what, parameters)
        rows = 0
        try:
            with writers[out.suffix.lower()](temporary, plan) as write:
                for block in _blocks(plan) if whole is None else (whole,):
                    write(block)
                    rows += len(next(iter(block.values())))
            rename(temporary, out)
        except OSError as error:
            raise disk_error(error, out, "nothing is left of the table") from None
        finally:
            temporary.unlink(missing_ok=True)
    return rows


def _plan(path: Path, file: h5py.File, what: str, parameters: bool) -> Plan:
    """Which columns the table has: the root's variables by patient, and parameters whose dimensions fit the table."""
    group = _GROUPS.get(what, "")
    found = variables(file)
    main = {
        name: d
        for name, d in found.items()
        if _role(d) in _ROLES[what] and name.rpartition("/")[0] == group and dims(d)[-1:] == (PATIENT,)
    }
    if not any(_role(d) != "weight" for d in main.values()):
        raise InputError(Problem(str(path), f"holds no {what}{_HINTS.get(what, '')}"))
    used = {dim for dataset in main.values() for dim in dims(dataset)}
    # The file lists its scales in the order in which the layout wrote them.
    order = [name for name in file if name in used and isinstance(file[name], h5py.Dataset) and file[name].is_scale]
    width = min((d.chunks[-1] for d in main.values() if d.chunks), default=4096)
    if what != "endpoints":
        status = {n: d for n, d in found.items() if _role(d) in ("status", "weight") and set(dims(d)) <= used}
        main = {**main, **status}
    extra = {}
    if parameters:
        extra = {n: d for n, d in found.items() if _role(d) in ("parameter", "covariate") and set(dims(d)) <= used}
    columns = {name.rsplit("/", 1)[-1]: dataset for name, dataset in {**main, **extra}.items()}
    scales = {name: file[name] for name in order}
    units = {n: str(d.attrs["units"]) for n, d in {**scales, **columns}.items() if "units" in d.attrs}
    along = tuple(name for name in order if name in _ALONG)
    # A trajectory is written time by time, as it is read; what is in a group is read by people, patient by patient.
    inner = (PATIENT, *along) if group else (*along, PATIENT)
    axes = {name: coordinate(scales[name]) for name in (*(name for name in order if name not in inner), *inner)}
    words = {name: _words(columns[name]) for name in columns if what == "ledger" and name == "decision"}
    return Plan(axes, columns, {name: dims(d) for name, d in columns.items()}, units, width, inner, words,
                "day" if what == "observed" else "")  # fmt: skip


def _words(dataset: h5py.Dataset) -> np.ndarray:
    """Texts of a coded variable by code (CF flags), an underscore as a space; empty where there is no such code."""
    codes = np.atleast_1d(dataset.attrs["flag_values"]).astype(int)
    texts = np.full(int(codes.max()) + 1, "", dtype=object)
    texts[codes] = [text.replace("_", " ") for text in str(dataset.attrs["flag_meanings"]).split()]
    return texts


def _role(dataset: h5py.Dataset) -> str:
    return str(dataset.attrs.get("role", ""))


def _blocks(plan: Plan) -> Iterator[Columns]:
    """The table piece by piece: for a block of patients, cell by cell (study axes, arm, trial)."""
    cells = [name for name in plan.axes if name not in plan.inner]
    n = len(plan.axes[PATIENT])
    for start in range(0, n, plan.width):
        patients = slice(start, min(start + plan.width, n))
        shared = {name: d[..., patients] for name, d in plan.columns.items() if set(plan.dims[name]) <= {PATIENT}}
        for cell in np.ndindex(*(len(plan.axes[name]) for name in cells)):
            at: dict[str, Any] = {**dict(zip(cells, cell, strict=True)), PATIENT: patients}
            yield _rows(plan, at, shared)


def _rows(plan: Plan, at: Mapping[str, Any], shared: Columns) -> Columns:
    """One cell's rows for one block of patients, every column as the product of the inner axes."""
    inner = plan.inner
    keys = {name: plan.axes[name][at[name]] if name in at else plan.axes[name] for name in plan.axes}
    shape = tuple(len(keys[name]) for name in inner)

    def spread(values: np.ndarray, own: Sequence[str]) -> np.ndarray:
        """An array of the dimensions `own`, in the order of the file, over all the rows."""
        values = np.transpose(values, [own.index(name) for name in inner if name in own])
        holes = tuple(slice(None) if name in own else None for name in inner)
        return np.broadcast_to(values[holes], shape).reshape(-1)

    block: Columns = {}
    for name, value in keys.items():
        block[name] = spread(value, (name,)) if name in inner else np.broadcast_to(value, shape).reshape(-1)
    for name, dataset in plan.columns.items():
        own = plan.dims[name]
        read = shared[name] if name in shared else dataset[tuple(at.get(dim, slice(None)) for dim in own)]
        values = spread(read, [dim for dim in own if dim in inner])
        block[name] = _said(values, plan.words[name]) if name in plan.words else values
    if plan.needed:  # patients have different numbers of observations
        there = ~np.isnan(block[plan.needed])
        block = {name: values[there] for name, values in block.items()}
    return block


def _said(codes: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Codes as words; what is missing is None."""
    missing = np.isnan(codes)
    said = words[np.where(missing, 0, codes).astype(int)]
    said[missing] = None
    return said


@contextmanager
def _csv(path: Path, plan: Plan) -> Iterator[Callable[[Columns], None]]:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*plan.axes, *plan.columns])
        yield lambda block: writer.writerows(zip(*map(_text, block.values()), strict=True))


def _text(column: np.ndarray) -> list[str]:
    """Shortest text that reads back as the same number; what is missing is an empty cell."""
    if column.dtype.kind == "O":
        return ["" if value is None else str(value) for value in column]
    text = column.astype(str)
    return np.where(np.isnan(column), "", text).tolist() if column.dtype.kind == "f" else text.tolist()


@contextmanager
def _parquet(path: Path, plan: Plan) -> Iterator[Callable[[Columns], None]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise RunError("a Parquet table needs pyarrow: pip install 'thrombojax[parquet]'") from None
    types = {name: np.asarray(values).dtype for name, values in plan.axes.items()}
    types |= {name: np.dtype("O") if name in plan.words else d.dtype for name, d in plan.columns.items()}
    schema = pyarrow.schema(
        [
            pyarrow.field(
                name,
                pyarrow.string() if dtype.kind in "OU" else pyarrow.from_numpy_dtype(dtype),
                metadata={"units": plan.units[name]} if name in plan.units else None,
            )
            for name, dtype in types.items()
        ]
    )
    waiting: list[Any] = []

    def flush() -> None:
        if waiting:
            writer.write_table(pyarrow.concat_tables(waiting))
            waiting.clear()

    def write(block: Columns) -> None:
        arrays = [
            pyarrow.array(block[field.name], type=field.type, from_pandas=True)  # from_pandas: NaN becomes null
            for field in schema
        ]
        waiting.append(pyarrow.Table.from_arrays(arrays, schema=schema))
        if sum(table.num_rows for table in waiting) >= ROWS:
            flush()

    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        yield write
        flush()
