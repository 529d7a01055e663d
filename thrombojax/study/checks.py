"""What the keys of a study file say together: numbers that go with a reducer, doses inside the horizon, unique names.

Each function takes the keys that were right by themselves (`given`, as in the file), so one wrong key does not hide
what is wrong elsewhere; a key that is absent or was wrong is not in `given`, and nothing is concluded from it.
"""

import itertools
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from thrombojax.errors import InputError, Problem, unknown
from thrombojax.study.messages import path
from thrombojax.study.reducers import NUMBERS, REDUCERS
from thrombojax.study.sections import MAX_TIMES, spread, times

Given = Mapping[str, Any]

RESERVED = (
    "arm", "time", "visit", "trial", "draw", "patient", "status", "prevalence_weight", "parameters", "ledger", "uncertainty",
    "provenance",
)  # fmt: skip
"""Names that the results file uses for itself."""
TIMES = ("days", "hours", "minutes", "seconds", "milliseconds", "microseconds", "nanoseconds")
MAX_TRAJECTORIES = 10**12
MAX_CELLS = 10**5
MAX_SENTENCES = 500
"""Grid points at which one arm's sentence is tried; the plan meets the rest."""


def recorded(raw: Given) -> list[Problem]:
    """A study of an event table has no arms of its own, and nothing that is for arms."""
    if "events" not in raw:
        return []
    message = "does not go with [events]: the table says what is given"
    found = [Problem("arm", message)] if "arm" in raw else []
    return [*found, *([Problem("observation", "does not go with [events] yet")] if "observation" in raw else [])]


def fit(raw: Given, given: Given) -> list[Problem]:
    """Counts to fit are in an event table; nothing varies but what is fitted."""
    if "fit" not in raw:
        return []
    found = [Problem("fit", "needs [events], which has the counts")] if "events" not in raw else []
    found += [Problem("axis", "does not go with [fit]")] if "axis" in raw else []
    if given.get("error", "log") == "log" and given.get("additive_sd"):
        found.append(
            Problem("fit.additive_sd", 'goes with error = "normal"; a log-normal error has a residual_cv alone')
        )
    return found


def patients(given: Given, wrong: set[str], events: bool = False, sensitivity: bool = False) -> list[Problem]:
    """Exactly one source of patients, and n where the source has no end; those of an event table are in it."""
    if sensitivity:  # its factors make the patients, from a cohort or the model's typical one
        return []
    if events:
        message = "does not go with [events], whose table has the patients; allowed: cohort, sampler, overrides"
        return [Problem(f"patients.{key}", message) for key in ("table", "n", "entry", "trials") if key in given]
    has_cohort, has_table = ("cohort" in given or "cohort" in wrong), ("table" in given or "table" in wrong)
    if has_cohort and has_table:
        return [Problem("patients", "has both cohort and table; allowed: exactly one of them")]
    if not has_cohort and not has_table:
        return [Problem("patients", "has neither cohort nor table; allowed: exactly one of them")]
    if has_cohort and "n" not in given and "n" not in wrong:
        return [Problem("patients.n", "is missing; needed: how many patients to draw, such as n = 10_000")]
    return []


