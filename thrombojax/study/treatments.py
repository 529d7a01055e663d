"""What each arm of a study gives, from its section and the numbers of the grid."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

from thrombojax import dosing
from thrombojax.dosing.titration import rescue, titration
from thrombojax.dosing.treatment import Treatment
from thrombojax.errors import InputError, Problem
from thrombojax.study.checks import filled, holes_in
from thrombojax.study.schema import Study


def holes(study: Study, arm: int) -> tuple[str, ...]:
    """Axes whose numbers an arm takes, in its regimen or its policy."""
    section = study.arms[_source(study, arm)]
    return tuple(dict.fromkeys([*dosing.placeholders(section.regimen or ""), *holes_in(section.policy)]))


def treatment(study: Study, arm: int, values: Mapping[str, float]) -> Treatment:
    """An arm's treatment at one point of the grid. Raises InputError, each problem with its key path."""
    source = _source(study, arm)
    section = study.arms[source]
    problems: list[Problem] = []
    text = section.regimen or "none"
    fixed = dosing.regimen(dosing.fill(text, {k: values[k] for k in dosing.placeholders(text)}))
    given = None
    where = study.at("arm", source, "policy")
    if section.policy is not None:
        table = filled(section.policy, values)
        drug, label = table.pop("drug", None), table.pop("label", None)
        if not isinstance(drug, str):
            problems.append(
                Problem(f"{where}.drug", "is missing; needed: the name of a drug (`thrombojax info drugs`)")
            )
        elif label is not None and not isinstance(label, str):
            problems.append(
                Problem(f"{where}.label", f"given {label!r}; allowed: the name of a rule in the drug's file")
            )
        else:
            try:
                given = titration(drug, label, where, **table)
            except InputError as error:
                problems += error.problems
    saved = None
    if section.rescue is not None:
        try:
            saved = rescue(section.rescue.below, section.rescue.give, study.at("arm", source, "rescue", "give"))
            saved = replace(saved, start=section.rescue.start, stop=section.rescue.stop)
        except InputError as error:
            problems += error.problems
    problems += _visits(study, source)
    if problems:
        raise InputError(*problems)
    found = Treatment(
        fixed, given, saved, section.visits, section.adherence, section.attendance, section.dropout, section.window
    )
    days = [day for some in found.chances(study.head.days) for day in some]
    if any(b <= a for a, b in pairwise(days)):
        message = f"given {section.window}; allowed: less than half of the days between visits"
        raise InputError(Problem(study.at("arm", source, "window"), message))
    return found.placebo() if source != arm else found


def first_treatment(study: Study, arm: int) -> Treatment:
    """The arm's treatment at the first point of its axes: drugs, routes and units are the same at all of them."""
    points = {axis.name: axis.points[0] for axis in study.axes}
    return treatment(study, arm, {name: points[name] for name in holes(study, arm)})


def _visits(study: Study, arm: int) -> list[Problem]:
    """Visits inside the study, of an arm for which they decide something."""
    section, where = study.arms[arm], study.at("arm", arm, "visits")
    if section.visits is None:
        return []
    if section.policy is None and section.rescue is None:
        return [Problem(where, "decide nothing; needed: a policy or a rescue (`visits` of [time] are for endpoints)")]
    last = section.visits[-1] if isinstance(section.visits, tuple) else section.visits
    if last >= study.head.days:
        return [Problem(where, f"has day {last!r}; allowed: before the end of the study (day {study.head.days!r})")]
    return []


def _source(study: Study, arm: int) -> int:
    """The arm that says what an arm does: itself, or the one that a placebo arm follows."""
    return study.placebo_of if study.placebo_of is not None and arm == len(study.arms) - 1 else arm
