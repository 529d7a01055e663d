"""From a valid study to the work: patients x arms x grid cells x timeline, and the layout of the results."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from thrombojax.dosing.administer import administrations, treated, units
from thrombojax.dosing.policy import LEDGER
from thrombojax.dosing.timeline import Column, event_times, grid
from thrombojax.dosing.treatment import Treatment
from thrombojax.endpoints import REDUCERS, Endpoint, looks, times
from thrombojax.errors import InputError, Problem
from thrombojax.models import DEFAULT_SET, registry, struct
from thrombojax.models.protocol import Model
from thrombojax.patients import clinic as clinics
from thrombojax.patients import cohort as cohorts
from thrombojax.patients.clinic import Observation
from thrombojax.patients.population import Patients
from thrombojax.patients.recorded import Recorded, recorded
from thrombojax.solve import engine
from thrombojax.solve.pieces import Clinic
from thrombojax.store.layout import Layout
from thrombojax.study import event_table, people, virtual_patients
from thrombojax.study import reducers as asks
from thrombojax.study.catalogue import Catalogue, check_against, resolve
from thrombojax.study.file_layout import OBSERVED, Shape, layout
from thrombojax.study.schema import Study
from thrombojax.study.treatments import holes, treatment

MANY_DOSES = 200_000

Setting = tuple[str, float, bool]
"""Leaf, value, and whether the leaf is multiplied by it."""


@dataclass(frozen=True)
class Cell:
    """One arm at one point of the grid. index: its place in the leading dimensions; settings: of the parameter axes."""

    index: tuple[int, ...]
    arm: str
    treatment: Treatment
    settings: tuple[Setting, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything a sweep needs to know before it draws a patient.

    patients: of all trials, one trial after another; clinic: None where nothing but the regimen happens to a patient;
    visits: days of the ledger's rows, over all arms; weights: `[patient]`, None where all count alike; uncertain: leaf ->
    factors, `[draw]`.
    """

    study: Study
    model: Model
    patients: Patients
    ids: tuple[str, ...]
    cells: tuple[Cell, ...]
    columns: tuple[Column, ...]
    endpoints: tuple[Endpoint, ...]
    observables: tuple[str, ...]
    parameters: tuple[str, ...]
    fixed: np.ndarray
    layout: Layout
    backend: str
    clinic: Clinic | None = None
    seen: Observation = clinics.PERFECT
    visits: tuple[float, ...] = ()
    events: Recorded | None = None
    weights: np.ndarray | None = None
    uncertain: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def trials(self) -> int:
        return self.study.patients.trials or 1

    def some(self, start: int, stop: int) -> Patients:
        """Patients start..stop of every trial, one trial after another."""
        if self.trials == 1:
            return self.patients.pick(slice(start, stop))
        n = self.layout.n
        return self.patients.pick(np.concatenate([k * n + np.arange(start, stop) for k in range(self.trials)]))

    @property
    def looks(self) -> tuple[float, ...]:
        """Days at which endpoints look through the clinic's eyes."""
        return looks(self.endpoints)


def catalogue(source: registry.Source) -> Catalogue:
    """The names that a study of this model may use."""
    known = frozenset({*registry.names(), *([source.name] if source.file else [])})
    if source.name not in known:
        return Catalogue(known)
    sets = frozenset({source.parameter_set})
    if registry.is_assembled(source):
        from thrombojax.models.feedback.assemble import parameter_sets

        sets = frozenset(parameter_sets())
        if source.parameter_set not in sets:
            source = registry.Source(source.name, sorted(sets)[0], source.file)
    model = registry.build(source, registry.drugs(source))
    forms: dict[str, set[tuple[str, str]]] = {}
    for (drug, route), entry in model.entries.items():
        forms.setdefault(drug, set()).update((route, unit) for unit in units(model, entry))
    return Catalogue(
        models=known,
        parameter_sets=sets if registry.is_assembled(source) else frozenset({DEFAULT_SET}),
        cohorts=frozenset(cohorts.names(model.cohorts)),
        drugs={drug: frozenset(pairs) for drug, pairs in forms.items()},
        parameters=frozenset(struct.names(model.Parameters)),
        covariates=frozenset({cohorts.COUNT}) if model.anchor is not None else frozenset(),
        observables=frozenset(struct.names(model.Obs)),
        ranges={
            leaf.name: (leaf.quantity.low, leaf.quantity.high, leaf.quantity.unit)
            for leaf in struct.fields(model.Parameters)
            if leaf.quantity.low is not None and leaf.quantity.high is not None
        },
    )