def axis(at: int, given: Given, wrong: set[str]) -> list[Problem]:
    """Values, or from, to and count; log spacing of positive numbers; scale only of a parameter."""
    found: list[Problem] = []
    where = path("axis", at)
    grid = [key for key in ("from", "to", "count", "spacing") if key in given or key in wrong]
    if "values" in given or "values" in wrong:
        message = "does not go with values; allowed: values, or from, to and count"
        found += [Problem(f"{where}.{key}", message) for key in grid]
    else:
        found += [
            Problem(f"{where}.{key}", "is missing; needed: values = [...], or from, to and count")
            for key in ("from", "to", "count")
            if key not in grid
        ]
    twice = _repeated(given.get("values", ()))
    if twice:
        message = f"has {', '.join(map(repr, twice))} more than once; allowed: different numbers"
        found.append(Problem(f"{where}.values", message))
    start, stop = given.get("from"), given.get("to")
    if start is not None and stop is not None and start >= stop:
        found.append(Problem(f"{where}.to", f"given {stop!r}; allowed: more than from = {start!r}"))
    if given.get("spacing") == "log" and start is not None and start <= 0:
        found.append(Problem(f"{where}.from", f"given {start!r}; allowed: more than 0, for log spacing"))
    if given.get("scale") and "parameter" not in given and "parameter" not in wrong:
        found.append(Problem(f"{where}.scale", "needs a parameter to multiply"))
    if given.get("name") in RESERVED:
        found.append(Problem(f"{where}.name", f"given {given['name']!r}, which the results file uses for itself"))
    unit = given.get("unit", "")
    if unit in TIMES:
        found.append(
            Problem(f"{where}.unit", f"given {unit!r}, which xarray would turn into dates; allowed: {unit[:-1]!r}")
        )
    elif unit[:1].isdigit() and unit != "1" and not unit.startswith("1/"):
        message = f"given {unit!r}; allowed: a unit without a scaling factor (1e9/L is written 1/nL)"
        found.append(Problem(f"{where}.unit", message))
    return found


def endpoint(at: int, given: Given, wrong: set[str], days: float | None) -> list[Problem]:
    """The reducer's numbers, all of them and no others; a window inside the study."""
    found: list[Problem] = []
    where = path("endpoint", at)
    end = given.get("to", days)
    if "from" in given or "to" in given:
        start = given.get("from", 0.0)
        if end is not None and start >= end:
            found.append(Problem(where, f"has the window from {start!r} to {end!r}; allowed: from before to"))
    for key in ("to", "day"):
        if days is not None and given.get(key, 0.0) > days:
            message = f"given {given[key]!r}; allowed: at most {days!r}, the days of the study"
            found.append(Problem(f"{where}.{key}", message))
    if "low" in given and "high" in given and given["low"] >= given["high"]:
        found.append(Problem(f"{where}.high", f"given {given['high']!r}; allowed: more than low = {given['low']!r}"))
    if given.get("name") in RESERVED:
        found.append(Problem(f"{where}.name", f"given {given['name']!r}, which the results file uses for itself"))
    reducer = given.get("reducer")
    if reducer is None:
        return found
    asks = REDUCERS[reducer]
    for key in asks.needs:
        if key not in given and key not in wrong:
            found.append(Problem(f"{where}.{key}", f"is missing; needed by the reducer {reducer}"))
    takes = {
        *asks.needs,
        *asks.may,
        *(("from", "to") if asks.window else ()),
        *(("observable", "relative") if asks.observable else ()),
    }
    for key in (*NUMBERS, "from", "to", "observable", "relative"):
        if key not in takes and (key in given or key in wrong):
            also = ", ".join(sorted(takes)) or "no other keys"
            found.append(Problem(f"{where}.{key}", f"does not go with the reducer {reducer}; allowed: {also}"))
    return found


def time(given: Given, days: float | None) -> list[Problem]:
    """Save and visit days inside the study, and not more of them than a results file can hold."""
    found = []
    for key in ("save", "visits"):
        spec = given.get(key)
        where = path("time", key)
        if spec is None or days is None:
            continue
        if isinstance(spec, list):
            if len(spec) > MAX_TIMES:
                found.append(Problem(where, f"given {len(spec)} days; allowed: at most {MAX_TIMES}"))
            if spec[-1] > days:
                found.append(Problem(where, f"has day {spec[-1]!r}; allowed: at most {days!r}, the days of the study"))
        elif days / spec > MAX_TIMES:
            found.append(Problem(where, f"given {spec!r}, which makes more than {MAX_TIMES} times in {days!r} days"))
    return found


