"""Who a study is about: drawn from a cohort, read from a table, recorded, or chosen from a virtual population."""

from collections.abc import Mapping

import numpy as np

from thrombojax.dosing.events import EventTable
from thrombojax.errors import InputError, Problem
from thrombojax.models import registry, struct
from thrombojax.models.protocol import Model
from thrombojax.patients import cohort as cohorts
from thrombojax.patients.draw import numbered
from thrombojax.patients.entry import admitted
from thrombojax.patients.population import Patients
from thrombojax.study import tables, virtual_patients
from thrombojax.study.catalogue import Catalogue, resolve
from thrombojax.study.schema import Study


def patients(
    study: Study,
    source: registry.Source,
    known: Catalogue,
    model: Model,
    events: EventTable | None,
    covariates: Mapping[str, str],
) -> tuple[Patients, tuple[str, ...], np.ndarray | None]:
    """The patients, their ids where they have any, and their weights where they are not all alike."""
    asked = study.patients
    weights = None
    trials = asked.trials or 1
    if events is not None:
        n, ids = len(events), events.ids
        cohort = cohorts.load(model.cohorts, asked.cohort) if asked.cohort else None
        index = numbered(n) if cohort is not None and asked.sampler == "random" else None
        people = Patients(source, n, cohort, study.head.seed, index).replace(
            {covariates[name]: values for name, values in events.constant.items()}
            # what changes has its first value at baseline
            | {covariates[name]: np.array([v[0] for v in changing.values]) for name, changing in events.varying.items()}
        )
    elif study.table_path is not None and virtual_patients.is_population(study.table_path):
        people, ids, weights = _written(study, source, known, model)
    elif study.table_path is not None:
        table = tables.load(study.table_path, known.numbers, asked.n)
        n = len(table.ids)
        people = Patients(source, n, seed=study.head.seed).replace(dict(table.columns))
        ids, weights = table.ids, table.weights
    else:
        n = (asked.n or 1) * trials
        found = cohorts.load(model.cohorts, asked.cohort) if asked.cohort is not None else None
        if found is not None:
            found = virtual_patients.recipe(study, found, known)
        index = numbered(n) if asked.sampler == "random" else None
        people = Patients(source, n, found, study.head.seed, index)
        ids = ()
    overrides = {resolve(name, known.numbers) or name: value for name, value in asked.overrides.items()}
    people = people.replace(overrides)
    if asked.entry is not None:
        if weights is not None:
            raise InputError(Problem(study.at("patients", "entry"), "does not go with patients who have weights"))
        people = admitted(people, model, asked.entry, study.at("patients", "entry"))
    if weights is not None and asked.trials:
        raise InputError(Problem(study.at("patients", "trials"), "does not go with patients who have weights"))
    return people, ids, weights


def _written(study: Study, source: registry.Source, known: Catalogue, model: Model) -> virtual_patients.Weighted:
    """Patients that `thrombojax population` wrote: they are drawn again by their numbers."""
    file = study.table_path
    assert file is not None
    made, weights = virtual_patients.written(file)
    for key in ("model", "parameter_set"):
        mine, theirs = getattr(study.head, key), getattr(made.head, key)
        if mine != theirs:
            raise InputError(Problem(study.at("study", key), f"given {mine!r}; the population {file} is of {theirs!r}"))
    candidates, _, _ = patients(made, source, known, model, None, {})
    return virtual_patients.chosen(study, candidates, weights, model, file)


def varying(patients: Patients, model: Model) -> tuple[str, ...]:
    """Parameters that differ between patients, in the model's order: what is worth a column in the results."""
    if patients.cohort is None:
        names = {
            leaf.name for leaf in struct.fields(model.Parameters) if leaf.quantity.cv and patients.index is not None
        }
    else:
        names = {
            *patients.cohort.vary,
            *(leaf for m in patients.cohort.mixture for part in m.parts for leaf in (*part.set, *part.scale)),
        }
        if patients.cohort.anchor is not None:
            names.add(patients.cohort.anchor.unknown)
    names |= {name for name, value in patients.changes.items() if np.ndim(value)}
    return tuple(name for name in struct.names(model.Parameters) if name in names)


def anchored(study: Study, known: Catalogue, patients: Patients) -> list[Problem]:
    """A count needs a cohort that is drawn by it; what is solved from the count cannot be given as well."""
    uses = [(name, study.at("patients", "overrides", name), False) for name in study.patients.overrides]
    uses += [
        (axis.parameter, study.at("axis", i, "parameter"), axis.scale)
        for i, axis in enumerate(study.axes)
        if axis.parameter is not None
    ]
    given = [(resolve(name, known.numbers), where, scale) for name, where, scale in uses]
    counts = [where for leaf, where, _ in given if leaf == cohorts.COUNT]
    anchor = patients.cohort.anchor if patients.cohort is not None else None
    if anchor is None:
        table = study.table_path or study.events_path
        if table is not None and cohorts.COUNT in patients.changes:
            counts.append(str(table))
        who = "a patient table" if study.events is None else "a study without a cohort"
        who = f"the cohort {study.patients.cohort!r}" if patients.cohort is not None else who
        message = f"{cohorts.COUNT!r} is what some cohorts are drawn by; {who} is not"
        return [Problem(where, message) for where in counts]
    mine = [(where, scale) for leaf, where, scale in given if leaf == anchor.unknown]
    if anchor.unknown in patients.changes and not mine:  # a column of an event table
        mine, counts = (
            [(str(study.events_path), False)],
            [*counts, *([""] if cohorts.COUNT in patients.changes else [])],
        )
    if all(scale for _, scale in mine):
        message = f"{anchor.unknown} is solved from each patient's count, so it cannot be scaled; allowed: to set it"
        return [Problem(where, message) for where, _ in mine]
    message = f"{anchor.unknown} is solved from each patient's count; allowed: to give one of them"
    return [Problem(where, message) for where, scale in mine if counts and not scale]
