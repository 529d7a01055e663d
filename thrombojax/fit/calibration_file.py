"""A calibration as data: which parameters are free, what they were before any data, and what was seen of typical people."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from thrombojax.errors import InputError, Problem, unknown
from thrombojax.study.messages import path, problems, shown
from thrombojax.study.sections import MAX_DAYS, Number, Text, _flat, _Section

SCHEMA = 1


class Head(_Section):
    """[calibration]"""

    name: Text = Field(description="text of 1 to 200 characters on one line")
    title: Text = Field(description="text of 1 to 200 characters on one line: what this set is")
    base: Text = Field(description="the name of a parameter set in quotes")
    starts: int = Field(8, ge=1, le=200, description="a whole number from 1 to 200")
    seed: int = Field(1, ge=0, lt=2**63, description="a whole number from 0")


class Free(_Section):
    """[[parameter]]: free within its plausible range, the 95 % interval of its prior; also: what moves in proportion."""

    name: Text = Field(description="the name of a parameter (`thrombojax info parameters`)")
    scale: Literal["log", "logit", "linear"] = Field("log", description="log, logit or linear")
    low: Number | None = Field(None, description="a finite number")
    high: Number | None = Field(None, description="a finite number")
    also: Annotated[tuple[Text, ...], Field(strict=False)] = Field((), description="a list of names of parameters")


class Target(_Section):
    """[[target]]: one number of a typical patient, with its uncertainty and its source."""

    name: Text = Field(description="text of 1 to 200 characters on one line")
    source: Text = Field(description="where the number is from")
    cohort: Text = Field("healthy", description="the name of a cohort, whose typical patient it is")
    regimen: Text = Field("none", description='a regimen sentence, such as "romiplostim 1 ug/kg sc once"')
    set: Annotated[dict[str, Number], BeforeValidator(_flat)] = Field(
        {}, description="finite numbers by the names of parameters"
    )
    observable: Text = Field("platelets", description="the name of an observable")
    reducer: Literal["value", "peak", "peak_day", "nadir", "nadir_day"] = Field(
        "value", description="value, peak, peak_day, nadir or nadir_day"
    )
    day: Number = Field(0.0, ge=0, le=MAX_DAYS, description="a day from 0")
    start: Number = Field(0.0, alias="from", ge=0, le=MAX_DAYS, description="a day from 0")
    stop: Number = Field(42.0, alias="to", gt=0, le=MAX_DAYS, description="a day more than 0")
    ratio: bool = Field(False, description="true or false: against the value on day 0")
    value: Number | None = Field(None, description="a finite number")
    sd: Number | None = Field(None, gt=0, description="a number more than 0")
    low: Number | None = Field(None, description="a finite number")
    high: Number | None = Field(None, description="a finite number")

    @property
    def log(self) -> bool:
        """Whether simulated and published are compared by their ratio; days are by their difference."""
        return not self.reducer.endswith("_day")

    @property
    def last(self) -> float:
        """The last day that it looks at."""
        return self.day if self.reducer == "value" else self.stop


@dataclass(frozen=True)
class File:
    """A valid calibration file; where: its path, as messages name it."""

    head: Head
    free: tuple[Free, ...]
    targets: tuple[Target, ...]
    text: str
    where: str

    def at(self, *parts: str | int) -> str:
        return f"{self.where}: {path(*parts)}"


def load(file: str | Path) -> File:
    """The calibration in a file, or an InputError with every problem in it."""
    where = str(file)
    try:
        text = Path(file).read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except OSError as error:
        raise InputError(Problem(where, f"cannot be read: {error.strerror or error}")) from None
    except ValueError as error:
        raise InputError(Problem(where, f"is not TOML: {error}")) from None
    found: list[Problem] = []
    known = ("schema", "calibration", "parameter", "target")
    found += [unknown(key, "section", key, known) for key in raw if key not in known]
    if raw.get("schema") != SCHEMA:
        found.append(Problem("schema", f"given {shown(raw.get('schema'))}; allowed: {SCHEMA}"))
    head = _read(Head, raw.get("calibration"), found, "calibration")
    free = _list(Free, raw, "parameter", found)
    targets = _list(Target, raw, "target", found)
    for i, target in enumerate(targets):
        if target is not None:
            found += _checked(target, i)
    for kind, names in (("target", [t.name for t in targets if t]), ("parameter", [p.name for p in free if p])):
        twice = sorted({name for name in names if names.count(name) > 1})
        found += [Problem(kind, f"{name!r} is given twice") for name in twice]
    if found:
        raise InputError(*(Problem(f"{where}: {p.where}", p.message) for p in found))
    return File(head, tuple(free), tuple(targets), text, where)


def _list(section: type[BaseModel], raw: dict[str, Any], name: str, found: list[Problem]) -> list[Any]:
    items = raw.get(name)
    if not isinstance(items, list) or not items:
        found.append(Problem(name, f"is missing; needed: at least one [[{name}]]"))
        return []
    return [_read(section, item, found, name, i) for i, item in enumerate(items)]


def _read(section: type[BaseModel], raw: Any, found: list[Problem], *at: str | int) -> Any:
    if not isinstance(raw, dict):
        found.append(Problem(path(*at), f"given {shown(raw)}; needed: a section"))
        return None
    try:
        return section.model_validate(raw)
    except ValidationError as error:
        found += problems(error, section, *at)
        return None


def _checked(t: Target, i: int) -> list[Problem]:
    """A target says a number and how sure it is: value and sd, or an interval (and where in it the value is)."""
    where = path("target", i)
    found = []
    if (t.low is None) != (t.high is None) or (t.sd is None) == (t.low is None):
        found.append(Problem(where, f"{t.name!r} has no interval; needed: sd, or low and high"))
    elif t.low is not None and t.high is not None and not t.low < t.high:
        found.append(Problem(f"{where}.high", f"given {t.high!r}; allowed: more than low = {t.low!r}"))
    elif t.value is None and t.low is None:
        found.append(Problem(f"{where}.value", "is missing; needed: it, or low and high"))
    elif t.log and min(x for x in (t.value, t.low) if x is not None) <= 0:
        found.append(Problem(where, f"{t.name!r} is not more than 0; needed: a number that ratios can be taken to"))
    if t.reducer != "value" and t.start >= t.stop:
        found.append(Problem(f"{where}.to", f"given {t.stop!r}; allowed: more than from = {t.start!r}"))
    return found