def responses(endpoints: Sequence[Given], given: Given, days: float | None) -> list[Problem]:
    """A response is counted at visits: a window without any would count nothing for everybody."""
    spec = given.get("visits", 7.0)
    if days is None or time({"visits": spec}, days):
        return []
    visits = times(tuple(spec) if isinstance(spec, list) else spec, days)
    found = []
    for i, section in enumerate(endpoints):
        start, end = section.get("from", 0.0), section.get("to", days)
        counts = section.get("reducer") in REDUCERS and REDUCERS[section["reducer"]].visits
        if counts and start < end and not any(start <= v <= end for v in visits):
            message = (
                f"has no visit from day {start!r} to day {end!r}; needed: visits in [time] that fall in its window"
            )
            found.append(Problem(path("endpoint", i), message))
    return found


def output(given: Given, has_save: bool) -> list[Problem]:
    found = []
    if given.get("trajectories") and not has_save:
        message = "given true, but [time] has no save; needed: when to save, such as save = 1"
        found.append(Problem("output.trajectories", message))
    twice = _repeated(given.get("observables", ()))
    if twice:
        found.append(Problem("output.observables", f"has {', '.join(map(repr, twice))} more than once"))
    return found


def names(arms: Sequence[Given], axes: Sequence[Given], endpoints: Sequence[Given], output: Given) -> list[Problem]:
    """No two arms of one name; no two axes, endpoints or trajectories, for these lie side by side in the results."""
    found: list[Problem] = []
    saved = output.get("observables", ["platelets"]) if output.get("trajectories") else []
    trajectories = {name: "a trajectory in [output]" for name in saved}
    first: dict[str, str]
    for first, *kinds in (({}, ("arm", arms)), (trajectories, ("axis", axes), ("endpoint", endpoints))):
        for kind, sections in kinds:
            for i, section in enumerate(sections):
                name = section.get("name")
                name = name.strip() if isinstance(name, str) else None
                where = path(kind, i)
                if name is not None and first.setdefault(name, where) != where:
                    message = f"given {name!r}, which is the name of {first[name]} already"
                    found.append(Problem(f"{where}.name", message))
    return found


def size(n: int | None, arms: int, axes: Sequence[Given]) -> list[Problem]:
    """The grid is a product: say so before it asks for more than any disk."""
    cells = max(arms, 1)
    for a in axes:
        cells *= max(len(_points(a)), 1)
    runs = (n or 1) * cells
    if runs <= MAX_TRAJECTORIES:
        message = f"arms x axes are {cells} cells; allowed: at most {MAX_CELLS}"
        return [Problem("axis", message)] if cells > MAX_CELLS else []
    message = f"patients x arms x axes are {float(min(runs, 10**300)):.1e} trajectories; allowed: at most 1e12"
    return [Problem("axis", message)]


def holes_in(value: Any) -> tuple[str, ...]:
    """Placeholders of a policy: texts that are nothing but a name in braces, at any depth, each once."""
    if isinstance(value, Mapping):
        return tuple(dict.fromkeys(hole for item in value.values() for hole in holes_in(item)))
    if isinstance(value, list):
        return tuple(dict.fromkeys(hole for item in value for hole in holes_in(item)))
    said = re.fullmatch(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", value) if isinstance(value, str) else None
    return (said[1],) if said else ()


def filled(value: Any, numbers: Mapping[str, float]) -> Any:
    """A policy with numbers in place of its placeholders."""
    if isinstance(value, Mapping):
        return {key: filled(item, numbers) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, numbers) for item in value]
    return numbers[holes_in(value)[0]] if holes_in(value) else value


