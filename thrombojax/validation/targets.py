"""What was published, as data: a file of `cases/` is a study with the numbers that a paper found in it.

A file names a study of `sweeps/`, or is one itself: the sections of a study stand beside `[[target]]`. Each target says which
number it is about, what was published, the interval that a simulation must lie in, and its source. The number is an endpoint of
the study; or, without a study, a column of a row of the signature matrix, or an observable of a cohort before any treatment.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from thrombojax.errors import InputError, Problem, unknown
from thrombojax.study import schema, tables
from thrombojax.study.messages import keys, problems, shown
from thrombojax.study.reducers import YES_NO
from thrombojax.study.schema import Study

HERE = Path(__file__).parent
FOLDER = HERE / "cases"
KINDS = ("reference", "clinical", "mechanistic")
STATISTICS = ("value", "mean", "median", "sd", "cv", "p5", "p95", "share", "share_at_or_above", "share_below")
ALONE: Mapping[str, tuple[str, ...]] = {
    "endpoint": ("column",),
    "signature": ("arm", "at", "against", "minus", "over", "among", "patient", "statistic"),
    "cohort": ("arm", "at", "against", "minus", "over", "among", "patient"),
}
"""Where a number may be found, one of them for each target; and the keys that do not go with it."""
REFERENCE_ERROR = 1e-6
"""Relative error of a reference number, where half a unit of its last printed digit is less (V1 to V4, and V6)."""


def _as_printed(value: Any) -> str:
    """A number as text: TOML numbers lose their last zeros, and how many digits are printed says how exact they are."""
    if isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", value):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return repr(value)
    raise ValueError('allowed: a number, or in quotes as it is printed, such as "331.470"')


Text = Annotated[str, Field(min_length=1, max_length=600)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Missed(_Section):
    """[target.missed]: of a number that is not met. why: the likely reason; tried: what was; data: what would settle it."""

    why: Text = Field(description="the likely reason")
    tried: Text = Field(description="what was tried")
    data: Text = Field(description="what data would settle it")


class Target(_Section):
    """[[target]]. at: value of each axis; against, minus: an arm, an endpoint whose number is taken off; over: an endpoint that
    each patient's value is divided by; among: an endpoint of yes and no, the patients with yes alone count; times: factor from
    the study's unit to the paper's; published: None where only a direction is; recalled: not read in the source, shown but not
    counted."""

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
    minus: Text | None = Field(None, description="an endpoint of the study")
    over: Text | None = Field(None, description="an endpoint of the study")
    among: Text | None = Field(None, description="an endpoint of the study that is yes or no")
    patient: Text | None = Field(None, description="an id of the patient table")
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
    missed: Missed | None = Field(None, description="a table with why, tried and data")


class Head(_Section):
    """The keys at the top of a file. rule: where the intervals come from."""

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
    """The cases of these names and kinds, all of them without, by kind; InputError with all that is wrong in their files."""
    known = names(folder)
    wrong = [unknown("CASE", "case or kind", name, (*KINDS, *known)) for name in wanted if name not in (*KINDS, *known)]
    if wrong:
        raise InputError(*wrong)
    cases = []
    for name in wanted if wanted and not set(wanted) & set(KINDS) else known:
        try:
            cases.append(read(folder / f"{name}.toml"))
        except InputError as error:
            wrong += error.problems
    if wrong:
        raise InputError(*wrong)
    chosen = {case.name: case for case in cases if not wanted or case.name in wanted or case.head.kind in wanted}
    return tuple(sorted(chosen.values(), key=lambda case: KINDS.index(case.head.kind)))


def read(path: Path) -> Case:
    """One file, checked against the study that it names or holds."""
    where, text = path.name, schema.text_of(path)
    raw = schema.toml(text, where)
    rows = raw.pop("target", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(Problem(f"{where}: target", f"given {shown(rows)}; allowed: sections written [[target]]"))
    inline = "schema" in raw or isinstance(raw.get("study"), dict)
    own = {key: raw.pop(key) for key in list(raw) if key in keys(Head) and not (inline and key == "study")}
    found: list[Problem] = []
    head = _checked(Head, own, found, where)
    before = len(found)
    study = _inline(raw, text, path, found) if inline else _named(head, raw, where, found)
    broken = len(found) > before
    if not rows:
        found.append(Problem(f"{where}: target", "is missing; needed: at least one [[target]]"))
    targets = [_checked(Target, row, found, where, "target", i) for i, row in enumerate(rows)]
    for i, target in enumerate(targets):
        if target is not None:
            if target.name in (other.name for other in targets[:i] if other is not None):
                found.append(Problem(f"{where}: target[{i + 1}].name", f"{target.name!r} is given twice"))
            wrong = _problems(target, head) + _places(target, study, broken)
            found += [Problem(f"{where}: target[{i + 1}].{p.where}", f"{target.name!r}: {p.message}") for p in wrong]
    if found or head is None:
        raise InputError(*found)
    return Case(path.stem, head, study, tuple(t for t in targets if t is not None))


def _checked(section: type[BaseModel], raw: Mapping[str, Any], found: list[Problem], where: str, *at: str | int) -> Any:
    try:
        return section.model_validate(raw)
    except ValidationError as error:
        found += [Problem(f"{where}: {p.where}", p.message) for p in problems(error, section, *at)]
        return None


def _inline(raw: dict[str, Any], text: str, path: Path, found: list[Problem]) -> Study | None:
    try:
        return schema.with_tables(schema.read(raw, text, str(path)))
    except InputError as error:
        found += [Problem(p.where.replace(str(path), path.name, 1), p.message) for p in error.problems]
        return None


def _named(head: Head | None, raw: Mapping[str, Any], where: str, found: list[Problem]) -> Study | None:
    found += [unknown(f"{where}: {key}", "key", key, keys(Head)) for key in raw]
    if head is None or head.study is None:
        return None
    known = {path.stem: path for path in sweeps().glob("*.toml")}
    if head.study not in known:
        found.append(unknown(f"{where}: study", "study", head.study, known))
        return None
    try:
        return schema.load(known[head.study])
    except InputError as error:
        found += error.problems
        return None


def _problems(target: Target, head: Head | None) -> list[Problem]:
    """What is wrong with a target by itself."""
    ends = [key for key in ("low", "high") if getattr(target, key) is not None]
    if target.published is None and (target.signature is None or len(ends) < 2):
        return [Problem("published", "is missing; only a direction that a signature has needs none")]
    exact = head is None or head.kind == "reference"
    if len(ends) == 1 or (not ends and not exact):
        return [Problem("low, high", "has no interval; needed: both ends, with their source in `rule`")]
    found: list[Problem] = []
    low, high = interval(target)
    if not low < high and not (exact and low == high):
        found.append(Problem("low, high", f"given {low:g} to {high:g}; allowed: low below high"))
    elif target.published is not None and not low <= float(target.published) <= high:
        message = f"given {target.published}, which is not in {low:g} to {high:g}, the interval to lie in"
        found.append(Problem("published", message))
    if (target.threshold is None) == target.statistic.startswith("share_"):
        message = f"belongs to share_at_or_above and share_below; statistic: {target.statistic}"
        found.append(Problem("threshold", message))
    return found


def _places(target: Target, study: Study | None, broken: bool) -> list[Problem]:
    """What is wrong with where a target finds its number. broken: there is a study, but it could not be read."""
    places = [key for key in ALONE if getattr(target, key) is not None]
    if len(places) != 1:
        said = f"given {', '.join(places) or 'none'}; allowed: one of them"
        return [Problem(", ".join(ALONE), said)]
    (place,) = places
    found = [Problem(key, f"does not go with {place}") for key in ALONE[place] if key in target.model_fields_set]
    if place == "signature":
        return found + _signature(target)
    if place == "cohort":
        return found + _cohort(target)
    if study is not None:
        return found + _endpoint(target, study)
    return found if broken else [*found, Problem("endpoint", "is of a study, and the file is none and names none")]


def _endpoint(target: Target, study: Study) -> list[Problem]:
    arms = [arm.name for arm in study.arms]
    found = []
    if target.arm is None and len(arms) > 1:
        found.append(Problem("arm", f"is missing; allowed: {', '.join(arms)}"))
    own = [e.name for e in study.endpoints]
    given = [("endpoint", "endpoint", target.endpoint or "", own)]
    yes_no = [e.name for e in study.endpoints if e.reducer in YES_NO]
    others = (("minus", target.minus, own), ("over", target.over, own), ("among", target.among, yes_no))
    given += [(key, "endpoint", name, known) for key, name, known in others if name is not None]
    given += [(key, "arm", name, arms) for key, name in (("arm", target.arm), ("against", target.against)) if name]
    found += [unknown(key, kind, name or "", known) for key, kind, name, known in given if name not in known]
    axes = {axis.name: axis.points for axis in study.axes if len(axis.points) > 1}
    for name, points in axes.items():
        if target.at.get(name) not in points:
            allowed = ", ".join(f"{v:g}" for v in points)
            found.append(Problem(f"at.{name}", f"given {target.at.get(name)}; allowed: {allowed}"))
    found += [unknown("at", "axis", name, axes) for name in target.at if name not in axes]
    ids = [] if study.table_path is None else tables.ids(study.table_path)
    if target.patient is not None and target.patient not in ids:
        found.append(unknown("patient", "patient", target.patient, ids))
    one = target.patient is not None or (study.patients.n or len(ids) or 1) == 1
    if (target.statistic == "value" and not one) or (target.statistic != "value" and target.patient is not None):
        message = (
            f"given {target.statistic}; allowed: value of one patient, of whom {len(ids) or study.patients.n} are there"
        )
        found.append(Problem("statistic", message))
    return found


def _signature(target: Target) -> list[Problem]:
    from thrombojax.validation import signatures

    rows = [row.name for row in signatures.rows()]
    columns = (*signatures.COLUMNS, *signatures.CHEMOTHERAPY)
    asked = [("signature", "row", target.signature, rows), ("column", "column", target.column, columns)]
    return [unknown(key, kind, name or "", known) for key, kind, name, known in asked if name not in known]


def _cohort(target: Target) -> list[Problem]:
    from thrombojax.models import struct
    from thrombojax.models.feedback.core import Obs
    from thrombojax.patients.population import cohort

    found = []
    try:
        cohort(target.cohort or "")
    except InputError as error:
        found += [Problem("cohort", p.message) for p in error.problems]
    if target.column not in struct.names(Obs):
        found.append(unknown("column", "observable", target.column or "", struct.names(Obs)))
    if target.statistic == "value":
        found.append(Problem("statistic", "value is of one patient, and a cohort has many"))
    return found


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