def not_of_factors(study: Study) -> Problem:
    return Problem(study.at("sensitivity"), "is what `thrombojax sensitivity` runs; this needs a study without it")


def make(study: Study, model_file: str | None = None) -> Plan:
    """The plan of a study; every name that the model does not have is reported at once."""
    if study.sensitivity is not None and study.patients.n is None:
        raise InputError(not_of_factors(study))
    source = registry.Source(study.head.model, study.head.parameter_set, model_file)
    known = catalogue(source)
    problems = check_against(study, known)
    if problems:
        raise InputError(*problems)
    cells = _cells(study, known)
    treatments = tuple(dict.fromkeys(cell.treatment for cell in cells))
    drugs = tuple(sorted({drug for t in treatments for drug in t.drugs}))
    model = registry.build(source, drugs)
    backend = engine.choose(study.head.backend, model)
    table, covariates = event_table.load(study, known)
    if table is not None:
        model = registry.build(source, tuple(sorted({d.drug for d in table.drugs})))
    patients, ids, weights = people.patients(study, source, known, model, table, covariates)
    uncertain = virtual_patients.uncertain(study, patients.cohort, model, known)
    cells = _drawn(cells, uncertain)
    all_columns = treated(model, treatments, study.at("arm"))
    events = None
    if table is not None:
        events = recorded(model, table, covariates, study.at("events"))
        all_columns = events.columns
    observables = tuple(resolve(name, known.observables) or name for name in study.output.observables)
    chosen = observables if study.save_days else ()
    looked_at = {e.observable for e in study.endpoints if REDUCERS[e.reducer].kind in ("continuous", "visit")}
    for name in {*chosen, *looked_at}:
        if (resolve(name, known.observables) or name) not in struct.names(model.Obs):
            raise InputError(Problem(study.where, f"observable {name!r} belongs to a drug that no arm gives"))
    endpoints = tuple(_endpoint(study, i, known) for i in range(len(study.endpoints)))
    parameters = people.varying(patients, model)
    decides = any(t.decides for t in treatments)
    problems = [
        *people.anchored(study, known, patients),
        *_clashes(study, chosen, parameters),
        *_policies(study, decides),
    ]
    if problems:
        raise InputError(*problems)
    seen = observation(study, patients, model)
    followed = decides or any(t.adherence < 1 or t.attendance < 1 or t.dropout or t.window for t in treatments)
    clinic = clinics.setting(model, treatments, seen) if followed or study.observation is not None else None
    seen = seen if clinic is not None else clinics.PERFECT
    visits = tuple(sorted({day for t in treatments for day in t.acts(study.head.days)}))
    chances = {day for t in treatments for some in t.chances(study.head.days) for day in some}
    also = (*visits, *sorted(chances), *clinics.knots(seen, study.head.days))
    fixed = _grid(study, model, treatments, all_columns, endpoints, also)
    shape = Shape(study, model, ids, endpoints, chosen, parameters, all_columns, backend,
                  visits if study.output.ledger else (), events.most if events is not None else 0, weights is not None,
                  tuple(uncertain))  # fmt: skip
    return Plan(study, model, patients, ids, cells, all_columns, endpoints, chosen, parameters, fixed, layout(shape),
                backend, clinic, seen, visits, events, weights, uncertain)  # fmt: skip


def observation(study: Study, patients: Patients, model: Model) -> Observation:
    """What the cohort says, with what the study says instead."""
    found = clinics.observation(patients, model)
    said = study.observation
    if said is None:
        return found
    error = {k: v for k in found.error._fields if (v := getattr(said, k)) is not None}
    return Observation(
        found.error._replace(**error),
        found.lloq if said.lloq is None else said.lloq,
        found.wander if said.fluctuation else (),
    )


def _policies(study: Study, decides: bool) -> list[Problem]:
    """What only a policy can tell is asked of a study that has one."""
    if decides:
        return []
    message = "is of a policy or a rescue, and no arm has one"
    found = [
        Problem(study.at("endpoint", i, "reducer"), f"{e.reducer} {message}")
        for i, e in enumerate(study.endpoints)
        if REDUCERS[e.reducer].kind == "ledger"
    ]
    return [*found, *([Problem(study.at("output", "ledger"), message)] if study.output.ledger else [])]


