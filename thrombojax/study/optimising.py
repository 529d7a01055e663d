"""What the keys of [optimise] say together, and with the arms and endpoints of the study."""

from collections.abc import Mapping
from typing import Any

from thrombojax.errors import Problem, unknown
from thrombojax.study.messages import path
from thrombojax.study.sections import Decided

Given = Mapping[str, Any]


def check(raw: Given, given: Given) -> list[Problem]:
    """Every problem of the section; keys that are wrong by themselves are not in `given`."""
    if "optimise" not in raw or not isinstance(raw["optimise"], Mapping):
        return []
    if "events" in raw:
        return [*_individual(raw, given), *_terms(raw, given)]
    found = [Problem(key, "does not go with [optimise]") for key in ("axis", "fit") if key in raw]
    for key in (key for key in ("regimen", "days", "samples") if key in given):
        found.append(Problem(f"optimise.{key}", "is of individual plans; needed with it: [events] and [fit]"))
    if "arm" not in raw["optimise"]:
        found.append(Problem("optimise.arm", "is missing; needed: the name of the [[arm]] that is decided"))
    if isinstance(raw.get("patients"), Mapping):
        if "trials" in raw["patients"]:
            found.append(Problem("patients.trials", "does not go with [optimise]"))
        if "table" in raw["patients"]:
            found.append(
                Problem("optimise", "needs a cohort: its hold-out patients are drawn anew, and a table has no more")
            )
    arms = [arm for arm in _tables(raw, "arm") if isinstance(arm.get("name"), str)]
    names = [arm["name"].strip() for arm in arms]
    mine = next((a for a, n in zip(arms, names, strict=True) if n == given.get("arm")), None)
    if "optimised" in names:
        found.append(
            Problem("arm", "one is named 'optimised', which is the plan's name in the results; allowed: another name")
        )
    if "arm" in given and mine is None:
        found.append(unknown("optimise.arm", "arm", given["arm"], names))
    numbers = _tables(given, "number")
    found += _terms(raw, given)
    found += _numbers(numbers, mine) if numbers or (mine is not None and "policy" in mine) else _doses(given, mine)
    return found


def _terms(raw: Given, given: Given) -> list[Problem]:
    """Objectives and constraints."""
    endpoints = [e["name"] for e in _tables(raw, "endpoint") if isinstance(e.get("name"), str)]
    goals, limits = (_tables(given, key) for key in ("objective", "constraint"))
    found = _wanted(goals, limits, endpoints, "objective" in raw["optimise"])
    fronts = [i for i, limit in enumerate(limits) if "front" in limit]
    found += [
        Problem(path("optimise", "constraint", i, "front"), "only one constraint may have a front") for i in fronts[1:]
    ]
    return found


def _individual(raw: Given, given: Given) -> list[Problem]:
    """Plans of the patients of an event table."""
    found = []
    if "fit" not in raw:
        found.append(
            Problem("fit", "is missing; needed: what individual plans are to learn from each patient's counts")
        )
    for key, what in (
        ("arm", "the plan is optimise.regimen"), ("number", "doses alone are decided"),
        ("strata", "each patient has its own plan"),
        ("holdout", "fresh samples are as many as samples"), ("batch", "all patients are one"),
        ("mini_batches", "all patients are one batch"),
        ("seed", "samples have that of [study]"),
    ):  # fmt: skip
        if key in given:
            found.append(Problem(f"optimise.{key}", f"does not go with [events]: {what}"))
    for i, limit in enumerate(_tables(given, "constraint")):
        if "front" in limit:
            found.append(Problem(path("optimise", "constraint", i, "front"), "does not go with [events]"))
    if "regimen" not in raw["optimise"]:
        message = (
            'is missing; needed: what is given after the last record, such as "romiplostim 3 ug/kg sc weekly x 12"'
        )
        found.append(Problem("optimise.regimen", message))
    if "days" not in raw["optimise"]:
        found.append(Problem("optimise.days", "is missing; needed: for how many days from there on"))
    parts = [("optimise", given), *((path("optimise", "dose", i), d) for i, d in enumerate(_tables(given, "dose")))]
    for where, part in parts:
        if part.get("move"):
            found.append(Problem(f"{where}.move", "does not go with [events]: amounts alone are patients' own"))
    return found + _doses(given, None)


def _tables(raw: Given, key: str) -> list[Given]:
    items = raw.get(key, [])
    return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []


