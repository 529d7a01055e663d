"""A study file: read by tomllib, checked section by section, every error of the file reported at once.

Nothing in the file is evaluated, and nothing here imports JAX: names that only a model knows (cohorts, drugs,
parameters) are checked afterwards by `catalogue.check_against`.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from thrombojax.errors import InputError, Problem, unknown
from thrombojax.study import checks, optimising, sensitivity, virtual
from thrombojax.study.messages import keys, path, problems, shown
from thrombojax.study.sections import (
    Arm,
    Axis,
    Endpoint,
    Events,
    Fit,
    Head,
    Observation,
    Optimise,
    Output,
    Patients,
    Time,
)
from thrombojax.study.sensitivity import Sensitivity
from thrombojax.study.virtual import Omega, Population, Uncertainty

SCHEMA = 1
TABLES: dict[str, type[BaseModel]] = {
    "study": Head,
    "patients": Patients,
    "observation": Observation,
    "events": Events,
    "fit": Fit,
    "optimise": Optimise,
    "population": Population,
    "uncertainty": Uncertainty,
    "omega": Omega,
    "sensitivity": Sensitivity,
    "time": Time,
    "output": Output,
}
LISTS: dict[str, type[BaseModel]] = {"arm": Arm, "axis": Axis, "endpoint": Endpoint}
OPTIONAL = ("events", "fit", "optimise", "population", "uncertainty", "omega", "sensitivity")
"""Tables that are None where a file does not have them."""
SECTIONS = (
    "schema", "study", "patients", "omega", "uncertainty", "population", "observation", "events", "fit", "optimise",
    "sensitivity", "arm", "axis", "time", "endpoint", "output",
)  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True)
class Study:
    """A valid study file. Windows of endpoints are resolved: `endpoint.end` is never None.

    observation: None where the file has no such section; placebo_of: the arm whose visits and rescue the last arm has, a
    placebo arm that the file does not name; text: the file as read, for the provenance of the results; where: its path, as it
    is named in messages.
    """

    head: Head
    patients: Patients
    arms: tuple[Arm, ...]
    axes: tuple[Axis, ...]
    time: Time
    endpoints: tuple[Endpoint, ...]
    output: Output
    text: str
    where: str
    observation: Observation | None = None
    events: Events | None = None
    fit: Fit | None = None
    optimise: Optimise | None = None
    population: Population | None = None
    uncertainty: Uncertainty | None = None
    omega: Omega | None = None
    sensitivity: Sensitivity | None = None
    placebo_of: int | None = None

    @property
    def save_days(self) -> tuple[float, ...]:
        """Empty where no trajectories are asked for."""
        return self.time.save_days(self.head.days) if self.output.trajectories else ()

    @property
    def visit_days(self) -> tuple[float, ...]:
        return self.time.visit_days(self.head.days)

    @property
    def table_path(self) -> Path | None:
        """The patient table, found from the study file's folder."""
        return None if self.patients.table is None else Path(self.where).parent / self.patients.table

    @property
    def events_path(self) -> Path | None:
        """The event table, likewise."""
        return None if self.events is None else Path(self.where).parent / self.events.table

    def beside(self, file: str) -> Path:
        """A file that the study names, found from the study file's folder."""
        return Path(self.where).parent / file

    @property
    def files(self) -> dict[str, Path]:
        """Files that the sections of virtual populations name, by key path."""
        named: dict[str, str | None] = {}
        if self.uncertainty is not None:
            named = {
                "uncertainty.covariance": self.uncertainty.covariance,
                "uncertainty.estimates": self.uncertainty.estimates,
            }
        if self.omega is not None:
            named["omega.table"] = self.omega.table
        for i, target in enumerate(self.population.target if self.population is not None else ()):
            named[path("population", "target", i, "table")] = target.table
        return {key: self.beside(file) for key, file in named.items() if file is not None}

    def at(self, *parts: str | int) -> str:
        """Where a message points: study.at("arm", 1, "regimen") is `study.toml: arm[2].regimen`."""
        return f"{self.where}: {path(*parts)}"

    def override(self, **changes: Any) -> "Study":
        """The study with keys of [study] or [patients] from the command line; None leaves what the file says."""
        given = {key: value for key, value in changes.items() if value is not None}
        head = {key: value for key, value in given.items() if key in Head.model_fields}
        people = {key: value for key, value in given.items() if key in Patients.model_fields}
        return replace(self, head=self.head.model_copy(update=head), patients=self.patients.model_copy(update=people))


def load(file: str | Path) -> Study:
    """The study in a file, or an InputError with every problem in it."""
    return with_tables(parse(text_of(file), str(file)))


