"""`export` of indices: everything in a results file that is of factors, as one tidy table, one row a number."""

from pathlib import Path

import h5py
import numpy as np

from ..errors import InputError, Problem
from .results import coordinate, dims, variables

AXES = ("estimator", "arm", "endpoint", "observable", "time", "factor", "factor_2")
ENDS = ("low", "high")


def columns(path: Path, file: h5py.File) -> dict[str, np.ndarray]:
    """Columns by name: index, where it stands (empty where it has no such axis), value, low and high of its interval.

    Rows without a number are left out. Raises InputError for a file without indices.
    """
    found = {n: d for n, d in variables(file).items() if d.attrs.get("role") == "index"}
    plain = {
        n: d for n, d in found.items() if not any(n.endswith(f"_{end}") and n[: -len(end) - 1] in found for end in ENDS)
    }
    if not plain:
        raise InputError(Problem(str(path), "holds no indices; `thrombojax sensitivity` makes files that do"))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("index", *AXES, "value", *ENDS)}
    for name, dataset in plain.items():
        values = np.asarray(dataset[...], float)
        there = np.isfinite(values).ravel()
        own = dict(zip(dims(dataset), np.indices(values.shape).reshape(values.ndim, -1), strict=True))
        parts["index"].append(np.full(there.sum(), name, object))
        for axis in AXES:
            text = coordinate(file[axis])
            empty = np.full(there.sum(), np.nan if text.dtype.kind == "f" else "", text.dtype)
            parts[axis].append(text[own[axis][there]] if axis in own else empty)
        parts["value"].append(values.ravel()[there])
        for end in ENDS:
            other = found.get(f"{name}_{end}")
            ends = np.full(values.shape, np.nan) if other is None else np.asarray(other[...], float)
            parts[end].append(ends.ravel()[there])
    return {name: np.concatenate(rows) for name, rows in parts.items()}
