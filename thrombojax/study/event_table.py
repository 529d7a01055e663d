"""A study's event table, held against the model: which parameter each covariate sets, and which drug each amount is of."""

from collections.abc import Mapping

from thrombojax.dosing.events import EventTable
from thrombojax.dosing.events import read as read_events
from thrombojax.errors import InputError, Problem, unknown
from thrombojax.patients import cohort as cohorts
from thrombojax.study.catalogue import Catalogue, resolve, unresolved
from thrombojax.study.schema import Study


def load(study: Study, known: Catalogue) -> tuple[EventTable | None, dict[str, str]]:
    """The study's event table, and the parameter that each of its covariates sets."""
    said, path = study.events, study.events_path
    if said is None or path is None:
        return None, {}
    table = read_events(
        path,
        unit=said.time_unit,
        doses=said.doses,
        interpolation=said.interpolation,
        drop=said.drop,
        observed=said.observed,
        steady=False,
        until=study.head.days,
        counts="any" if study.fit is None else "not negative" if study.fit.additive_sd else "positive",
    )
    problems = []
    wanted = study.patients.n
    if wanted is not None and wanted > len(table):
        problems.append(Problem(str(path), f"has {len(table)} patients; --patients asks for {wanted}"))
    names: dict[str, str] = {}
    for name in (*table.constant, *table.varying):
        where = f"{path}: column {name!r}"
        wrong = unresolved(where, "parameter or covariate", name, known.numbers)
        if wrong is not None:
            message = wrong.message.replace("; allowed:", ", which is not in `drop` either; allowed:", 1)
            problems.append(Problem(wrong.where, message))
            continue
        leaf = resolve(name, known.numbers) or name
        problems += [Problem(where, f"repeats the column {other!r}") for other in names if names[other] == leaf]
        names[name] = leaf
        if leaf == cohorts.COUNT and name in table.varying:
            problems.append(Problem(where, "changes within a patient; allowed: the count at baseline"))
    problems += _moving(study, known, {names[name]: name for name in table.varying if name in names})
    for d in table.drugs:
        forms = known.drugs.get(d.drug)
        if forms is None:
            problems.append(unknown(study.at("events", "doses"), "drug", d.drug, known.drugs))
        elif (d.route, d.unit) not in forms:
            allowed = ", ".join(f"{route} {unit}" for route, unit in sorted(forms))
            problems.append(Problem(study.at("events", "doses"), f"{d.drug} {d.route} {d.unit}; allowed: {allowed}"))
    if problems:
        raise InputError(*problems)
    return (table if wanted is None else table.first(wanted)), names


def _moving(study: Study, known: Catalogue, varying: Mapping[str, str]) -> list[Problem]:
    """What changes with the table cannot be set besides: the table's next value would undo it."""
    uses = [(study.at("patients", "overrides", name), name) for name in study.patients.overrides]
    uses += [
        (study.at("axis", i, "parameter"), a.parameter) for i, a in enumerate(study.axes) if a.parameter is not None
    ]
    at = {where: resolve(name, known.numbers) for where, name in uses}
    return [
        Problem(where, f"sets {leaf}, which changes within patients in the table (column {varying[leaf]!r})")
        for where, leaf in at.items()
        if leaf is not None and leaf in varying
    ]
