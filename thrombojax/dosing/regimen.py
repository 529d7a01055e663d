"""Regimens as plain data: which drug, how much, by which route, on which days; and their printed form.

A `Dose` holds one drug at one amount with the days of its administrations, a `Regimen` a tuple of them. Both check
and normalise what they are given, so every one that exists is valid and `sentence.regimen(str(r)) == r`.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from thrombojax.errors import InputError, Problem, unknown

MOST_DOSES = 100_000

# Words that start something in a sentence, so no drug may be called so.
KEYWORDS = ("once", "daily", "weekly", "every", "at", "on", "over", "from", "then", "and", "x", "none", "day", "days")

ROUTES = {
    "sc": "sc",
    "s.c.": "sc",
    "subcutaneous": "sc",
    "iv": "iv",
    "i.v.": "iv",
    "intravenous": "iv",
    "oral": "oral",
    "po": "oral",
    "p.o.": "oral",
    "procedure": "procedure",
}

_QUANTITIES = ("pg", "ng", "ug", "mg", "g", "pmol", "nmol", "umol", "mmol", "U", "IU", "Mcells")
COUNT_RISE = "1/nL"  # a platelet transfusion is given as the rise of the count it causes, in 1e9/L
# fold: of the healthy level; %: of what there is; course: of chemotherapy. Mcells: 1e6 cells.
_PLAIN = (COUNT_RISE, "fold", "%", "course")
UNITS = (*_QUANTITIES, *(f"{q}/kg" for q in _QUANTITIES), *(f"{q}/m2" for q in _QUANTITIES), *_PLAIN)
UNITS_HELP = f"{', '.join(_QUANTITIES)}, each also per kg or m2 as in ug/kg, {', '.join(_PLAIN)}"
# No two units differ only by case, so a different case is read as the same unit.
_UNIT_BY_LOWER = {unit.lower(): unit for unit in UNITS}
_COUNT_RISE_ALIASES = ("1e9/l", "10^9/l", "10⁹/l", "10**9/l")

_DRUG = re.compile(r"[a-z][a-z0-9_.\-]*", re.ASCII)


class Unit(NamedTuple):
    """A unit of time: `number` of it are `number * multiply / divide` days, one rounding for whole hours of a day."""

    multiply: int
    divide: int


MINUTE, HOUR, DAY, WEEK = Unit(1, 1440), Unit(1, 24), Unit(1, 1), Unit(7, 1)


def series(start: float, interval: float, unit: Unit, count: int) -> tuple[float, ...]:
    """Days of `count` doses, one every `interval` of `unit`, the first on day `start`."""
    return tuple(start + k * interval * unit.multiply / unit.divide for k in range(count))


def unit_name(text: str) -> str | None:
    """The unit as thrombojax writes it (µg and mcg are ug, 1e9/L is 1/nL), or None if it is not one."""
    low = text.strip().lower().replace("µ", "u").replace("μ", "u").replace("²", "2")
    if low.startswith("mcg"):
        low = "ug" + low[3:]
    return COUNT_RISE if low in _COUNT_RISE_ALIASES else _UNIT_BY_LOWER.get(low)


def drug_name(text: str) -> str | None:
    """The drug's name in lower case, or None if it cannot be one (a keyword, a route, or not a plain word)."""
    low = text.strip().lower()
    return low if _DRUG.fullmatch(low) and low not in KEYWORDS and low not in ROUTES else None


