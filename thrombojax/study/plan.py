"""From a valid study to the work: patients x arms x grid cells x timeline, and the layout of the results."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from thrombojax import dosing
from thrombojax.dosing.administer import columns, slots, units
from thrombojax.dosing.regimen import Regimen
from thrombojax.dosing.timeline import Column, Schedule, event_times, grid, schedule
from thrombojax.endpoints import REDUCERS, Endpoint, times
from thrombojax.errors import InputError, Problem
from thrombojax.models import registry, struct
from thrombojax.models.protocol import Model
from thrombojax.patients import cohort as cohorts
from thrombojax.patients import population
from thrombojax.patients.population import Patients
from thrombojax.solve import engine
from thrombojax.store.layout import Axis, Layout, Variable, flags
from thrombojax.study import tables
from thrombojax.study.catalogue import Catalogue, check_against, resolve
from thrombojax.study.schema import Study

SHARD_BYTES = 64 * 2**20
"""What the results of one shard should take in memory, at most."""
SHARD_PATIENTS = 16384
SMALL_SHARD = 1024
"""Patients below which a shard wastes launches: it gets smaller only to keep within LARGE_SHARD_BYTES."""
LARGE_SHARD_BYTES = 2**30
MANY_DOSES = 200_000

Setting = tuple[str, float, bool]
"""Leaf, value, and whether the leaf is multiplied by it."""


@dataclass(frozen=True)
class Cell:
    """One arm at one point of the grid. index: its place in the leading dimensions; settings: of the parameter axes."""

    index: tuple[int, ...]
    arm: str
    regimen: Regimen
    settings: tuple[Setting, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything a sweep needs to know before it draws a patient."""

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
        forms.setdefault(drug, set()).update((route, unit) for unit in units(entry.unit))
    return Catalogue(
        models=known,
        parameter_sets=sets if registry.is_assembled(source) else frozenset({"1"}),
        cohorts=frozenset(cohorts.names(model.cohorts)),
        drugs={drug: frozenset(pairs) for drug, pairs in forms.items()},
        parameters=frozenset(struct.names(model.Parameters)),
        covariates=frozenset({cohorts.COUNT}) if model.anchor is not None else frozenset(),
        observables=frozenset(struct.names(model.Obs)),
    )


def make(study: Study, model_file: str | None = None) -> Plan:
    """The plan of a study; every name that the model does not have is reported at once."""
    source = registry.Source(study.head.model, study.head.parameter_set, model_file)
    known = catalogue(source)
    problems = check_against(study, known)
    if problems:
        raise InputError(*problems)
    cells = _cells(study, known)
    drugs = tuple(sorted({drug for cell in cells for drug in cell.regimen.drugs}))
    model = registry.build(source, drugs)
    backend = engine.choose(study.head.backend, model)
    patients, ids = _patients(study, source, known, model)
    all_columns = columns(model, [cell.regimen for cell in cells], study.at("arm"))
    observables = tuple(resolve(name, known.observables) or name for name in study.output.observables)
    chosen = observables if study.save_days else ()
    for name in {*chosen, *(e.observable for e in study.endpoints if e.drug is None)}:
        if (resolve(name, known.observables) or name) not in struct.names(model.Obs):
            raise InputError(Problem(study.where, f"observable {name!r} belongs to a drug that no arm gives"))
    endpoints = tuple(_endpoint(study, i, known) for i in range(len(study.endpoints)))
    parameters = _varying(patients, model)
    problems = [*_anchored(study, known, patients), *_clashes(study, chosen, parameters)]
    if problems:
        raise InputError(*problems)
    fixed = _grid(study, model, cells, all_columns, endpoints)
    layout = _layout(study, model, ids, endpoints, chosen, parameters, all_columns, backend)
    return Plan(study, model, patients, ids, cells, all_columns, endpoints, chosen, parameters, fixed, layout, backend)


