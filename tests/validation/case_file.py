"""A small case and the results of its study, made by hand."""

from pathlib import Path

import h5py
import numpy as np

from thrombojax.validation import targets

CASE = """\
title = "Two doses of romiplostim"
kind = "clinical"
use = "validation"
source = "Someone 2010"
population = "20 adults"
rule = "within 10 points"

schema = 1

[study]
name = "two-doses"
model = "wang2010"
days = 28

[patients]
table = "patients.csv"

[[arm]]
name = "placebo"

[[arm]]
name = "romiplostim"
regimen = "romiplostim {dose} ug/kg sc once"

[[axis]]
name = "dose"
values = [1, 3]

[[endpoint]]
name = "highest"
reducer = "peak"

[[endpoint]]
name = "day_at_400"
reducer = "first_day_at_or_above"
threshold = 400

[[target]]
name = "highest count"
arm = "romiplostim"
at = { dose = 3 }
endpoint = "highest"
statistic = "mean"
unit = "1e9/L"
published = 450
low = 400
high = 500
"""


def write(folder: Path, text: str = CASE, name: str = "two-doses") -> Path:
    if not (folder / "patients.csv").exists():
        (folder / "patients.csv").write_text("id,weight\na,70\n")
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def changed(old: str, new: str) -> str:
    assert old in CASE
    return CASE.replace(old, new, 1)


def target(*, head: str = "", **keys: str) -> str:
    """The case with other keys of its target, as TOML writes them; an empty one takes a key away. head: replaces the kind."""
    before, _, own = CASE.partition("[[target]]\n")
    lines = dict(line.split(" = ", 1) for line in own.strip().splitlines())
    lines = {key: value for key, value in {**lines, **keys}.items() if value}
    text = before + "[[target]]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())
    return text.replace('kind = "clinical"', f'kind = "{head}"') if head else text


def case(folder: Path, text: str = CASE) -> targets.Case:
    return targets.read(write(folder, text))


def results(path: Path, values: np.ndarray, days: np.ndarray | None = None, status: np.ndarray | int = 0) -> Path:
    """A results file in which the arm `romiplostim` has these numbers `[patient]` or `[trial, patient]` at a dose of 3, and one
    less each at 1; placebo has half of that. days: those of `day_at_400`, and what is yes or no in `responded`."""
    values = np.asarray(values, float)
    trials = ["trial"] if values.ndim == 2 else []
    dims = ["arm", "dose", *trials, "patient"]
    cells = np.stack([np.stack([values - 1, values]) * share for share in (0.5, 1.0)])
    late = np.broadcast_to(np.nan if days is None else days, cells.shape)
    with h5py.File(path, "w") as file:
        file["arm"] = np.array(["placebo", "romiplostim"], object)
        file["dose"] = [1.0, 3.0]
        for name, size in zip(dims[2:], values.shape, strict=True):
            file[name] = (
                np.array(list("abcdefgh"[:size]), object) if name == "patient" and size < 9 else np.arange(size)
            )
        of_status = np.broadcast_to(status, cells.shape).astype(np.uint8)
        for name, data in {"highest": cells, "day_at_400": late, "responded": late, "status": of_status}.items():
            file[name] = data
            for k, dim in enumerate(dims):
                file[dim].make_scale(dim)
                file[name].dims[k].attach_scale(file[dim])
    return path
