"""What is timed: each workload builds its problem, and hands out calls that do the whole work once.

Imported in worker processes only (`worker.py`), after the process has been set up for its precision.
"""

import functools
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np

import thrombojax as tj
from thrombojax.bench import limits, objective, prototype, studies
from thrombojax.bench.operations import operations_per_step
from thrombojax.dosing.administer import administrations, columns, slots, treated
from thrombojax.dosing.timeline import Schedule, grid, schedule
from thrombojax.dosing.titration import titration
from thrombojax.dosing.treatment import Treatment
from thrombojax.endpoints import Endpoint
from thrombojax.models import registry
from thrombojax.models.protocol import Model
from thrombojax.patients import clinic as clinics
from thrombojax.patients.population import prepare, shared
from thrombojax.solve import engine
from thrombojax.solve.steppers import CLASSICAL, LONG, Tableau

Options = Mapping[str, Any]
"""workload, backend, precision, patients; and what some take: sample, exact."""


@dataclass(frozen=True)
class Prepared:
    """calls: name -> the work, done once; facts: fields of the row; after: fields that are known when all has been timed.

    warm_up: what compiles and touches everything; every call once where None.
    """

    calls: Mapping[str, Callable[[], Any]]
    facts: Mapping[str, Any]
    after: Callable[[], Mapping[str, Any]] = field(default=dict)
    warm_up: Callable[[], Any] | None = None


@dataclass(frozen=True, eq=False)
class Problem:
    """Prepared patients of a model over one timeline; weeks: days at which errors are looked at."""

    model: Model
    cohort: engine.Cohort
    line: Schedule
    days: float
    tableau: Tableau = LONG

    @property
    def weeks(self) -> list[float]:
        return [float(day) for day in np.arange(7.0, self.days + 1e-9, 7.0)]

    def facts(self, outputs: int, item: int) -> dict[str, Any]:
        """Size of the work. outputs: numbers per patient that leave the kernel; item: bytes of a number."""
        per_patient = len(jax.tree.leaves((self.cohort.p, self.cohort.y0))) + outputs
        steps = int(np.sum(self.line.timeline.steps))
        return {
            "model": self.model.name,
            "patients": self.cohort.n,
            "days": self.days,
            "steps": steps,
            "operations": operations_per_step(self.model, self.tableau) * steps * self.cohort.n,
            "bytes": per_patient * item * self.cohort.n,
        }


def flagship(n: int) -> Problem:
    """ITP patients of the flagship on 26 weekly doses of romiplostim."""
    patients = tj.cohort("itp", parameter_set="1").sample(n)
    given = tj.regimen(studies.SENTENCE)
    model = registry.build(patients.source, given.drugs)
    cohort = prepare(patients, model)
    cols = columns(model, [given])
    line = schedule(model, shared(model, cohort), cols, slots(model, given, cols, studies.DAYS), grid(studies.DAYS))
    return Problem(model, cohort, line, studies.DAYS)


def forward(o: Options) -> Prepared:
    """Trajectories of the flagship, reduced to six endpoints."""
    problem = flagship(o["patients"])
    ends = [Endpoint(name, name, stop=problem.days) for name in studies.REDUCERS]
    return _engine(problem, o, {"endpoints": ends}, len(ends))


def titrated(o: Options) -> Prepared:
    """The same patients and endpoints on a fixed weekly dose and on the label's titration of it, with noisy weekly visits.

    Nothing wanders within patients, so that both take the same steps.
    """
    problem = flagship(o["patients"])
    patients, model = tj.cohort("itp", parameter_set="1").sample(o["patients"]), problem.model
    treatment = Treatment(titration=titration("romiplostim", studies.LABEL))
    seen = replace(clinics.observation(patients, model), wander=())
    cols = treated(model, [treatment])
    acts = treatment.acts(studies.DAYS)
    slots_ = administrations(model, treatment, cols, studies.DAYS)
    line = schedule(model, shared(model, problem.cohort), cols, slots_, grid(studies.DAYS, acts))
    clinic = clinics.setting(model, [treatment], seen)
    care = clinics.care(model, clinic, treatment, seen, line, problem.cohort, patients, ())
    ends = [Endpoint(name, name, stop=problem.days) for name in studies.REDUCERS]
    how: dict[str, Any] = {"endpoints": ends, "backend": o["backend"], "precision": o["precision"]}
    calls = {
        "fixed regimen": lambda: engine.solve(model, problem.cohort, problem.line, **how),
        "titrated sweep": lambda: engine.solve(model, problem.cohort, line, clinic=clinic, care=care, **how),
    }
    return Prepared(calls, {key: problem.facts(len(ends), _item(o))[key] for key in ("model", "patients", "days")})