def text_of(file: str | Path) -> str:
    """What stands in a file."""
    try:
        return Path(file).read_bytes().decode("utf-8-sig")  # TOML refuses the byte order mark of Windows editors
    except OSError as error:
        raise InputError(Problem(str(file), f"cannot be read: {error.strerror or error}")) from None
    except ValueError as error:  # not text, or a path with a null byte
        raise InputError(Problem(str(file), f"is not a text file in UTF-8: {error}")) from None


def with_tables(study: Study) -> Study:
    """The study, where the tables that it names are there; InputError where not."""
    if study.table_path is not None and not study.table_path.is_file():
        raise InputError(Problem(study.at("patients", "table"), f"there is no file {str(study.table_path)!r}"))
    if study.events_path is not None and not study.events_path.is_file():
        raise InputError(Problem(study.at("events", "table"), f"there is no file {str(study.events_path)!r}"))
    missing = [(key, file) for key, file in study.files.items() if not file.is_file()]
    if missing:
        raise InputError(
            *(Problem(f"{study.where}: {key}", f"there is no file {str(file)!r}") for key, file in missing)
        )
    return study


def parse(text: str, where: str = "study") -> Study:
    """The study in a text; `where` names it in messages."""
    return read(toml(text, where), text, where)


def read(raw: Mapping[str, Any], text: str = "", where: str = "study") -> Study:
    """The study in a document that tomllib has read."""
    try:
        return _study(raw, text, where)
    except InputError as error:
        raise InputError(*(Problem(f"{where}: {p.where}", p.message) for p in error.problems)) from None