def _cells(study: Study, known: Catalogue) -> tuple[Cell, ...]:
    """Every arm at every point of the grid; a treatment that several of them share is read once."""
    cells = []
    axes = [(axis, axis.points) for axis in study.axes]
    leaves = {axis.name: resolve(axis.parameter, known.numbers) for axis, _ in axes if axis.parameter is not None}
    taken = [holes(study, a) for a in range(len(study.arms))]
    treatments: dict[tuple[int, tuple[float, ...]], Treatment] = {}
    for place in itertools.product(*(range(len(points)) for _, points in axes)):
        at = {axis.name: points[k] for (axis, points), k in zip(axes, place, strict=True)}
        settings = tuple(
            (leaf, at[axis.name], axis.scale) for axis, _ in axes if (leaf := leaves.get(axis.name)) is not None
        )
        for a, arm in enumerate(study.arms):
            values = tuple(at[name] for name in taken[a])
            if (a, values) not in treatments:
                treatments[a, values] = treatment(study, a, dict(zip(taken[a], values, strict=True)))
            cells.append(Cell((*place, a), arm.name, treatments[a, values], settings))
    return tuple(cells)


def _drawn(cells: tuple[Cell, ...], uncertain: Mapping[str, np.ndarray]) -> tuple[Cell, ...]:
    """Every cell once a draw: the same patients, with parameters as far off as in that draw."""
    if not uncertain:
        return cells
    draws = len(next(iter(uncertain.values())))
    settings = [tuple((leaf, float(f[k]), True) for leaf, f in uncertain.items()) for k in range(draws)]
    return tuple(
        replace(cell, index=(*cell.index, k), settings=(*cell.settings, *settings[k]))
        for cell in cells
        for k in range(draws)
    )


def _endpoint(study: Study, i: int, known: Catalogue) -> Endpoint:
    e = study.endpoints[i]
    given = {name: getattr(e, name) for name in REDUCERS[e.reducer].numbers}
    numbers = {name: float(value) for name, value in given.items() if value is not None}
    end = study.head.days if e.end is None else e.end
    visits: tuple[float, ...] = ()
    if e.reducer == "value_on_day":
        visits = (float(numbers["day"]),)
    elif asks.REDUCERS[e.reducer].visits:
        visits = tuple(t for t in study.visit_days if e.start <= t <= end)
    observable = resolve(e.observable, known.observables) or e.observable
    return Endpoint(e.name, e.reducer, observable, e.start, end, numbers, e.drug, visits, e.relative or "")


def _clashes(study: Study, observables: tuple[str, ...], parameters: tuple[str, ...]) -> list[Problem]:
    """Names that only the model turns out to have given twice: all variables of a results file have their own."""
    problems = []
    for i, name in enumerate(observables):
        if name in observables[:i]:
            problems.append(Problem(study.at("output", "observables", i), f"{name!r} is given twice"))
    named = [("axis", i, axis.name) for i, axis in enumerate(study.axes)]
    named += [("endpoint", i, endpoint.name) for i, endpoint in enumerate(study.endpoints)]
    taken = {*(LEDGER if study.output.ledger else ()), *(OBSERVED if study.events is not None else ())}
    for section, i, name in named:
        what = "trajectory" if name in observables else "parameter" if name in parameters else ""
        what = what or ("variable" if name in taken else "")
        if what:
            message = f"given {name!r}, which is the name of a {what} in the results; allowed: another name"
            problems.append(Problem(study.at(section, i, "name"), message))
    return problems


def _grid(
    study: Study,
    model: Model,
    treatments: tuple[Treatment, ...],
    cols: tuple[Column, ...],
    endpoints: tuple[Endpoint, ...],
    also: tuple[float, ...],
) -> Any:
    """One grid for all cells, every cell's events on it: all arms share one compiled program."""
    days = study.head.days
    given = [administrations(model, t, cols, days, study.at("arm")) for t in treatments]
    if sum(len(slots.time) for slots in given) > MANY_DOSES:
        raise InputError(Problem(study.at("arm"), f"more than {MANY_DOSES} doses over all arms and grid cells"))
    events = [event_times(model, model.defaults, slots, cols) for slots in given]
    return grid(days, study.save_days, study.visit_days, times(endpoints), also, *events)
