"""What was published, as data: a file of `cases/` is a study with the numbers that a paper found in it.

A file names a study of `sweeps/`, or is one itself: the sections of a study stand beside `[[target]]`. Each target says which
number it is about, what was published, the interval that a simulation must lie in, and its source. The number is an endpoint of the
study; or, without a study, a column of a row of the signature matrix, or an observable of a cohort before any treatment.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from thrombojax.errors import InputError, Problem, unknown
from thrombojax.study import schema
from thrombojax.study.messages import keys, problems
from thrombojax.study.schema import Study

HERE = Path(__file__).parent
FOLDER = HERE / "cases"
DEFAULT_SET = "1"
KINDS = ("reference", "clinical", "mechanistic")
STATISTICS = ("value", "mean", "median", "sd", "cv", "p5", "p95", "share", "share_at_or_above", "share_below")
REFERENCE_ERROR = 1e-6
"""Relative error that a reference number may have beyond half a unit of its last printed digit (V1 to V4 of the validation set)."""


def _as_printed(value: Any) -> str:
    """A number as text: TOML numbers lose their last zeros, and how many digits are printed says how exact they are."""
    if isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", value):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)
    raise ValueError('allowed: a number, or in quotes as it is printed, such as "331.470"')


Text = Annotated[str, Field(min_length=1, max_length=600)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Target(_Section):
    """[[target]]. at: value of each axis; against: an arm whose number is taken off; times: factor from the study's unit to the
    paper's; published: None where only a direction is; recalled: not read in the source, shown but not counted."""

    name: Text = Field(description="what was measured")
    endpoint: Text | None = Field(None, description="an endpoint of the study")
    signature: Text | None = Field(None, description="a row of the signature matrix")
    cohort: Text | None = Field(None, description="a cohort, untreated")
    column: Text | None = Field(None, description="a column of the signature matrix, or an observable of the cohort")
    arm: Text | None = Field(None, description="an arm of the study")
    at: dict[str, float] = Field({}, description="a value for each axis of the study")
    statistic: Literal[STATISTICS] = Field("value", description=", ".join(STATISTICS))  # type: ignore[valid-type]
    threshold: float | None = Field(None, description="a number")
    against: Text | None = Field(None, description="an arm of the study")
    times: float = Field(1.0, description="a number")
    unit: Annotated[str, Field(max_length=40)] = Field("", description="a unit")
    published: Annotated[str, BeforeValidator(_as_printed)] | None = Field(None, description="the published number")
    low: float | None = Field(None, description="the lower end of the interval to lie in")
    high: float | None = Field(None, description="the upper end of the interval to lie in")
    source: Text | None = Field(None, description="the source, where it is not the file's")
    population: Text | None = Field(None, description="who, where it is not the file's population")
    rule: Text | None = Field(None, description="where the interval comes from, where it is not the file's rule")
    use: Literal["calibration", "validation"] | None = Field(None, description="calibration, validation")
    recalled: bool = Field(False, description="true or false")


class Head(_Section):
    """The keys at the top of a file. rule: where the intervals come from; sets: parameter sets that it is run with (all)."""

    title: Text = Field(description="what the case is")
    kind: Literal[KINDS] = Field(description=", ".join(KINDS))  # type: ignore[valid-type]
    source: Text = Field(description="paper or register")
    population: Text = Field(description="who was studied, and how many")
    rule: Text = Field(description="where the intervals come from")
    use: Literal["calibration", "validation"] = Field(description="calibration, validation")
    study: Text | None = Field(None, description="a study of sweeps/, where the file is none itself")
    trials: int | None = Field(None, ge=2, le=10_000, description="a whole number from 2 to 10000")


@dataclass(frozen=True)
class Case:
    """name: of its file; study: what is run, None where all targets are signatures and cohorts."""

    name: str
    head: Head
    study: Study | None
    targets: tuple[Target, ...]

    @property
    def has_sets(self) -> bool:
        """Whether it asks the flagship, which has parameter sets."""
        return self.study is None or self.study.head.model == "feedback"


def sweeps() -> Path:
    """Where the studies are: beside the package in a source tree, within it where it was installed from a wheel."""
    inside = HERE.parent / "sweeps"
    return inside if inside.is_dir() else HERE.parents[1] / "sweeps"


def of_kind(kind: str, folder: Path = FOLDER) -> tuple[str, ...]:
    """Names of the cases of a kind."""
    return tuple(
        n for n in names(folder) if tomllib.loads((folder / f"{n}.toml").read_text("utf-8")).get("kind") == kind
    )


def check_sets(given: Sequence[str]) -> None:
    """Raises InputError for a parameter set that the flagship does not have."""
    from thrombojax.models.feedback.assemble import parameter_sets

    wrong = [
        unknown("--parameter-set", "parameter set", name, parameter_sets())
        for name in given
        if name not in parameter_sets()
    ]
    if wrong:
        raise InputError(*wrong)


def names(folder: Path = FOLDER) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob("*.toml")))


def load(wanted: Sequence[str] = (), folder: Path = FOLDER) -> tuple[Case, ...]:
    """The cases of these names, all of them without; InputError with everything that is wrong in their files."""
    known = names(folder)
    wrong = [unknown("CASE", "case", name, known) for name in wanted if name not in known]
    cases = []
    for name in [] if wrong else wanted or known:
        try:
            cases.append(read(folder / f"{name}.toml"))
        except InputError as error:
            wrong += error.problems
    if wrong:
        raise InputError(*wrong)
    return tuple(cases)