def _wanted(goals: list[Given], limits: list[Given], endpoints: list[str], said: bool) -> list[Problem]:
    found = []
    if not goals and not said:
        message = 'is missing; needed: at least one [[optimise.objective]], such as maximise = "time_in_50_200"'
        found.append(Problem("optimise.objective", message))
    for i, goal in enumerate(goals):
        where = path("optimise", "objective", i)
        which = [key for key in ("maximise", "minimise") if key in goal]
        if len(which) != 1:
            what = "has both maximise and minimise" if which else "has neither maximise nor minimise"
            found.append(Problem(where, f"{what}; allowed: exactly one of them"))
        found += _endpoint(f"{where}.{which[0]}", goal[which[0]], endpoints) if which else []
        if "level" in goal and goal.get("risk") != "cvar":
            found.append(Problem(f"{where}.level", 'goes with risk = "cvar"'))
    for i, limit in enumerate(limits):
        where = path("optimise", "constraint", i)
        which = [key for key in ("at_least", "at_most") if key in limit]
        if len(which) != 1:
            what = "has both at_least and at_most" if which else "has neither at_least nor at_most"
            found.append(Problem(where, f"{what}; allowed: exactly one of them"))
        found += _endpoint(f"{where}.endpoint", limit.get("endpoint"), endpoints)
    return found


def _endpoint(where: str, name: Any, endpoints: list[str]) -> list[Problem]:
    if not isinstance(name, str) or name in endpoints:
        return []
    return [unknown(where, "endpoint", name, endpoints)]


def _doses(given: Given, arm: Given | None) -> list[Problem]:
    """Bounds and real doses of a regimen, drug by drug."""
    found = []
    if arm is not None and "regimen" not in arm:
        found.append(Problem("optimise.arm", f"the arm {arm['name']!r} gives nothing; needed: one with a regimen"))
    several = _tables(given, "dose")
    if not several:
        return found + _of_drug(given, "optimise")
    for key in (key for key in Decided.model_fields if key in given):
        message = "does not go with [[optimise.dose]]; allowed: there, for each drug"
        found.append(Problem(f"optimise.{key}", message))
    names = [part.get("drug") for part in several]
    for i, part in enumerate(several):
        where = path("optimise", "dose", i)
        found += _of_drug(part, where)
        if names[i] is None and len(several) > 1:
            found.append(Problem(f"{where}.drug", "is missing; needed: which drug of the arm is decided here"))
        elif names[i] in names[:i]:
            found.append(Problem(f"{where}.drug", f"{names[i]!r} is given twice; allowed: each drug once"))
    real = ["doses" in part or "step" in part for part in several]
    if any(real) and not all(real):
        where = path("optimise", "dose", real.index(False))
        message = "has neither doses nor step, and others have; needed: real doses of all drugs, or of none"
        found.append(Problem(where, message))
    return found


def _of_drug(given: Given, where: str) -> list[Problem]:
    found = []
    low, high = given.get("low", 0.0), given.get("high")
    doses = given.get("doses")
    amounts = given.get("amounts", True)
    if doses is not None and "step" in given:
        found.append(Problem(f"{where}.step", "does not go with doses; allowed: one of them"))
    if amounts and high is None and doses is None:
        found.append(Problem(f"{where}.high", "is missing; needed: the highest dose, in the unit of the regimen"))
    if high is not None and not low < high:
        found.append(Problem(f"{where}.high", f"given {high!r}; allowed: more than low = {low!r}"))
    if doses is not None and isinstance(doses, list):
        outside = [d for d in doses if d < low or (high is not None and d > high)]
        if outside:
            found.append(Problem(f"{where}.doses", f"{outside[0]!r} is outside of low to high"))
    if not amounts and not given.get("move"):
        found.append(Problem(f"{where}.amounts", "is false, and doses do not move either: nothing is left to decide"))
    return found


def _numbers(numbers: list[Given], arm: Given | None) -> list[Problem]:
    """Numbers of a titration rule."""
    found = []
    if arm is not None and "policy" not in arm:
        found.append(Problem("optimise.number", f"needs a policy, and the arm {arm['name']!r} has none"))
    if arm is not None and "policy" in arm and not numbers:
        found.append(Problem("optimise.number", "is missing; needed: the numbers of the policy that are decided"))
    for i, number in enumerate(numbers):
        low, high = number.get("low"), number.get("high")
        if low is not None and high is not None and not low < high:
            where = path("optimise", "number", i, "high")
            found.append(Problem(where, f"given {high!r}; allowed: more than low = {low!r}"))
    return found