def _cells(study: Study, known: Catalogue) -> tuple[Cell, ...]:
    """Every arm at every point of the grid; a sentence that several of them share is read once."""
    cells = []
    axes = [(axis, axis.points) for axis in study.axes]
    leaves = {axis.name: resolve(axis.parameter, known.numbers) for axis, _ in axes if axis.parameter is not None}
    holes = [dosing.placeholders(arm.regimen or "") for arm in study.arms]
    regimens: dict[tuple[int, tuple[float, ...]], Regimen] = {}
    for place in itertools.product(*(range(len(points)) for _, points in axes)):
        at = {axis.name: points[k] for (axis, points), k in zip(axes, place, strict=True)}
        settings = tuple(
            (leaf, at[axis.name], axis.scale) for axis, _ in axes if (leaf := leaves.get(axis.name)) is not None
        )
        for a, arm in enumerate(study.arms):
            values = tuple(at[name] for name in holes[a])
            if (a, values) not in regimens:
                used = dict(zip(holes[a], values, strict=True))
                regimens[a, values] = dosing.regimen(dosing.fill(arm.regimen or "none", used))
            cells.append(Cell((*place, a), arm.name, regimens[a, values], settings))
    return tuple(cells)


def _patients(
    study: Study, source: registry.Source, known: Catalogue, model: Model
) -> tuple[Patients, tuple[str, ...]]:
    asked = study.patients
    if asked.table is not None and study.table_path is not None:
        table = tables.load(study.table_path, known.numbers, asked.n)
        n = len(table.ids)
        patients = Patients(source, n).replace(dict(table.columns))
        ids = table.ids
    else:
        n = asked.n or 1
        found = cohorts.load(model.cohorts, asked.cohort or "")
        index = np.arange(n) if asked.sampler == "random" else None
        patients = Patients(source, n, found, study.head.seed, index)
        ids = ()
    overrides = {resolve(name, known.numbers) or name: value for name, value in asked.overrides.items()}
    return patients.replace(overrides), ids


def _endpoint(study: Study, i: int, known: Catalogue) -> Endpoint:
    e = study.endpoints[i]
    numbers = {name: getattr(e, name) for name in REDUCERS[e.reducer].numbers}
    end = study.head.days if e.end is None else e.end
    visits: tuple[float, ...] = ()
    if e.reducer == "value_on_day":
        visits = (float(numbers["day"]),)
    elif REDUCERS[e.reducer].kind == "visit":
        visits = tuple(t for t in study.visit_days if e.start <= t <= end)
    observable = resolve(e.observable, known.observables) or e.observable
    return Endpoint(e.name, e.reducer, observable, e.start, end, numbers, e.drug, visits)


def _varying(patients: Patients, model: Model) -> tuple[str, ...]:
    """Parameters that differ between patients, in the model's order: what is worth a column in the results."""
    if patients.cohort is None:
        names = {
            leaf.name for leaf in struct.fields(model.Parameters) if leaf.quantity.cv and patients.index is not None
        }
    else:
        names = {
            *patients.cohort.vary,
            *(leaf for m in patients.cohort.mixture for part in m.parts for leaf in part.set),
        }
        if patients.cohort.anchor is not None:
            names.add(patients.cohort.anchor.unknown)
    names |= {name for name, value in patients.changes.items() if np.ndim(value)}
    return tuple(name for name in struct.names(model.Parameters) if name in names)


def _anchored(study: Study, known: Catalogue, patients: Patients) -> list[Problem]:
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
        if study.table_path is not None and cohorts.COUNT in patients.changes:
            counts.append(str(study.table_path))
        who = f"the cohort {study.patients.cohort!r}" if patients.cohort is not None else "a patient table"
        message = f"{cohorts.COUNT!r} is what some cohorts are drawn by; {who} is not"
        return [Problem(where, message) for where in counts]
    mine = [(where, scale) for leaf, where, scale in given if leaf == anchor.unknown]
    if all(scale for _, scale in mine):
        message = f"{anchor.unknown} is solved from each patient's count, so it cannot be scaled; allowed: to set it"
        return [Problem(where, message) for where, _ in mine]
    message = f"{anchor.unknown} is solved from each patient's count; allowed: to give one of them"
    return [Problem(where, message) for where, scale in mine if counts and not scale]


def _clashes(study: Study, observables: tuple[str, ...], parameters: tuple[str, ...]) -> list[Problem]:
    """Names that only the model turns out to have given twice: all variables of a results file have their own."""
    problems = []
    for i, name in enumerate(observables):
        if name in observables[:i]:
            problems.append(Problem(study.at("output", "observables", i), f"{name!r} is given twice"))
    named = [("axis", i, axis.name) for i, axis in enumerate(study.axes)]
    named += [("endpoint", i, endpoint.name) for i, endpoint in enumerate(study.endpoints)]
    for section, i, name in named:
        what = "trajectory" if name in observables else "parameter" if name in parameters else ""
        if what:
            message = f"given {name!r}, which is the name of a {what} in the results; allowed: another name"
            problems.append(Problem(study.at(section, i, "name"), message))
    return problems


