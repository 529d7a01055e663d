"""Small studies with the real models, and the ways to run them: in this process, or as a user does in one of their own.

All studies of the feedback model with one romiplostim arm share their doses, endpoints and saved days, and so one
compiled program.
"""

import contextlib
import copy
import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from thrombojax.cli import main
from thrombojax.endpoints import REDUCERS

REPO = Path(__file__).parents[2]
DAYS = 28
NUMBERS: Mapping[str, Mapping[str, Any]] = {
    "fraction_in_band": {"low": 50, "high": 200},
    "first_day_at_or_above": {"threshold": 50},
    "rises": {"threshold": 50},
    "value_on_day": {"day": 14},
    "weeks_of_response": {"threshold": 50},
    "response_share": {"threshold": 50},
    "response": {"threshold": 50, "needed": 2},
    "cumulative_dose": {"drug": "romiplostim"},
    "doses_given": {"drug": "romiplostim"},
    "dose_changes": {"drug": "romiplostim"},
}
ENDPOINTS = [
    {"name": f"the_{name}", "reducer": name, **NUMBERS.get(name, {})}
    for name, r in REDUCERS.items()
    if r.kind != "ledger"
]
"""Every reducer of studies without a policy."""

ITP: Mapping[str, Any] = {
    "schema": 1,
    "study": {"name": "small", "model": "feedback", "seed": 1, "days": DAYS},
    "patients": {"cohort": "itp", "n": 20},
    "arm": [
        {"name": "untreated"},
        {"name": "romiplostim", "regimen": "romiplostim {dose} ug/kg sc weekly x 4"},
    ],
    "axis": [{"name": "dose", "values": [1, 5], "unit": "ug/kg"}],
    "time": {"save": 1.0, "visits": 7.0},
    "endpoint": ENDPOINTS,
    "output": {"trajectories": True, "observables": ["platelets", "tpo"]},
}
TABLE = "id,weight,baseline_platelets\na,70,250\nb,80,200\nc,60,150\n"
WANG: Mapping[str, Any] = {
    "schema": 1,
    "study": {"name": "volunteers", "model": "wang2010", "seed": 1, "days": DAYS},
    "patients": {"table": "patients.csv"},
    "arm": [{"name": "sc 1", "regimen": "romiplostim 1 ug/kg sc once"}],
    "time": {"save": 1.0, "visits": 7.0},
    "endpoint": [{"name": "highest", "reducer": "peak"}, {"name": "lowest", "reducer": "nadir"}],
    "output": {"trajectories": True, "observables": ["platelets", "concentration"]},
}


def changed(base: Mapping[str, Any] = ITP, **sections: Any) -> dict[str, Any]:
    """A copy of a study. A table replaces the keys it has, everything else a whole section; None takes away."""
    study = copy.deepcopy(dict(base))
    for name, given in sections.items():
        section = study.get(name)
        if isinstance(given, dict) and isinstance(section, dict):
            given = {key: value for key, value in {**section, **given}.items() if value is not None}
        study[name] = given
    return {name: section for name, section in study.items() if section is not None}


def toml(study: Mapping[str, Any]) -> str:
    """A study as its file."""
    lines = [f"{name} = {_value(value)}" for name, value in study.items() if not isinstance(value, (dict, list))]
    for name, value in study.items():
        header, sections = (f"[{name}]", [value]) if isinstance(value, dict) else (f"[[{name}]]", value)
        for section in sections if isinstance(value, (dict, list)) else ():
            lines += ["", header, *(f"{key} = {_value(item)}" for key, item in section.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in value)
        return f'"{escaped}"'
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_value(key)} = {_value(item)}' for key, item in value.items())}}}"
    return repr(value)


def write(folder: Path, study: Mapping[str, Any] | str, table: str | None = TABLE) -> Path:
    """The study's file in a folder, with its patient table beside it."""
    path = folder / "study.toml"
    path.write_text(study if isinstance(study, str) else toml(study), encoding="utf-8")
    if table is not None:
        (folder / "patients.csv").write_text(table, encoding="utf-8")
    return path


class Said(NamedTuple):
    """How a command ended: exit status, standard output, standard error."""

    status: int
    out: str
    err: str

    @property
    def messages(self) -> list[str]:
        """What a user reads on standard error besides progress."""
        return [line for line in self.err.splitlines() if line and "patients/s" not in line]


def here(*words: object) -> Said:
    """The command line in this process: its compiled programs stay."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(word) for word in words])
    return Said(status, out.getvalue(), err.getvalue())


def alone(*words: object, cwd: Path, **environment: str) -> Said:
    """The command line in a process of its own, as a user starts it."""
    done = subprocess.run(
        command(*words), capture_output=True, text=True, cwd=cwd, env=environ(**environment), timeout=300
    )
    return Said(done.returncode, done.stdout, done.stderr)


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "thrombojax", *map(str, words)]


def environ(**more: str) -> dict[str, str]:
    """The environment of a subprocess: this checkout first, and nothing of what tests set for this process."""
    mine = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return {**mine, "PYTHONPATH": str(REPO), **more}


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Every dataset of a results file."""
    found: dict[str, np.ndarray] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[...]

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def chunks(path: Path) -> dict[str, list[Any]]:
    """Every dataset as it lies in the file: type, shape, and each stored chunk's place and bytes (or all bytes)."""
    found: dict[str, list[Any]] = {}

    def stored(dataset: h5py.Dataset) -> Iterator[Any]:
        if dataset.chunks is None:
            values = dataset.asstr()[...] if dataset.dtype.kind == "O" else dataset[...]
            yield values.tolist() if values.dtype.kind == "O" else values.tobytes()
            return
        for i in range(dataset.id.get_num_chunks()):
            offset = dataset.id.get_chunk_info(i).chunk_offset
            yield (offset, *dataset.id.read_direct_chunk(offset))

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = [str(item.dtype), item.shape, *sorted(stored(item), key=repr)]

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def assert_same_bytes(one: Path, other: Path) -> None:
    a, b = chunks(one), chunks(other)
    assert a.keys() == b.keys()
    assert [name for name in a if a[name] != b[name]] == []


def assert_refused(said: Said, *words: str, status: int = 2, lines: int | None = 1) -> None:
    """Exit status, nothing on standard output, that many lines of message with those words in it, no traceback."""
    text = " ".join(said.messages)
    assert (said.status, said.out) == (status, ""), said
    assert "Traceback" not in said.err
    assert not [word for word in words if word not in text], text
    assert lines is None or len(said.messages) == lines, said.err
