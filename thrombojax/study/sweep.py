"""The sweep itself: what computes the patients of a shard, cell by cell."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from thrombojax.dosing.administer import administrations
from thrombojax.dosing.care import Care
from thrombojax.dosing.policy import LEDGER
from thrombojax.dosing.timeline import Schedule, schedule
from thrombojax.models import struct
from thrombojax.patients import clinic as clinics
from thrombojax.patients import population
from thrombojax.patients.population import Patients
from thrombojax.patients.recorded import Recorded, course
from thrombojax.solve import engine
from thrombojax.solve.pieces import COUNT
from thrombojax.store.layout import WEIGHT
from thrombojax.study.plan import Cell, Plan, Setting


def schedules(plan: Plan, cohort: engine.Cohort, cells: Sequence[Cell]) -> Iterator[Schedule]:
    """The timeline of each cell, on the grid that they share."""
    typical = population.shared(plan.model, cohort)
    days = plan.study.head.days
    for cell in cells:
        given = administrations(plan.model, cell.treatment, plan.columns, days)
        yield schedule(plan.model, typical, plan.columns, given, plan.fixed)


def care(plan: Plan, cell: Cell, line: Schedule, cohort: engine.Cohort, people: Patients) -> Care | None:
    """What happens to these patients in a cell besides its regimen."""
    if plan.clinic is None:
        return None
    return clinics.care(plan.model, plan.clinic, cell.treatment, plan.seen, line, cohort, people, plan.looks)


def compile_ahead(plan: Plan) -> None:
    """Compile the sweep's program with a patient and a timeline that cost nothing to run.

    For a thread of its own while the patients' baselines compile: a cold start then waits for the longer of the two.
    The reference backend has nothing to gain: it compiles on its first block.
    """
    if plan.backend == "reference" or plan.events is not None:
        return
    cell = plan.cells[0]
    p = jax.tree.map(lambda v: np.full(1, v, float), plan.model.defaults)
    y0: Any = struct.build(plan.model.State, lambda *_: np.zeros(1))
    nobody = engine.Cohort(p, y0, np.zeros(1), np.zeros(1, np.uint8))
    given = administrations(plan.model, cell.treatment, plan.columns, plan.study.head.days)
    line = schedule(plan.model, plan.model.defaults, plan.columns, given, plan.fixed)
    line = line._replace(timeline=line.timeline._replace(steps=0 * line.timeline.steps))
    solve(plan, nobody, line, care(plan, cell, line, nobody, plan.patients.pick(slice(0, 1))))


def sweep(plan: Plan) -> Callable[[int, int], dict[str, np.ndarray]]:
    """What computes patients start..stop; its first call compiles the solver while it draws the patients."""
    waiting = [True]

    def part(start: int, stop: int) -> dict[str, np.ndarray]:
        if not waiting:
            return compute(plan, start, stop, population.prepare(plan.some(start, stop), plan.model))
        waiting.clear()
        with ThreadPoolExecutor(1, thread_name_prefix="thrombojax-compile") as pool:
            compiled = pool.submit(compile_ahead, plan)
            plain = population.prepare(plan.some(start, stop), plan.model)
            compiled.result()
        return compute(plan, start, stop, plain)

    return part


@np.errstate(over="ignore")  # a number beyond float32 is infinite there: its patient gets a status
def compute(plan: Plan, start: int, stop: int, plain: engine.Cohort) -> dict[str, np.ndarray]:
    """All results of patients start..stop by variable name, the patient dimension last; plain: them as they were drawn."""
    shapes = {v.name: (plan.layout.shape(v, stop - start), v.dtype) for v in plan.layout.variables}
    arrays = {name: np.empty(shape, dtype) for name, (shape, dtype) in shapes.items()}
    people = plan.some(start, stop)
    by_name = struct.as_dict(plain.p)
    if plan.weights is not None:
        arrays[WEIGHT][...] = plan.weights[start:stop]
    for leaf, factors in plan.uncertain.items():
        arrays[f"{leaf}.factor"][...] = factors
    for name in plan.parameters:
        arrays[name][...] = by_name[name].reshape(arrays[name].shape)
    if plan.events is not None:
        return _recorded(plan, plan.events, start, stop, people, plain, arrays)
    rows = {day: k for k, day in enumerate(plan.visits)}
    groups: dict[tuple[Setting, ...], list[Cell]] = {}
    for cell in plan.cells:
        groups.setdefault(cell.settings, []).append(cell)
    for settings, group in groups.items():
        cohort = population.prepare(adjust(people, settings), plan.model) if settings else plain
        for cell, line in zip(group, schedules(plan, cohort, group), strict=True):
            out = solve(plan, cohort, line, care(plan, cell, line, cohort, people))
            for name, values in (*out.endpoints.items(), ("status", out.status)):
                arrays[name][cell.index] = values.reshape(arrays[name][cell.index].shape)
            for name, values in out.saved.items():
                arrays[name][cell.index] = _by_trial(plan, values)
            if plan.study.output.ledger:
                days = plan.study.head.days
                mine = [rows[day] for day in cell.treatment.acts(days)]
                ledger = clinics.by_visit(cell.treatment, people, days, out.ledger)
                for name in LEDGER:
                    arrays[name][cell.index] = np.nan
                    if mine:
                        arrays[name][cell.index][..., mine, :] = _by_trial(plan, ledger[name])
    return arrays


def _recorded(
    plan: Plan,
    events: Recorded,
    start: int,
    stop: int,
    people: Patients,
    plain: engine.Cohort,
    arrays: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """All results of patients whose doses are in an event table."""
    rows = range(start, stop)
    for name in ("day", "dv") if events.most else ():
        arrays[name][...] = np.nan
        for k, row in enumerate(rows):
            seen = events.table.observations[row]
            arrays[name][: len(seen.time), k] = seen.time if name == "day" else seen.dv
    for cell in plan.cells:
        cohort = population.prepare(adjust(people, cell.settings), plan.model) if cell.settings else plain
        out = solve_recorded(plan, events, cohort, rows, plan.backend)
        for name, values in (*out.endpoints.items(), ("status", out.status)):
            arrays[name][cell.index] = values
        common = len(plan.study.save_days)
        for name in plan.observables:
            arrays[name][cell.index] = out.saved[name][:common]
        if events.most:
            arrays["predicted"][cell.index] = out.saved[COUNT][common:]
    return arrays


def solve_recorded(
    plan: Plan, events: Recorded, cohort: engine.Cohort, rows: Sequence[int], backend: str
) -> engine.Solution:
    """One cell's results for patients `rows` of an event table; saved values: at the common days, then at observations."""
    head = plan.study.head
    given = course(events, cohort, rows, head.days, plan.fixed.tolist(), plan.study.save_days)
    return engine.solve(
        plan.model, cohort, given.line, endpoints=plan.endpoints, save=tuple(dict.fromkeys((*plan.observables, COUNT))),
        backend=backend, precision=head.precision, accuracy=head.accuracy, clinic=given.clinic, care=given.care,
        bounds=given.bounds,
    )  # fmt: skip


def _by_trial(plan: Plan, values: np.ndarray) -> np.ndarray:
    """`[row, patient of all trials]` as `[trial, row, patient]` where there are trials."""
    if plan.trials == 1:
        return values
    return np.moveaxis(values.reshape(len(values), plan.trials, -1), 1, 0)


def adjust(people: Patients, settings: Sequence[Setting]) -> Patients:
    """Patients with a cell's parameter axes applied: some set their parameter, then others multiply theirs."""
    for name, value, scale in sorted(settings, key=lambda setting: setting[2]):
        people = people.scale(name, value) if scale else people.replace({name: value})
    return people


@np.errstate(over="ignore")
def solve(plan: Plan, cohort: engine.Cohort, line: Schedule, own: Care | None) -> engine.Solution:
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
        clinic=plan.clinic,
        care=own,
    )