def _grid(
    study: Study, model: Model, cells: tuple[Cell, ...], cols: tuple[Column, ...], endpoints: tuple[Endpoint, ...]
) -> Any:
    """One grid for all cells, every cell's events on it: all arms share one compiled program."""
    regimens = tuple(dict.fromkeys(cell.regimen for cell in cells))
    if sum(len(d.times) for regimen in regimens for d in regimen.doses) > MANY_DOSES:
        raise InputError(Problem(study.at("arm"), f"more than {MANY_DOSES} doses over all arms and grid cells"))
    days = study.head.days
    events = [
        event_times(model, model.defaults, slots(model, regimen, cols, days, study.at("arm")), cols)
        for regimen in regimens
    ]
    return grid(days, study.save_days, study.visit_days, times(endpoints), *events)


def _layout(study: Study, model: Model, ids: tuple[str, ...], endpoints: tuple[Endpoint, ...], observables: tuple[str, ...],
            parameters: tuple[str, ...], cols: tuple[Column, ...], backend: str) -> Layout:  # fmt: skip
    n = len(ids) or study.patients.n or 1
    dtype = "float64" if study.head.precision == "f64" or backend == "reference" else "float32"
    leading = (*(axis.name for axis in study.axes), "arm")
    axes = [
        Axis(axis.name, np.asarray(axis.points), axis.unit, axis.parameter or f"{axis.name} in the regimen")
        for axis in study.axes
    ]
    axes.append(Axis("arm", np.asarray([arm.name for arm in study.arms], dtype=object)))
    if observables:
        axes.append(Axis("time", np.asarray(study.save_days), "day", "time since the start of the study"))
    whole = all(i.isascii() and i.isdecimal() and len(i) < 18 and str(int(i)) == i for i in ids)  # 007 stays text
    values = np.arange(n) if not ids else np.asarray([int(i) for i in ids] if whole else ids, int if whole else object)
    axes.append(Axis("patient", values, "", "patient number"))
    obs = {leaf.name: leaf.quantity for leaf in struct.fields(model.Obs)}
    known = {leaf.name: leaf.quantity for leaf in struct.fields(model.Parameters)}
    variables = []
    for e in endpoints:
        reducer = REDUCERS[e.reducer]
        base = (
            next((model.entries[c.key].unit for c in cols if c.key[0] == e.drug), "1")
            if e.drug
            else obs[e.observable].unit
        )
        what = e.drug or obs[e.observable].meaning
        unit = reducer.unit(base)
        variables.append(
            Variable(e.name, (*leading, "patient"), dtype, unit, f"{reducer.meaning}: {what}", attrs=_shown(unit))
        )
    for name in observables:
        unit = obs[name].unit
        compression = study.output.compression
        variables.append(
            Variable(name, (*leading, "time", "patient"), dtype, unit, obs[name].meaning, "trajectory",
                     compression=compression, attrs=_shown(unit))
        )  # fmt: skip
    variables.append(
        Variable("status", (*leading, "patient"), "uint8", "", "how the patient's simulation ended", "status",
                 attrs=flags(engine.STATUS))
    )  # fmt: skip
    variables += [
        Variable(name, ("patient",), dtype, known[name].unit, known[name].meaning, "parameter", "parameters")
        for name in parameters
    ]
    cells = int(np.prod([len(axis.points) for axis in study.axes], dtype=int)) * len(study.arms)
    per_patient = cells * np.dtype(dtype).itemsize * (len(endpoints) + len(observables) * len(study.save_days) + 1)
    shard = SHARD_PATIENTS
    while shard > SMALL_SHARD and shard * per_patient > SHARD_BYTES:
        shard //= 2
    while shard > 1 and shard * per_patient > LARGE_SHARD_BYTES:
        shard //= 2
    title = {"title": study.head.name, "institution": "", "source": f"thrombojax, model {model.name}"}
    return Layout(tuple(axes), tuple(variables), {k: v for k, v in title.items() if v}, shard)