def _number(where: str, value: Any, problems: list[Problem], kind: str) -> float:
    """A finite, non-negative float; otherwise a problem is added and 0 returned."""
    try:
        if isinstance(value, str | bytes | bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        problems.append(Problem(where, f"{kind} must be a number, got {value!r}"))
        return 0.0
    if not math.isfinite(number):
        problems.append(Problem(where, f"{kind} must be finite, got {number}"))
    elif number < 0:
        problems.append(Problem(where, f"{kind} must not be negative, got {plain(number)}"))
    return number + 0.0 if number != 0 else 0.0  # no negative zero: it would print with a sign


@dataclass(frozen=True)
class Dose:
    """One drug at one amount, given at one or more times.

    drug: its name, lower case; amount: in `unit`, per administration (0 is allowed: a baseline arm); unit: as on the
    label, such as `ug/kg`; route: sc, iv or oral; times: days at which each administration starts, ascending, all
    different; duration: of each administration in days, 0 for a bolus. Whether a model has the drug by that route and
    in that unit is checked where the model is known. Raises InputError with everything that is wrong.
    """

    drug: str
    amount: float
    unit: str
    route: str
    times: tuple[float, ...]
    duration: float = 0.0

    def __post_init__(self) -> None:
        problems: list[Problem] = []
        drug = drug_name(str(self.drug))
        if drug is None:
            problems.append(Problem("dose: drug", f"not a drug's name: {self.drug!r}"))
        unit = unit_name(str(self.unit))
        if unit is None:
            problems.append(Problem("dose: unit", f"unknown unit {self.unit!r}; allowed: {UNITS_HELP}"))
        route = ROUTES.get(str(self.route).lower())
        if route is None:
            problems.append(unknown("dose: route", "route", str(self.route), ROUTES))
        amount = _number("dose: amount", self.amount, problems, "an amount")
        duration = _number("dose: duration", self.duration, problems, "a duration")
        times = _times(self.times, problems)
        if problems:
            raise InputError(*problems)
        values = {"drug": drug, "unit": unit, "route": route, "amount": amount, "duration": duration, "times": times}
        for name, value in values.items():
            object.__setattr__(self, name, value)


def _times(given: Any, problems: list[Problem]) -> tuple[float, ...]:
    """Ascending days; problems are added for what is not a list of different, finite, non-negative days."""
    where = "dose: times"
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        problems.append(Problem(where, f"must be a list of days, got {given!r}"))
        return ()
    found: list[Problem] = []
    times = sorted(_number(where, day, found, "a day") for day in given)
    if found:
        problems.append(found[0])  # one is enough: a list may hold thousands
    elif not times:
        problems.append(Problem(where, "there must be at least one"))
    elif len(times) > MOST_DOSES:
        problems.append(Problem(where, f"at most {MOST_DOSES} doses, got {len(times)}"))
    else:
        twice = next((a for a, b in pairwise(times) if a == b), None)
        if twice is not None:
            problems.append(Problem(where, f"day {plain(twice)} is given twice (or the interval is too short)"))
    return tuple(times)


@dataclass(frozen=True)
class Regimen:
    """Everything a patient is given. `a + b` gives both; `str` is a sentence that parses back to an equal regimen."""

    doses: tuple[Dose, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.doses, Sequence) or not all(isinstance(d, Dose) for d in self.doses):
            raise InputError(Problem("regimen: doses", f"must be a tuple of Dose, got {self.doses!r:.200}"))
        total = sum(len(d.times) for d in self.doses)
        if total > MOST_DOSES:
            raise InputError(Problem("regimen: doses", f"at most {MOST_DOSES} doses in all, got {total}"))
        object.__setattr__(self, "doses", tuple(self.doses))

    def __add__(self, other: "Regimen") -> "Regimen":
        return Regimen(self.doses + other.doses) if isinstance(other, Regimen) else NotImplemented

    @property
    def drugs(self) -> tuple[str, ...]:
        """Names of the drugs, each once, in the order they are first named."""
        return tuple(dict.fromkeys(dose.drug for dose in self.doses))

    @property
    def last_day(self) -> float:
        """Day on which the last administration starts; 0 for no treatment."""
        return max((dose.times[-1] for dose in self.doses), default=0.0)

    def __str__(self) -> str:
        return _sentence(self.doses)


def dose(
    drug: str,
    amount: float,
    unit: str,
    route: str,
    *,
    times: Iterable[float] | None = None,
    every: float | None = None,
    count: int | None = None,
    start: float = 0.0,
    duration: float = 0.0,
) -> Regimen:
    """A regimen from parts: at `times`, or `count` doses every `every` days from day `start`, or one dose at `start`.

    All times and the duration are in days. Raises InputError.
    """
    if times is not None:
        if every is not None or count is not None or start != 0.0:
            raise InputError(Problem("dose", "give `times`, or `every`, `count` and `start`, not both"))
        return Regimen((Dose(drug, amount, unit, route, times, duration),))  # type: ignore[arg-type]
    if (every is None) != (count is None):
        raise InputError(Problem("dose", "`every` and `count` go together"))
    problems: list[Problem] = []
    first = _number("dose: start", start, problems, "a day")
    interval = _number("dose: every", 1.0 if every is None else every, problems, "an interval")
    number = whole_count(1.0 if count is None else _number("dose: count", count, problems, "a count"))
    if isinstance(number, str):
        problems.append(Problem("dose: count", number))
    if interval == 0 and not problems:
        problems.append(Problem("dose: every", "an interval must be more than 0"))
    if problems or isinstance(number, str):
        raise InputError(*problems)
    return Regimen((Dose(drug, amount, unit, route, series(first, interval, DAY, number), duration),))


def whole_count(number: float) -> int | str:
    """A number of doses, or what is wrong with it."""
    if not math.isfinite(number) or number != int(number):
        return f"the number of doses must be whole, got {plain(number)}"
    if number < 1:
        return f"the number of doses must be at least 1, got {plain(number)}"
    return int(number) if number <= MOST_DOSES else f"at most {MOST_DOSES} doses, got {plain(number)}"


# ---- printing ----


def plain(number: float) -> str:
    """The shortest text that reads back as the same float: 3, 0.5, 1e+22."""
    return repr(float(number)).removesuffix(".0")


def _sentence(doses: tuple[Dose, ...]) -> str:
    text, previous, free = "", None, 0.0
    for given in doses:
        schedule, end = _schedule(given.times)
        absolute = schedule.startswith("at ")
        if previous is not None and _same_but_amount(given, previous):
            start = "" if absolute or given.times[0] == free else f" from day {plain(given.times[0])}"
            text += f" then {plain(given.amount)} {given.unit} {schedule}{start}"
        else:
            start = "" if absolute or given.times[0] == 0 else f" from day {plain(given.times[0])}"
            over = f" over {_duration(given.duration)}" if given.duration else ""
            text += " and " if text else ""
            text += f"{given.drug} {plain(given.amount)} {given.unit} {given.route}{over} {schedule}{start}"
        previous, free = given, math.nan if end is None else end
    return text or "none"


def _same_but_amount(a: Dose, b: Dose) -> bool:
    return (a.drug, a.unit, a.route, a.duration) == (b.drug, b.unit, b.route, b.duration)


def _schedule(times: tuple[float, ...]) -> tuple[str, float | None]:
    """The schedule's words, and the day a following `then` would start at (None where that is not defined).

    Only words that give exactly these floats are used; `at days` always does.
    """
    if len(times) == 1:
        return "once", None
    gap = times[1] - times[0]
    choices = [("daily", 1.0, DAY), ("weekly", 1.0, WEEK)]
    for name, unit in (("days", DAY), ("h", HOUR), ("min", MINUTE)):
        interval = round(gap * unit.divide, 9)
        choices.append((f"every {plain(interval)} {name}", interval, unit))
    choices.append((f"every {plain(gap)} days", gap, DAY))
    for words, interval, unit in choices:
        if interval > 0 and times == series(times[0], interval, unit, len(times)):
            end = series(times[0], interval, unit, len(times) + 1)[-1]
            return f"{words} x {len(times)}", end
    return f"at days {' '.join(plain(day) for day in times)}", None


def _duration(days: float) -> str:
    """The duration's words that give exactly this float, the shortest of them."""
    choices = [f"{plain(days)} days"]
    for name, unit in (("h", HOUR), ("min", MINUTE)):
        number = round(days * unit.divide, 9)
        if number * unit.multiply / unit.divide == days:
            choices.append(f"{plain(number)} {name}")
    return min(choices, key=len)
