"""Cohorts as data: what differs from health, what varies between patients, and which count anchors them."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.special import ndtr

from thrombojax.errors import InputError, Problem, unknown
from thrombojax.patients.draw import normal, uniform

Source = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Fixed(_Strict):
    """A parameter that the cohort sets to another value. unit: that of the parameter, where the file says it.

    low, high: plausible here, where the parameter's own range is not.
    """

    value: float
    unit: str | None = None
    low: float | None = None
    high: float | None = None
    source: Source


class LogNormal(_Strict):
    """Log-normal about the patient's typical value (or `median`), omega^2 = ln(1 + CV^2); clipped to [low, high]."""

    kind: Literal["log-normal"] = "log-normal"
    cv: float
    median: float | None = None
    low: float = 0.0
    high: float = np.inf
    source: Source

    def at(self, typical: Any, z: np.ndarray) -> np.ndarray:
        centre = typical if self.median is None else self.median
        return np.clip(centre * np.exp(np.sqrt(np.log1p(self.cv**2)) * z), self.low, self.high)


class Normal(_Strict):
    """Normal with that mean and CV, clipped to [low, high]."""

    kind: Literal["normal"]
    mean: float
    cv: float
    low: float
    high: float
    source: Source

    def at(self, typical: Any, z: np.ndarray) -> np.ndarray:
        return np.clip(self.mean * (1.0 + self.cv * z), self.low, self.high)


class Uniform(_Strict):
    """Anywhere from low to high, of the value or of its logarithm: for plausible patients that weights are to choose from."""

    kind: Literal["uniform", "log-uniform"]
    low: float
    high: float
    source: Source

    def at(self, typical: Any, z: np.ndarray) -> np.ndarray:
        if self.kind == "uniform":
            return self.low + ndtr(z) * (self.high - self.low)
        return self.low * np.exp(ndtr(z) * np.log(self.high / self.low))


Distribution = Annotated[LogNormal | Normal | Uniform, Field(discriminator="kind")]


class Part(_Strict):
    """set: parameters at other values; scale: parameters multiplied, so that several mixtures can act on one."""

    name: str
    probability: float = Field(gt=0, le=1)
    set: Mapping[str, float] = {}
    scale: Mapping[str, float] = {}

    def apply(self, values: Mapping[str, np.ndarray], members: Any = slice(None)) -> None:
        """In place, for the leaves that the model has."""
        for leaf, value in self.set.items():
            if leaf in values:
                values[leaf][members] = value
        for leaf, factor in self.scale.items():
            if leaf in values:
                values[leaf][members] *= factor


class Mixture(_Strict):
    """Sub-populations: each patient belongs to one part; the most probable is the typical one."""

    name: str
    source: Source
    parts: tuple[Part, ...]


class Anchor(_Strict):
    """Patients drawn by their count: `unknown` is solved so that the steady state has it. start: (ln TPO, ln unknown)."""

    count: Distribution
    unknown: str
    start: tuple[float, float]


class Correlation(_Strict):
    pair: tuple[str, str]
    r: float = Field(gt=-1, lt=1)
    source: Source


class Block(_Strict):
    """Parameters of `vary` that vary together: correlations of their normal scores, row by row."""

    names: tuple[str, ...]
    correlation: tuple[tuple[float, ...], ...]
    source: Source


class Observation(_Strict):
    """What a visit sees besides the truth: error of each count, and error that stays for some days (slow).

    residual_cv: of every count by itself; slow_cv: of the slow part, slow_days its correlation time; lloq: the lowest count
    (1e9/L) that is told from none. status: read, recalled, calibrated (set so that a trial's placebo arm comes out), assumption.
    """

    residual_cv: float = Field(ge=0)
    slow_cv: float = Field(default=0.0, ge=0)
    slow_days: float = Field(default=14.0, gt=0)
    lloq: float = Field(default=0.0, ge=0)
    source: Source
    status: Literal["read", "recalled", "calibrated", "assumption"]


class Fluctuation(_Strict):
    """A parameter that wanders within a patient: Ornstein-Uhlenbeck on the log scale about the patient's own value.

    sd: on the log scale; days: correlation time; every: days between knots of the path.
    """

    sd: float = Field(ge=0)
    days: float = Field(gt=0)
    every: float = Field(gt=0)
    source: Source


class Cohort(_Strict):
    """A cohort file. Names are leaves of the model's parameters; those of drugs that a study does not use are ignored."""

    name: str
    title: str
    species: str = "human"
    source: Source
    parameters: Mapping[str, Fixed] = {}
    mixture: tuple[Mixture, ...] = ()
    vary: Mapping[str, Distribution] = {}
    correlation: tuple[Correlation, ...] = ()
    block: tuple[Block, ...] = ()
    anchor: Anchor | None = None
    observation: Observation | None = None
    fluctuation: Mapping[str, Fluctuation] = {}

    @property
    def correlated(self) -> tuple[tuple[str, str, float], ...]:
        """Every two parameters of `vary` whose scores are correlated, of pairs and of blocks."""
        blocks = [
            (block.names[i], block.names[j], block.correlation[i][j])
            for block in self.block
            for i in range(len(block.names))
            for j in range(i)
        ]
        return (*((*c.pair, c.r) for c in self.correlation), *blocks)