def twenty_two(n: int) -> Problem:
    """The prototype, by the method that its frozen forms have."""
    return Problem(prototype.MODEL, prototype.cohort(n), prototype.line(), float(prototype.DAYS), CLASSICAL)


def prototype_sweep(o: Options) -> Prepared:
    """The 22-state prototype by our own engine, platelets and TPO saved daily."""
    days = [float(day) for day in range(1, prototype.DAYS + 1)]
    problem = twenty_two(o["patients"])
    return _engine(problem, o, {"save": ("platelets", "tpo"), "days": days}, 2 * len(days))


def _engine(problem: Problem, o: Options, wanted: Mapping[str, Any], outputs: int) -> Prepared:
    how: dict[str, Any] = {"backend": o["backend"], "precision": o["precision"]}
    counts: dict[str, Any] = {"save": ("platelets",), "days": problem.weeks}
    facts = problem.facts(outputs, _item(o))
    if o["backend"] == "reference":
        found: list[np.ndarray] = []

        def exact() -> None:
            solved = engine.solve(problem.model, problem.cohort, problem.line, **counts, **how)
            found[:] = [solved.saved["platelets"]]

        # Its adaptive steps are not counted.
        known = {key: facts[key] for key in ("model", "patients", "days")}
        return Prepared({"run": exact}, known, lambda: _leave(found[0], o))

    def solve() -> Any:
        return engine.solve(problem.model, problem.cohort, problem.line, **wanted, **how, tableau=problem.tableau)

    def after() -> dict[str, Any]:
        if not o.get("exact"):
            return {}
        few = _few(problem, o["sample"])
        return _error(
            engine.solve(problem.model, few, problem.line, **counts, **how, tableau=problem.tableau).saved["platelets"],
            o,
        )

    return Prepared({"run": solve}, facts, after)


def limit(o: Options) -> Prepared:
    """The prototype in hand-written C."""
    return _frozen(limits.ceiling(o["patients"], o["precision"]), o)


def floor(o: Options) -> Prepared:
    """The prototype in plain XLA, tuned."""
    return _frozen(limits.floor(o["patients"], o["precision"]), o)


def _frozen(call: limits.Call, o: Options) -> Prepared:
    problem = twenty_two(o["patients"])
    ends = np.arange(6, prototype.DAYS, 7)  # the last row of each week
    return Prepared(
        {"run": call},
        problem.facts(2 * prototype.DAYS, _item(o)),
        lambda: _error(call()[ends], o) if o.get("exact") else {},
    )


def gradient(o: Options) -> Prepared:
    """Value, value with gradient, and one step of Adam, of a population objective over 26 weekly doses."""
    import optax

    problem = flagship(o["patients"])
    calls = objective.objective(problem.model, problem.cohort, problem.line, problem.weeks, _dtype(o), o["backend"])
    adam = optax.adam(0.1)
    doses = np.full(studies.WEEKS, studies.DOSE, _dtype(o))
    state = adam.init(doses)

    @jax.jit
    def update(slope: Any, state: Any, doses: Any) -> Any:
        change, state = adam.update(slope, state, doses)
        return optax.apply_updates(doses, change), state

    def step() -> Any:
        slope = calls["gradient"](doses)[1].astype(doses.dtype)
        return jax.block_until_ready(update(slope, state, doses))

    facts = {"model": problem.model.name, "patients": o["patients"], "days": problem.days}
    timed = {name: functools.partial(call, doses) for name, call in calls.items()} | {"optimisation step": step}
    return Prepared(timed, facts, warm_up=lambda: [call() for call in timed.values()])