def toml(text: str, where: str) -> dict[str, Any]:
    """The document in a text; InputError with line and column where it is none."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise InputError(Problem(where, "is not a study file: lists or tables nested too deep")) from None
    except ValueError as error:  # TOMLDecodeError, or an integer of thousands of digits
        said = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error), re.DOTALL)
        if said is None:
            raise InputError(Problem(where, f"is not TOML: {error}")) from None
        lines = text.split("\n")
        line, column = (said[2], said[3]) if said[2] else (len(lines), len(lines[-1]) + 1)
        raise InputError(Problem(where, f"is not TOML: line {line}, column {column}: {said[1]}")) from None


@dataclass(frozen=True)
class _Read:
    """One section as far as it was right: its value or None, the keys right by themselves, the names of the others."""

    value: Any
    given: Mapping[str, Any]
    wrong: set[str]


def _study(raw: Mapping[str, Any], text: str, where: str) -> Study:
    found: list[Problem] = _top(raw)
    tables = {name: _read(section, raw.get(name), found, name) for name, section in TABLES.items()}
    lists = {
        name: [_read(section, item, found, name, i) for i, item in enumerate(_list(raw, name, found))]
        for name, section in LISTS.items()
    }
    head, patients, observation, events, fit, optimise, population, uncertainty, omega, sense, time, output = (
        tables[name] for name in TABLES
    )
    arms, axes, endpoints = (lists[name] for name in LISTS)
    days = head.given.get("days")
    planned = optimise.given.get("days") if "events" in raw else None  # of individual plans, which endpoints are about
    if isinstance(raw.get("patients"), dict):
        found += checks.patients(patients.given, patients.wrong, "events" in raw, "sensitivity" in raw)
    found += checks.recorded(raw)
    found += checks.fit(raw, fit.given)
    found += optimising.check(raw, optimise.given)
    found += sensitivity.check(raw, sense.given, sense.wrong)
    found += virtual.check(raw)
    found += checks.time(time.given, days)
    found += checks.output(output.given, "save" in time.given or "save" in time.wrong)
    for i, read in enumerate(axes):
        found += checks.axis(i, read.given, read.wrong)
    for i, read in enumerate(endpoints):
        found += checks.endpoint(i, read.given, read.wrong, planned or days)
    arms_given, endpoints_given = ([read.given for read in reads] for reads in (arms, endpoints))
    # An axis whose parameter is wrong has one all the same: it needs no placeholder.
    axes_given = [{**r.given, **({"parameter": None} if "parameter" in r.wrong else {})} for r in axes]
    found += checks.names(arms_given, axes_given, endpoints_given, output.given)
    if "visits" not in time.wrong:
        found += checks.responses(endpoints_given, time.given, days)
    draws = uncertainty.given.get("draws", 1)
    found += checks.size(patients.given.get("n"), len(arms) * (draws if isinstance(draws, int) else 1), axes_given)
    if "sensitivity" in raw:
        holes = [dict(hole) for hole in sensitivity.placeholders(raw)]
        said = checks.regimens(arms_given, holes, days, any("regimen" in read.wrong for read in arms))
        found += sensitivity.of_factors(said, raw)
    else:
        found += checks.regimens(arms_given, axes_given, days, any("regimen" in read.wrong for read in arms))
    if "arm" not in raw and "events" not in raw:
        found.append(Problem("arm", 'is missing; needed: at least one [[arm]] with a name, such as name = "untreated"'))
    if (
        "endpoint" not in raw
        and "fit" not in raw
        and not output.given.get("trajectories")
        and "trajectories" not in output.wrong
    ):
        message = "is missing; needed: at least one [[endpoint]], or trajectories = true in [output]"
        found.append(Problem("endpoint", message))
    if found:
        raise InputError(*sorted(found, key=_order))
    ends = {"end": planned or head.value.days}
    windows = (e.value if e.value.end is not None else e.value.model_copy(update=ends) for e in endpoints)
    given, placebo_of = _with_placebo(head.value, tuple(read.value for read in arms))
    return Study(
        head.value,
        patients.value,
        given,
        tuple(read.value for read in axes),
        time.value,
        tuple(windows),
        output.value,
        text,
        where,
        observation.value if "observation" in raw else None,
        events.value if "events" in raw else None,
        fit.value if "fit" in raw else None,
        optimise.value,
        population.value,
        uncertainty.value,
        omega.value,
        sense.value,
        placebo_of,
    )


def _with_placebo(head: Head, arms: tuple[Arm, ...]) -> tuple[tuple[Arm, ...], int | None]:
    """The arms, with a placebo arm where one is titrated and none goes without a drug (unless the study says no)."""
    if not arms:  # what was given is in a table
        return (Arm.model_validate({"name": "as recorded"}),), None
    first = next((i for i, arm in enumerate(arms) if arm.policy is not None), None)
    without = any(arm.policy is None and arm.regimen is None for arm in arms)
    wanted = head.placebo if head.placebo is not None else first is not None and not without
    if not wanted or any(arm.name == "placebo" for arm in arms):
        return arms, None
    return (*arms, Arm.model_validate({"name": "placebo"})), 0 if first is None else first


def _top(raw: Mapping[str, Any]) -> list[Problem]:
    found = [unknown(path(key), "section", key, SECTIONS) for key in raw if key not in SECTIONS]
    version = raw.get("schema")
    if version is None:
        found.append(Problem("schema", f"is missing; needed: schema = {SCHEMA} as the first line"))
    elif version != SCHEMA or isinstance(version, bool | float):
        found.append(Problem("schema", f"given {shown(version)}; allowed: {SCHEMA}"))
    without = "events" in raw or "sensitivity" in raw  # these say themselves who the patients are
    needed = (name for name in ("study", "patients") if name not in raw and not (name == "patients" and without))
    found += [Problem(name, f"is missing; needed: the section [{name}]") for name in needed]
    return found


def _list(raw: Mapping[str, Any], name: str, found: list[Problem]) -> Sequence[Any]:
    items = raw.get(name, [])
    if isinstance(items, dict):
        found.append(Problem(name, f"is written [{name}]; allowed: [[{name}]], with two brackets, once for each"))
        return []
    if not isinstance(items, list) or (name in raw and not items):
        found.append(Problem(name, f"given {shown(items)}; allowed: sections written [[{name}]]"))
        return []
    return items


def _read(section: type[BaseModel], raw: Any, found: list[Problem], *at: str | int) -> _Read:
    if raw is None and at[0] in OPTIONAL:
        return _Read(None, {}, set())
    if raw is None and at[0] in ("time", "output", "observation"):
        return _Read(section(), {}, set())
    if raw is None and at[0] == "patients" and not any(p.where == "patients" for p in found):
        return _Read(section(), {}, set())  # those of an event table
    if raw is None:  # `_top` says that it is missing
        return _Read(None, {}, set(keys(section)))
    if not isinstance(raw, dict):
        header = f"[{at[0]}]" if len(at) == 1 else f"[[{at[0]}]]"
        found.append(Problem(path(*at), f"given {shown(raw)}; allowed: a section written {header}"))
        return _Read(None, {}, set(keys(section)))
    try:
        value, wrong = section.model_validate(raw), set()
    except ValidationError as error:
        value, wrong = None, {str(e["loc"][0]) for e in error.errors(include_url=False)}
        found += problems(error, section, *at)
    return _Read(value, {key: item for key, item in raw.items() if key not in wrong}, wrong)


def _order(problem: Problem) -> tuple[int, int]:
    """Sections in the order of the schema, their members together."""
    name, number = re.match(r"([^.\[]*)(?:\[(\d+)\])?", problem.where).groups()  # type: ignore[union-attr]
    return (SECTIONS.index(name) if name in SECTIONS else -1), int(number or 0)