def read(path: Path) -> Case:
    """One file, checked against the study that it names or holds."""
    text = path.read_text(encoding="utf-8")
    where = path.name
    try:
        raw = tomllib.loads(text)
    except ValueError as error:
        raise InputError(Problem(where, f"is not TOML: {error}")) from None
    rows = raw.pop("target", [])
    inline = "schema" in raw
    own = {key: raw.pop(key) for key in list(raw) if key in keys(Head) and not (inline and key == "study")}
    found: list[Problem] = []
    head = _checked(Head, own, found, where)
    if not rows:
        found.append(Problem(where, "has no [[target]]; needed: at least one"))
    targets = [_checked(Target, row, found, where, "target", i) for i, row in enumerate(rows)]
    study = _study(head, raw, text, path, found)
    for i, target in enumerate(targets):
        if target is not None:
            found += [Problem(f"{where}: target[{i + 1}].{p.where}", p.message) for p in _problems(target, head, study)]
    if found or head is None:
        raise InputError(*found)
    return Case(path.stem, head, study, tuple(t for t in targets if t is not None))


def _checked(section: type[BaseModel], raw: Mapping[str, Any], found: list[Problem], where: str, *at: str | int) -> Any:
    try:
        return section.model_validate(raw)
    except ValidationError as error:
        found += [Problem(f"{where}: {p.where}", p.message) for p in problems(error, section, *at)]
        return None


def _study(head: Head | None, raw: dict[str, Any], text: str, path: Path, found: list[Problem]) -> Study | None:
    try:
        if "schema" in raw:
            return schema.read(raw, text, str(path))
        if raw:
            found += [unknown(f"{path.name}: {key}", "key", key, keys(Head)) for key in raw]
        if head is None or head.study is None:
            return None
        known = {p.stem: p for p in sweeps().glob("*.toml")}
        if head.study not in known:
            found.append(unknown(f"{path.name}: study", "study", head.study, known))
            return None
        return schema.load(known[head.study])
    except InputError as error:
        found += error.problems
        return None


def _problems(target: Target, head: Head | None, study: Study | None) -> list[Problem]:
    """What is wrong with a target by itself and within its study."""
    found: list[Problem] = []
    if head is not None and head.kind != "reference" and (target.low is None or target.high is None):
        found.append(
            Problem("low, high", f"{target.name!r} has no interval; needed: both ends, with their source in `rule`")
        )
    if target.published is None and (target.signature is None or target.low is None or target.high is None):
        return [*found, Problem("published", "is missing; only a direction that a signature has needs none")]
    low, high = interval(target)
    if not low <= high or (low == high and head is not None and head.kind != "reference"):
        found.append(Problem("low, high", f"given {low:g} to {high:g}; allowed: low below high"))
    if (target.threshold is None) == target.statistic.startswith("share_"):
        found.append(
            Problem("threshold", f"belongs to share_at_or_above and share_below; statistic: {target.statistic}")
        )
    places = [key for key in ("endpoint", "signature", "cohort") if getattr(target, key) is not None]
    if len(places) != 1:
        found.append(
            Problem("endpoint, signature, cohort", f"given {', '.join(places) or 'none'}; allowed: one of them")
        )
        return found
    if places != ["endpoint"]:
        return found + _elsewhere(target)
    if study is None:
        return [*found, Problem("endpoint", "is of a study, and the file is none and names none")]
    arms = [arm.name for arm in study.arms]
    if target.arm is None and len(arms) > 1:
        found.append(Problem("arm", f"is missing; allowed: {', '.join(arms)}"))
    given = [("endpoint", "endpoint", target.endpoint, [e.name for e in study.endpoints])]
    given += [(key, "arm", name, arms) for key, name in (("arm", target.arm), ("against", target.against)) if name]
    found += [unknown(key, kind, name, known) for key, kind, name, known in given if name not in known]
    for axis in study.axes:
        if len(axis.points) > 1 and target.at.get(axis.name) not in axis.points:
            allowed = ", ".join(f"{v:g}" for v in axis.points)
            found.append(Problem(f"at.{axis.name}", f"given {target.at.get(axis.name)}; allowed: {allowed}"))
    axes = [axis.name for axis in study.axes if len(axis.points) > 1]
    found += [unknown("at", "axis", name, axes) for name in target.at if name not in axes]
    return found


def _elsewhere(target: Target) -> list[Problem]:
    """What is wrong with a target that is a signature or a cohort."""
    from thrombojax.models.feedback.core import Obs
    from thrombojax.patients.population import cohort
    from thrombojax.models import struct
    from thrombojax.validation import signatures

    if target.signature is not None:
        rows = [row.name for row in signatures.rows()]
        columns = (*signatures.COLUMNS, *signatures.CHEMOTHERAPY)
        asked = [("signature", "row", target.signature, rows), ("column", "column", target.column or "", columns)]
    else:
        try:
            cohort(target.cohort or "")
        except InputError as error:
            return list(error.problems)
        asked = [("column", "observable", target.column or "", struct.names(Obs))]
    return [unknown(key, kind, name, known) for key, kind, name, known in asked if name not in known]


def interval(target: Target) -> tuple[float, float]:
    """Where the simulated number must lie: as given, or as the published number is printed."""
    if target.low is not None and target.high is not None:
        return target.low, target.high
    text = target.published or "nan"
    mantissa, _, power = text.partition("e")
    half = 0.5 * 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))
    value = float(text)
    room = max(half * (1 + 1e-9), REFERENCE_ERROR * abs(value))
    return value - room, value + room