def results(o: Options) -> Prepared:
    """A whole run to a closed results file; with `daily`, trajectories too. Says how long writing kept the run waiting."""
    from thrombojax import api
    from thrombojax.execute import local

    spent = dict.fromkeys(("whole", "_settle", "consolidate", "write_shard", "bytes"), 0.0)

    def run(n: int) -> None:
        with tempfile.TemporaryDirectory(prefix="thrombojax-bench-") as folder, ExitStack() as stack:
            for name in ("_settle", "consolidate", "write_shard"):
                spent[name] = 0.0
                stack.enter_context(mock.patch.object(local, name, _clocked(getattr(local, name), spent, name)))
            study = studies.write(Path(folder), n, weeks=o["weeks"], precision=o["precision"], backend=o["asked"],
                                  daily=o["daily"])  # fmt: skip
            out = Path(folder) / "out.h5"
            began = time.perf_counter()
            api.run(study, out, audit=0)
            spent["whole"] = time.perf_counter() - began
            spent["bytes"] = out.stat().st_size

    def after() -> dict[str, Any]:
        waiting = spent["_settle"] + spent["consolidate"]
        busy = spent["write_shard"] + spent["consolidate"]
        return {"writing_share": waiting / spent["whole"], "writer_seconds": busy, "file_bytes": int(spent["bytes"])}

    facts = {"model": "feedback", "patients": o["patients"], "days": 7.0 * o["weeks"]}
    return Prepared({"run": lambda: run(o["patients"])}, facts, after, warm_up=lambda: run(min(o["patients"], 1024)))


def _clocked(function: Callable[..., Any], spent: dict[str, float], name: str) -> Callable[..., Any]:
    """The function, with the seconds of its calls added to `spent`."""

    def call(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent[name] += time.perf_counter() - began

    return call


def about(o: Options) -> Prepared:
    """Which backends this version has, and which of them the flagship allows."""
    model = registry.build(registry.Source(), ("romiplostim",))
    return Prepared(
        {},
        {
            "backends": list(engine.BACKENDS),
            "allowed": [b for b in engine.BACKENDS if b in model.backends],
            "devices": [d.device_kind for d in jax.local_devices()],
        },
    )


def ceilings(o: Options) -> Prepared:
    """The machine's two ceilings."""
    from thrombojax.bench import ceilings as measured

    return Prepared({}, measured.measure(o["seconds"]).as_dict())


WORKLOADS: Mapping[str, Callable[[Options], Prepared]] = {
    "forward": forward,
    "titrated": titrated,
    "prototype": prototype_sweep,
    "limit": limit,
    "floor": floor,
    "gradient": gradient,
    "results": results,
    "about": about,
    "ceilings": ceilings,
}


def _dtype(o: Options) -> Any:
    return np.float32 if o["precision"] == "f32" else np.float64


def _item(o: Options) -> int:
    return np.dtype(_dtype(o)).itemsize


def _few(problem: Problem, count: int) -> engine.Cohort:
    """The first patients of a problem, whose error is looked at."""
    rows = slice(min(count, problem.cohort.n))
    p, y0 = jax.tree.map(lambda a: a[rows], (problem.cohort.p, problem.cohort.y0))
    return engine.Cohort(p, y0, problem.cohort.rate[rows], problem.cohort.status[rows])


def _leave(platelets: np.ndarray, o: Options) -> dict[str, Any]:
    """The reference's weekly counts (`[week, patient]`) go to the file `exact`, where the others find them."""
    np.save(o["exact"], platelets)
    return {}


def _error(platelets: np.ndarray, o: Options) -> dict[str, Any]:
    """99th percentile over patients of the largest relative error of weekly counts (`[week, patient]`)."""
    known = np.load(o["exact"])
    few = min(known.shape[1], platelets.shape[1])
    error = np.abs(platelets[:, :few] / known[:, :few] - 1.0).max(axis=0)
    return {"achieved_error": float(np.nanquantile(error, 0.99)), "error_patients": few}
