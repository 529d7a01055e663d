"""What a results file holds: axes, variables, and how they are cut into shards and chunks."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

PATIENT = "patient"
WEIGHT = "prevalence_weight"
"""Variable of how much of the population each patient stands for, where patients are not all alike."""
DRAW = "draw"
"""Dimension of draws of uncertain parameters."""
ROLES = ("endpoint", "trajectory", "status", "parameter", "covariate", "index", "weight")
COMPRESSIONS = ("gzip", "none", "zstd")
RESERVED_GROUPS = ("provenance",)
CHUNK_BYTES = 2**20  # what a trajectory chunk aims at, between 0.5 and 2 MB

# xarray turns a coordinate with one of these units into timedelta64, which is not what a protocol day is.
_TIMEDELTA_UNITS = ("days", "hours", "minutes", "seconds", "milliseconds", "microseconds", "nanoseconds")


@dataclass(frozen=True, eq=False)
class Axis:
    """One dimension and its coordinate, a dimension scale of that name. values: [size], numbers or strings."""

    name: str
    values: np.ndarray
    unit: str = ""
    long_name: str = ""

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.ndim != 1 or values.size == 0:
            raise ValueError(f"axis {self.name!r} needs a one-dimensional, non-empty array, got shape {values.shape}")
        if values.dtype.kind in "UO":
            values = np.array([str(v) for v in values], dtype=object)
        elif values.dtype.kind not in "iuf":
            raise ValueError(f"axis {self.name!r} holds {values.dtype}, not numbers or strings")
        _check_name("axis", self.name)
        _check_unit(self.name, self.unit)
        object.__setattr__(self, "values", values)

    @property
    def size(self) -> int:
        return len(self.values)

    @property
    def is_text(self) -> bool:
        return self.values.dtype.kind == "O"


@dataclass(frozen=True, eq=False)
class Variable:
    """One array of the file. dims are axis names with `patient`, where there is one, last.

    dtype: a numpy number type; group: '' (root) or one group's name; compression: by role when None (trajectories none,
    the rest gzip); attrs: further attributes, such as display_units or the CF flags of `flags`.
    """

    name: str
    dims: tuple[str, ...]
    dtype: str = "float32"
    unit: str = ""
    long_name: str = ""
    role: str = "endpoint"
    group: str = ""
    compression: str | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_name("variable", self.name)
        _check_unit(self.name, self.unit)
        if self.group:
            _check_name("group", self.group)
        if self.group in RESERVED_GROUPS:
            raise ValueError(f"variable {self.name!r}: the group {self.group!r} is reserved")
        if self.role not in ROLES:
            raise ValueError(f"variable {self.name!r}: role {self.role!r} is none of {', '.join(ROLES)}")
        if self.compression is None:
            object.__setattr__(self, "compression", "none" if self.role == "trajectory" else "gzip")
        if self.compression not in COMPRESSIONS:
            raise ValueError(
                f"variable {self.name!r}: compression {self.compression!r} is none of {', '.join(COMPRESSIONS)}"
            )
        if PATIENT in self.dims[:-1] or len(set(self.dims)) != len(self.dims):
            raise ValueError(f"variable {self.name!r}: dims {self.dims} must be distinct, with {PATIENT!r} last")
        # Raw chunks of variable-length strings hold references into their own file's heap: they cannot be copied.
        if np.dtype(self.dtype).kind not in "iuf":
            raise ValueError(f"variable {self.name!r}: dtype {self.dtype} is not a number type")
        object.__setattr__(self, "dtype", np.dtype(self.dtype).name)

    @property
    def path(self) -> str:
        """Where the variable is in the file."""
        return f"{self.group}/{self.name}" if self.group else self.name

    @property
    def by_patient(self) -> bool:
        return bool(self.dims) and self.dims[-1] == PATIENT


@dataclass(frozen=True, eq=False)
class Layout:
    """axes: study axes, arm, time if any, patient (last); attrs: root attributes; shard_patients: C, per shard."""

    axes: tuple[Axis, ...]
    variables: tuple[Variable, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    shard_patients: int = 16384

    def __post_init__(self) -> None:
        names = [axis.name for axis in self.axes]
        if not names or names[-1] != PATIENT:
            raise ValueError(f"the last axis must be {PATIENT!r}, got {names}")
        names += [variable.name for variable in self.variables]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"axes and variables need names of their own, these come twice: {', '.join(twice)}")
        for variable in self.variables:
            missing = [dim for dim in variable.dims if dim not in self.sizes]
            if missing:
                raise ValueError(f"variable {variable.name!r} uses axes that the layout lacks: {', '.join(missing)}")
            if list(variable.dims) != [name for name in self.sizes if name in variable.dims]:
                raise ValueError(f"variable {variable.name!r}: dims {variable.dims} are not in the order of the axes")
        if self.shard_patients < 1:
            raise ValueError(f"shard_patients must be at least 1, got {self.shard_patients}")

    @property
    def n(self) -> int:
        """Number of patients."""
        return self.axes[-1].size

    @property
    def sizes(self) -> dict[str, int]:
        return {axis.name: axis.size for axis in self.axes}

    @property
    def groups(self) -> tuple[str, ...]:
        """'' (root) first, then every group that a variable names, in order of appearance."""
        return tuple(dict.fromkeys(["", *(variable.group for variable in self.variables)]))

    def axis(self, name: str) -> Axis:
        return next(axis for axis in self.axes if axis.name == name)

    def shape(self, variable: Variable, patients: int | None = None) -> tuple[int, ...]:
        """Shape of a variable with `patients` patients (default: all)."""
        sizes = self.sizes | ({} if patients is None else {PATIENT: patients})
        return tuple(sizes[dim] for dim in variable.dims)

    def bounds(self, index: int) -> tuple[int, int]:
        """First patient and one past the last of shard `index`."""
        start = index * self.shard_patients
        return start, min(start + self.shard_patients, self.n)

    @property
    def shard_count(self) -> int:
        return math.ceil(self.n / self.shard_patients)

    def chunks(self, variable: Variable) -> tuple[int, ...] | None:
        """Chunk shape, the same in every shard and in the final file, so that chunks are copied as they are.

        One cell and one shard's patients; a trajectory's chunk holds all its times for c patients, c a divisor of C.
        """
        shape = self.shape(variable)
        if not shape:
            return None
        if not variable.by_patient:
            return shape
        width, whole = self.shard_patients, 1
        if variable.role == "trajectory" and len(shape) > 1:
            whole = shape[-2]
            width = _divisor_near(self.shard_patients, CHUNK_BYTES / (whole * np.dtype(variable.dtype).itemsize))
        # With fewer patients than a chunk is wide there is one shard and one chunk, which must not outgrow the dataset.
        return ((1,) * (len(shape) - 2) + (whole, min(width, self.n)))[-len(shape) :]

    def bytes(self, compression: str | None = None, patients: int | None = None) -> int:
        """Bytes before compression of the variables with that compression (default: of all)."""
        chosen = [v for v in self.variables if compression in (None, v.compression)]
        return sum(math.prod(self.shape(v, patients)) * np.dtype(v.dtype).itemsize for v in chosen)

    def fingerprint(self) -> str:
        """Hash of all that decides where a number stands in the file; descriptions and attributes do not count."""
        axes = [[a.name, a.unit, a.values.dtype.name, _digest(a)] for a in self.axes]
        variables = [[v.name, v.group, v.dims, v.dtype, v.unit, v.role, v.compression] for v in self.variables]
        text = json.dumps([axes, variables, self.shard_patients])
        return hashlib.sha256(text.encode()).hexdigest()


def flags(codes: Mapping[str, int], dtype: str = "uint8") -> dict[str, Any]:
    """CF attributes of a coded variable from {meaning: code}; a meaning is one word (underscores, no spaces)."""
    spaced = [name for name in codes if not re.fullmatch(r"[A-Za-z0-9_.+@-]+", name)]
    if spaced:
        raise ValueError(f"a flag meaning is one word: {spaced}")
    return {"flag_values": np.array(list(codes.values()), dtype), "flag_meanings": " ".join(codes)}


def to_json(layout: Layout) -> dict[str, Any]:
    """The layout as JSON values, without the patients' own (each shard carries its slice of those)."""
    patient = layout.axes[-1]
    axes = [
        {"name": a.name, "values": _pack(a.values), "unit": a.unit, "long_name": a.long_name} for a in layout.axes[:-1]
    ]
    return {
        "axes": axes,
        "patient": {"unit": patient.unit, "long_name": patient.long_name},
        "variables": [vars(v) | {"dims": list(v.dims), "attrs": pack(v.attrs)} for v in layout.variables],
        "attrs": pack(layout.attrs),
        "shard_patients": layout.shard_patients,
    }