COUNT = "count"
"""Name of the anchored baseline count among a patient's values."""


def names(folders: Sequence[Path]) -> tuple[str, ...]:
    return tuple(sorted({path.stem for folder in folders for path in folder.glob("*.toml")}))


def load(folders: Sequence[Path], name: str) -> Cohort:
    """The cohort of that name; an unknown one is an error that names the nearest.

    A file may be based on another cohort: it then says only what differs. A `base` of its own name is the file that it stands
    in front of.
    """
    known = names(folders)
    if name not in known:
        raise InputError(unknown("cohort", "cohort", name, known))
    found = _read(folders, name)
    try:
        return Cohort.model_validate(found)
    except ValidationError as error:
        raise InputError(*(_problem(f"cohort {name}", e) for e in error.errors(include_url=False))) from None


def _problem(where: str, error: Any) -> Problem:
    """What is wrong with one key of a cohort's file."""
    at = ".".join(str(part) for part in error["loc"] if part not in ("log-normal", "normal"))
    if error["type"] == "missing":
        return Problem(
            f"{where}: {at}",
            "is missing; needed: it, as every number has a source" if at.endswith("source") else "is missing",
        )
    said = error["msg"][0].lower() + error["msg"][1:]
    return Problem(f"{where}: {at}", f"given {error['input']!r:.60}; {said}")


def check_units(cohort: Cohort, units: Mapping[str, str]) -> None:
    """Raises InputError where a file says another unit than the parameter's (`units` by leaf)."""
    found = [
        Problem(
            f"cohort {cohort.name}: parameters.{leaf}.unit",
            f"given {fixed.unit!r}; allowed: {units[leaf]!r}, the parameter's",
        )
        for leaf, fixed in cohort.parameters.items()
        if fixed.unit is not None and leaf in units and fixed.unit != units[leaf]
    ]
    if found:
        raise InputError(*found)


def _read(folders: Sequence[Path], name: str) -> dict[str, Any]:
    at = next(i for i, folder in enumerate(folders) if (folder / f"{name}.toml").exists())
    path = folders[at] / f"{name}.toml"
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(Problem(str(path), f"is not TOML: {error}")) from None
    base = found.pop("base", None)
    if base is None:
        return found
    return _merged(_read(folders[at + 1 :] if base == name else folders, base), found)


def _merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Tables key by key, mixtures by name, everything else replaced."""
    out = dict(base)
    for key, value in over.items():
        if key == "mixture":
            kept = {m["name"]: m for m in base.get(key, [])}
            out[key] = list({**kept, **{m["name"]: m for m in value}}.values())
        elif key in _TABLES:
            out[key] = {**base.get(key, {}), **value}
        else:
            out[key] = value
    return out


_TABLES = ("parameters", "vary", "fluctuation")


def sample(cohort: Cohort, typical: Mapping[str, float], seed: int, index: np.ndarray) -> dict[str, np.ndarray]:
    """Values by leaf name (`[patient]`) for patients `index`, and the anchored `count`; index None: the typical patient.

    typical: the model's defaults; leaves that the model does not have are left out.
    """
    n = len(index)
    values = {leaf: np.full(n, float(value)) for leaf, value in typical.items()}
    for leaf, fixed in cohort.parameters.items():
        if leaf in values:
            values[leaf][:] = fixed.value
    for mixture in cohort.mixture:
        edges = np.cumsum([part.probability for part in mixture.parts])
        member = np.searchsorted(edges / edges[-1], uniform(seed, f"mixture/{mixture.name}", index))
        for k, part in enumerate(mixture.parts):
            part.apply(values, member == k)
    z = {leaf: normal(seed, leaf, index) for leaf in cohort.vary if leaf in values}
    for correlation in cohort.correlation:
        first, second = correlation.pair
        if first in z and second in z:
            z[second] = correlation.r * z[first] + np.sqrt(1.0 - correlation.r**2) * z[second]
    for block in cohort.block:  # all of it, so that what a patient draws does not depend on which drugs the model has
        scores = np.linalg.cholesky(np.array(block.correlation)) @ [normal(seed, leaf, index) for leaf in block.names]
        z |= {leaf: row for leaf, row in zip(block.names, scores, strict=True) if leaf in z}
    for leaf, distribution in cohort.vary.items():
        if leaf in values:
            values[leaf] = distribution.at(values[leaf], z[leaf])
    if cohort.anchor is not None:
        values[COUNT] = cohort.anchor.count.at(None, normal(seed, COUNT, index))
    return values


def typical(cohort: Cohort, defaults: Mapping[str, float]) -> dict[str, np.ndarray]:
    """The typical patient: most probable part of every mixture, medians and means of everything that varies."""
    values = {leaf: np.array([float(value)]) for leaf, value in defaults.items()}
    for leaf, fixed in cohort.parameters.items():
        if leaf in values:
            values[leaf][:] = fixed.value
    for mixture in cohort.mixture:
        max(mixture.parts, key=lambda part: part.probability).apply(values)
    zero = np.zeros(1)
    for leaf, distribution in cohort.vary.items():
        if leaf in values:
            values[leaf] = distribution.at(values[leaf], zero)
    if cohort.anchor is not None:
        values[COUNT] = cohort.anchor.count.at(None, zero)
    return values