def _shown(unit: str) -> dict[str, str]:
    return {"display_units": unit.replace("1/nL", "10^9/L")} if "1/nL" in unit else {}


def schedules(plan: Plan, cohort: engine.Cohort, cells: Sequence[Cell]) -> Iterator[Schedule]:
    """The timeline of each cell, on the grid that they share."""
    typical = population.shared(plan.model, cohort)
    days = plan.study.head.days
    for cell in cells:
        yield schedule(
            plan.model, typical, plan.columns, slots(plan.model, cell.regimen, plan.columns, days), plan.fixed
        )


def compile_ahead(plan: Plan) -> None:
    """Compile the sweep's program with a patient and a timeline that cost nothing to run.

    For a thread of its own while the patients' baselines compile: a cold start then waits for the longer of the two.
    The reference backend has nothing to gain: it compiles on its first block.
    """
    if plan.backend == "reference":
        return
    cell = plan.cells[0]
    p = jax.tree.map(lambda v: np.full(1, v, float), plan.model.defaults)
    y0: Any = struct.build(plan.model.State, lambda *_: np.zeros(1))
    nobody = engine.Cohort(p, y0, np.zeros(1), np.zeros(1, np.uint8))
    line = schedule(
        plan.model,
        plan.model.defaults,
        plan.columns,
        slots(plan.model, cell.regimen, plan.columns, plan.study.head.days),
        plan.fixed,
    )
    solve(plan, nobody, line._replace(timeline=line.timeline._replace(steps=0 * line.timeline.steps)))


def sweep(plan: Plan) -> Callable[[int, int], dict[str, np.ndarray]]:
    """What computes patients start..stop; its first call compiles the solver while it draws the patients."""
    waiting = [True]

    def part(start: int, stop: int) -> dict[str, np.ndarray]:
        if not waiting:
            return compute(plan, start, stop, population.prepare(plan.patients.pick(slice(start, stop)), plan.model))
        waiting.clear()
        with ThreadPoolExecutor(1, thread_name_prefix="thrombojax-compile") as pool:
            compiled = pool.submit(compile_ahead, plan)
            plain = population.prepare(plan.patients.pick(slice(start, stop)), plan.model)
            compiled.result()
        return compute(plan, start, stop, plain)

    return part


@np.errstate(over="ignore")  # a number beyond float32 is infinite there: its patient gets a status
def compute(plan: Plan, start: int, stop: int, plain: engine.Cohort) -> dict[str, np.ndarray]:
    """All results of patients start..stop by variable name, the patient dimension last; plain: them as they were drawn."""
    shapes = {v.name: (plan.layout.shape(v, stop - start), v.dtype) for v in plan.layout.variables}
    arrays = {name: np.empty(shape, dtype) for name, (shape, dtype) in shapes.items()}
    people = plan.patients.pick(slice(start, stop))
    by_name = struct.as_dict(plain.p)
    for name in plan.parameters:
        arrays[name][...] = by_name[name]
    groups: dict[tuple[Setting, ...], list[Cell]] = {}
    for cell in plan.cells:
        groups.setdefault(cell.settings, []).append(cell)
    for settings, group in groups.items():
        cohort = population.prepare(adjust(people, settings), plan.model) if settings else plain
        for cell, line in zip(group, schedules(plan, cohort, group), strict=True):
            out = solve(plan, cohort, line)
            for name, values in (*out.endpoints.items(), *out.saved.items()):
                arrays[name][cell.index] = values
            arrays["status"][cell.index] = out.status
    return arrays


def adjust(people: Patients, settings: Sequence[Setting]) -> Patients:
    """Patients with a cell's parameter axes applied: some set their parameter, then others multiply theirs."""
    for name, value, scale in sorted(settings, key=lambda setting: setting[2]):
        people = people.scale(name, value) if scale else people.replace({name: value})
    return people


@np.errstate(over="ignore")
def solve(plan: Plan, cohort: engine.Cohort, line: Schedule) -> engine.Solution:
    """One cell's endpoints and trajectories for these patients."""
    return engine.solve(
        plan.model,
        cohort,
        line,
        endpoints=plan.endpoints,
        save=plan.observables,
        days=plan.study.save_days,
        backend=plan.backend,
        precision=plan.study.head.precision,
        accuracy=plan.study.head.accuracy,
    )