def from_json(text: Mapping[str, Any], patients: np.ndarray) -> Layout:
    """The layout that `to_json` wrote, over these patients."""
    axes = [Axis(**{**a, "values": _unpack(a["values"])}) for a in text["axes"]]
    variables = [Variable(**{**v, "dims": tuple(v["dims"]), "attrs": unpack(v["attrs"])}) for v in text["variables"]]
    return Layout(
        (*axes, Axis(PATIENT, patients, **text["patient"])),
        tuple(variables),
        unpack(text["attrs"]),
        text["shard_patients"],
    )


def pack(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as JSON values; arrays keep their type (CF wants flag_values in the variable's own)."""
    return {name: _pack(value) for name, value in attrs.items()}


def unpack(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _unpack(value) for name, value in attrs.items()}


def _pack(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return {"dtype": value.dtype.str, "values": value.tolist()}
    return value


def _unpack(value: Any) -> Any:
    return np.array(value["values"], value["dtype"]) if isinstance(value, dict) else value


def _digest(axis: Axis) -> str:
    data = "\0".join(axis.values).encode() if axis.is_text else np.ascontiguousarray(axis.values).data
    return hashlib.sha256(data).hexdigest()


def _divisor_near(number: int, wanted: float) -> int:
    """The divisor of `number` nearest to `wanted` as a ratio."""
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    divisors = {*small, *(number // d for d in small)}
    return min(divisors, key=lambda d: (abs(math.log(d / wanted)), d))


def _check_name(kind: str, name: str) -> None:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.@+-]*", name):
        raise ValueError(f"{kind} {name!r} is no netCDF name: a letter, then letters, digits, _ . @ + -")


def _check_unit(name: str, unit: str) -> None:
    if unit in _TIMEDELTA_UNITS:
        raise ValueError(f"{name!r}: xarray would turn {unit!r} into timedelta64; write {unit[:-1]!r}")
    # Unit parsers refuse a scaling factor: 1e9/L is written 1/nL.
    if re.match(r"\d", unit) and unit != "1" and not unit.startswith("1/"):
        raise ValueError(f"{name!r}: the unit {unit!r} has a scaling factor, which unit parsers refuse")