def regimens(
    arms: Sequence[Given], axes: Sequence[Given], days: float | None, some_wrong: bool = False
) -> list[Problem]:
    """Every sentence parses at every grid point, placeholders have their axes, no dose is at or after the horizon.

    some_wrong: an arm's regimen could not be read, so an axis that seems unused may not be.
    """
    from thrombojax import dosing  # here, because `info` and `--help` need none of it

    grids = {a["name"]: _points(a) for a in axes if "name" in a and "parameter" not in a}
    bound = {a["name"]: i for i, a in enumerate(axes) if "name" in a and "parameter" in a}
    found: list[Problem] = []
    used: set[str] = set()
    for i, arm in enumerate(arms):
        for hole in holes_in(arm.get("policy")):
            used.add(hole)
            if hole not in grids and all("name" in a for a in axes):
                message = f"has the placeholder {{{hole}}}: needs an axis of that name without a parameter"
                found.append(Problem(path("arm", i, "policy"), message))
        text = arm.get("regimen")
        if text is None:
            continue
        where = path("arm", i, "regimen")
        try:
            holes = tuple(dosing.placeholders(text))
        except InputError as error:
            found += [Problem(where, p.message) for p in error.problems]
            some_wrong = True
            continue
        used.update(holes)
        for hole in holes:
            if hole in bound:
                message = f"has {{{hole}}}, but {path('axis', bound[hole])} sets a parameter; allowed: one or the other"
                found.append(Problem(where, message))
            elif hole not in grids and all("name" in a for a in axes):
                message = unknown(where, "axis", hole, grids).message if grids else f"needs an axis named {hole!r}"
                found.append(Problem(where, f"has the placeholder {{{hole}}}: {message}"))
        # Without its axis a placeholder is tried as 1, for the sake of what else is wrong with the sentence.
        found += _sentence(where, arm.get("name", ""), text, {h: grids.get(h) or (1.0,) for h in holes}, days, grids)
    for i, a in enumerate(axes):
        if not some_wrong and a.get("name") in grids and a["name"] not in used:
            message = f"is given no parameter, and {{{a['name']}}} is in no regimen; needed: one of them"
            found.append(Problem(path("axis", i), message))
    return found


def _sentence(
    where: str,
    name: str,
    text: str,
    grids: Mapping[str, Sequence[float]],
    days: float | None,
    known: Container[str],
) -> list[Problem]:
    """The first thing wrong with an arm's sentence: at another grid point it has the same fault, as a rule."""
    from thrombojax import dosing

    for values in _grid_points(grids):
        point = ", ".join(f"{name} = {value!r}" for name, value in values.items() if name in known)
        at = f" (at {point})" if point else ""
        try:
            last = dosing.regimen(dosing.fill(text, values) if values else text).last_day
        except InputError as error:
            return [Problem(where, p.message + at) for p in error.problems]
        if days is not None and last >= days:
            message = f"arm {name!r} has a dose on day {last:g}, at or after the horizon of {days:g} days{at}"
            return [Problem(where, f"{message}; allowed: doses before it")]
    return []


def _grid_points(grids: Mapping[str, Sequence[float]]) -> Iterator[dict[str, float]]:
    """All combinations where there are few; else both corners, then one axis at a time."""
    total = 1
    for points in grids.values():
        total *= len(points)
    if total <= MAX_SENTENCES:
        yield from (dict(zip(grids, row, strict=True)) for row in itertools.product(*grids.values()))
        return
    lowest, highest = ({name: pick(points) for name, points in grids.items()} for pick in (min, max))
    yield from (lowest, highest)
    for name, points in grids.items():
        stride = -(-len(points) // MAX_SENTENCES)
        yield from ({**highest, name: value} for value in points[::stride])


def _points(given: Given) -> Sequence[float]:
    """The values of an axis, as far as they are known."""
    if "values" in given:
        return tuple(given["values"])
    start, stop, count = given.get("from"), given.get("to"), given.get("count")
    log = given.get("spacing") == "log"
    if start is None or stop is None or count is None or start >= stop or (log and start <= 0):
        return ()
    return spread(start, stop, count, log)


def _repeated(values: Sequence[Any]) -> list[Any]:
    seen: set[Any] = set()
    return list(dict.fromkeys(v for v in values if v in seen or seen.add(v)))  # type: ignore[func-returns-value]
