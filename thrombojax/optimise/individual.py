"""Individual plans: what each patient's counts so far say about it, and the doses that are best for that.

Posterior samples of every patient are carried through its recorded doses to its last record, and from there through the plan.
The best plan of a patient is that of the best mean (or CVaR) over its own samples; all patients are one batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thrombojax.dosing import each
from thrombojax.dosing.administer import columns
from thrombojax.dosing.sentence import regimen
from thrombojax.endpoints import REDUCERS, Endpoint
from thrombojax.errors import InputError, Problem, RunError
from thrombojax.fit import patients as fitting
from thrombojax.fit import problem as posteriors
from thrombojax.fit.patients import Fits
from thrombojax.models import struct
from thrombojax.optimise import descent, discrete, doses, lockstep, own, risk, smooth
from thrombojax.optimise.lockstep import Minima
from thrombojax.optimise.own import Own
from thrombojax.optimise.problem import Course, Goal, Limit, together
from thrombojax.optimise.solve import PENALTY, SHARPER, wanted
from thrombojax.patients.draw import normal
from thrombojax.solve import engine
from thrombojax.solve.engine import Cohort
from thrombojax.study import plan as plans
from thrombojax.study.schema import Study

Say = Callable[[str], None]
SOME = 256
"""Patients on whom the one plan for all is looked for first."""


@dataclass(frozen=True, eq=False)
class Sampled:
    """Samples of patients, ready for a plan. own: rows `sample x patients + patient`; patients, samples: how many.

    What is asked are pairs of a plan and a patient: x `[k, pair]`, who `[pair]`; below 0: nobody.
    """

    own: Own
    patients: int
    samples: int

    def rows(self, who: Any) -> Any:
        """Those of each pair's patient, `[sample x pairs + pair]`."""
        lib = np if isinstance(who, np.ndarray) else jnp
        return lib.where(who[None] >= 0, np.arange(self.samples)[:, None] * self.patients + who[None], -1).ravel()

    def of_each(self, x: Any) -> Any:
        """Decisions `[k, pair]` of every row."""
        return (np if isinstance(x, np.ndarray) else jnp).tile(x, self.samples)

    def by_patient(self, values: Any) -> Any:
        """`[row]` as `[sample, pair]`."""
        return values.reshape(self.samples, -1)

    def smooth(self, goals: Sequence[Goal], limits: Sequence[Limit]) -> lockstep.Function:
        """(x, who) -> objective and excesses of each pair over the patient's samples, differentiable."""
        width = self.own.smoothing

        def f(x: Any, who: Any) -> tuple[Any, Any]:
            values = self.own.smooth(self.of_each(x), self.rows(who))
            found = {name: _filled(self.by_patient(v)) for name, v in values.items()}
            total = sum(g.weight * _risk(g.sign * found[g.endpoint], g.level) for g in goals)
            return total, jnp.stack([_excess(m, found[m.endpoint], width) for m in limits]) if limits else (
                jnp.zeros((0, x.shape[1]))
            )

        return f

    def exact(
        self, x: np.ndarray, goals: Sequence[Goal], limits: Sequence[Limit], days: Sequence[float] = (),
        who: np.ndarray | None = None,
    ) -> "Counted":  # fmt: skip
        """The same, counted. who: every patient once where it is not said."""
        who = np.arange(self.patients) if who is None else who
        parts = [self._exact(x, goals, limits, days, who) for x, who in lockstep.blocks(np.asarray(x, float), who)]
        n = len(who)
        mean = {name: np.concatenate([part.mean[name] for part in parts])[:n] for name in parts[0].mean}
        return Counted(
            np.concatenate([part.objective for part in parts])[:n],
            np.concatenate([part.kept for part in parts], axis=1)[:, :n],
            mean,
            np.concatenate([part.count for part in parts], axis=2)[..., :n],
        )

    def _exact(
        self, x: np.ndarray, goals: Sequence[Goal], limits: Sequence[Limit], days: Sequence[float], who: np.ndarray
    ) -> "Counted":
        values, count = self.own.exact(self.of_each(x), days, self.rows(who))
        found = {name: self.by_patient(v) for name, v in values.items()}
        with np.errstate(invalid="ignore"):
            total = sum(
                g.weight * np.asarray(_risk(jnp.asarray(_filled(g.sign * found[g.endpoint])), g.level)) for g in goals
            )
            kept = np.stack([_kept(m, found[m.endpoint]) for m in limits]) if limits else np.zeros((0, len(who)))
            mean = {name: np.asarray(_filled(v)).mean(axis=0) for name, v in found.items()}
        return Counted(np.asarray(total), kept, mean, count.reshape(len(count), self.samples, len(who)))


@dataclass(frozen=True, eq=False)
class Counted:
    """objective: `[patient]`; kept: what each constraint is about, its mean or share, `[constraint, patient]`; mean: endpoint
    -> `[patient]`; count: platelets, `[day, sample, patient]`."""

    objective: np.ndarray
    kept: np.ndarray
    mean: dict[str, np.ndarray]
    count: np.ndarray

    def excess(self, limits: Sequence[Limit]) -> np.ndarray:
        """Over each constraint's scale, `[constraint, patient]`."""
        rows = [[m.excess(float(v)) / m.scale for v in row] for m, row in zip(limits, self.kept, strict=True)]
        return np.array(rows).reshape(self.kept.shape)


@dataclass(frozen=True, eq=False)
class Individual:
    """Plans of patients `ids`, those of the table (`rows`) who could be fitted.

    x, relaxed: `[k, patient]`; shared: `[k]`, the one plan that is best for all of them; start: day of the record on which each
    plan begins; minima: how the relaxed plans came; tried: plans of each patient
    in the search for real doses, `[patient]`; training, holdout:
    arm -> counted on the samples they were found on, and on others; before: objective of the relaxed plans on the first; days:
    of count.
    """

    study: Study
    plan: plans.Plan
    fits: Fits
    rows: np.ndarray
    course: Course
    goals: tuple[Goal, ...]
    limits: tuple[Limit, ...]
    endpoints: tuple[Endpoint, ...]
    x: np.ndarray
    relaxed: np.ndarray
    shared: np.ndarray
    start: np.ndarray
    minima: Minima
    tried: np.ndarray
    before: np.ndarray
    training: dict[str, Counted]
    holdout: dict[str, Counted]
    days: np.ndarray

    @property
    def ids(self) -> tuple[str, ...]:
        """Patients who have a plan."""
        return tuple(self.fits.ids[k] for k in self.rows)

    @property
    def feasible(self) -> np.ndarray:
        """Whether every constraint holds on the samples that a plan was found on, `[patient]`."""
        return np.asarray(np.all(self.training["individual"].excess(self.limits) <= 1e-9, axis=0))


def individual_plans(study: Study, plan: plans.Plan | None = None, say: Say = lambda text: None) -> Individual:
    """Fit, sample and plan every patient of a study with [events], [fit] and [optimise]. InputError, RunError."""
    said = study.optimise
    missing = [name for name in ("events", "fit", "optimise") if getattr(study, name) is None]
    if missing or said is None or study.fit is None:
        raise InputError(*(Problem(study.at(name), "is missing; needed for individual plans") for name in missing))
    plan = plan or plans.make(study)
    goals, limits = wanted(study)
    course, real = decided(study, plan)
    posterior = posteriors.make(plan)
    start = _starts(study, plan)
    say(f"fitting {posterior.patients} patients")
    fits = fitting.fit(posterior, plan.ids, study.fit.level)
    rows = np.flatnonzero(np.isin(fits.status, (fitting.OK, fitting.AT_BOUND)))
    if not len(rows):
        raise RunError("no patient could be fitted, so none has a plan")
    used = {g.endpoint for g in goals} | {m.endpoint for m in limits}
    ends = tuple(e for e in plan.endpoints if e.name in used)
    seed = study.head.seed
    last = said.days or 0.0
    days = np.unique(np.append(np.arange(0.0, last, max(1.0, last // 90)), last))
    train = sampled(study, plan, fits, rows, course, start, ends, said.samples, seed)
    test = sampled(study, plan, fits, rows, course, start, plan.endpoints, said.samples, seed + 1, days.tolist())
    d, n = course.decisions, len(rows)
    f = train.smooth(goals, limits)
    say(f"{n} patients, {said.samples} samples of each")
    found = lockstep.descend(
        f, d.low, d.high, np.tile(d.start[:, None], n), most=said.steps + said.polish, tolerance=said.tolerance, say=say
    )
    shared = _shared(f, course, found, goals, limits, said)
    x, one, tried = found.x, shared, np.zeros(n, int)
    if real is not None:
        x, one, tried = _real(train, goals, limits, found, shared, real, say)
    arms = {"individual": x, "one plan for all": np.tile(one[:, None], n), "as written": np.tile(d.start[:, None], n)}
    training = {name: train.exact(x, goals, limits) for name, x in arms.items()}
    before = training["individual"].objective if real is None else train.exact(found.x, goals, limits).objective
    say("fresh samples")
    holdout = {name: test.exact(x, goals, limits, days.tolist()) for name, x in arms.items()}
    return Individual(
        study, plan, fits, rows, course, goals, limits, plan.endpoints, x, found.x, one, start[rows], found, tried, before,
        training, holdout, days,
    )  # fmt: skip


def decided(study: Study, plan: plans.Plan) -> tuple[Course, list[np.ndarray] | None]:
    """What is given from each patient's last record on. InputError for what does not go with plans of patients' own."""
    said = study.optimise
    assert said is not None
    assert said.days is not None
    where = study.at("optimise", "regimen")
    given = regimen(said.regimen or "", where)
    known = sorted({drug for drug, _ in plan.model.entries})
    strange = [drug for drug in given.drugs if drug not in known]
    problems = [Problem(where, f"{drug} is in no record of the table; allowed: {', '.join(known)}") for drug in strange]
    if given.last_day >= said.days:
        problems.append(
            Problem(where, f"gives a dose on day {given.last_day:g}, at or after the end ({said.days:g} days)")
        )
    if plan.model.breakpoints(plan.model.defaults).at:
        problems.append(Problem(where, f"the equations of {plan.model.name} change on days of their own"))
    problems += [
        Problem(study.at("endpoint", i), f"{e.reducer} is of a policy or of visits, which individual plans do not have")
        for i, e in enumerate(study.endpoints)
        if REDUCERS[e.reducer].kind == "ledger"
    ]
    problems += smooth.problems(plan.endpoints, lambda name: f"{study.where}: endpoint {name!r}", rule=False)
    if problems:
        raise InputError(*problems)
    columns(plan.model, [given], where)
    parts = [doses.part(given, said.days, part, at) for part, at in doses.parts(study)]
    real = None if parts[0][1] is None else [v for _, levels in parts for v in levels or []]
    return together([made for made, _ in parts]), real


def sampled(
    study: Study, plan: plans.Plan, fits: Fits, rows: np.ndarray, course: Course, start: np.ndarray,
    endpoints: tuple[Endpoint, ...], samples: int, seed: int, save: Sequence[float] = (),
) -> Sampled:  # fmt: skip
    """Posterior samples of patients `rows`, each carried through its record to its day in `start`."""
    said, posterior = study.optimise, fits.posterior
    assert said is not None
    assert said.days is not None
    z = fitting.drawn(fits, samples, seed)[:, :, rows]
    flat = np.moveaxis(z, 1, 0).reshape(z.shape[1], -1)
    mine = np.tile(fits.rows[rows], samples)
    parts = [
        _carried(study, plan, fits, flat[:, s], mine[s], start, seed, np.arange(flat.shape[1])[s])
        for s in (slice(k, k + posteriors.CHUNK) for k in range(0, flat.shape[1], posteriors.CHUNK))
    ]
    p, y0, rate, status = (
        jax.tree.map(lambda *a: np.concatenate(a, axis=-1), *few) for few in zip(*parts, strict=True)
    )
    cohort = Cohort(p, y0, rate, status)
    head = study.head
    made = own.own(
        posterior.model, cohort, course, said.days, endpoints, save=save, smoothing=said.smoothing,
        precision=head.precision, accuracy=head.accuracy, backend=head.backend,
    )  # fmt: skip
    return Sampled(made, len(rows), samples)


def _carried(
    study: Study, plan: plans.Plan, fits: Fits, z: np.ndarray, rows: np.ndarray, start: np.ndarray, seed: int,
    index: np.ndarray,
) -> tuple[Any, Any, np.ndarray, np.ndarray]:  # fmt: skip
    """(parameters, states on the day, rates, status) of some samples. What fluctuates within a patient is held in time, a
    draw a sample."""
    posterior, model = fits.posterior, fits.posterior.model
    people = posteriors.people(posterior, z, rows)
    whose = rows % posterior.patients
    given = posterior.course
    line = given.line._replace(timeline=jax.tree.map(lambda a: a[..., whose], given.line.timeline))
    care = given.care
    if care is not None:
        care = care._replace(**{name: getattr(care, name)[..., whose] for name in ("factor", "taken", "course")})
    bounds = each.bounds(line, [[day] for day in start[whose]])
    names = own.states(model)
    out = engine.solve(
        own.seeing(model), people, line, save=names, bounds=bounds, precision="f64", accuracy=posterior.accuracy,
        backend=posterior.backend, clinic=given.clinic, care=care,
    )  # fmt: skip
    y0: Any = struct.unflatten(model.State, [out.saved[name][0] for name in names])
    leaves = struct.as_dict(people.p)
    if given.clinic is not None and care is not None:
        known = list(leaves)
        for k, leaf in enumerate(given.clinic.varying):
            leaves[known[leaf]] = care.course[k][-1]
    for w in plans.observation(study, plan.patients, model).wander:
        leaves[w.leaf] = leaves[w.leaf] * np.exp(w.spread * normal(seed, f"plan/{w.leaf}", index))
    p: Any = struct.unflatten(
        model.Parameters, [np.broadcast_to(leaves[k], len(rows)) for k in struct.names(model.Parameters)]
    )
    with jax.enable_x64(True):
        rate = np.maximum(people.rate, np.asarray(model.max_rate(p)) + np.zeros(len(rows)))
    return p, y0, rate, out.status


def _starts(study: Study, plan: plans.Plan) -> np.ndarray:
    """The day on which each patient's plan begins: of its last record, or the next whole day where that gives something."""
    events = plan.events
    assert events is not None
    table, found, problems = events.table, [], []
    for who, doses_, seen in zip(table.ids, table.doses, table.observations, strict=True):
        given = max((r.time + r.duration for r in doses_), default=-1.0)
        last = max([given, *np.asarray(seen.time, float).tolist()])
        day = last if last > given + 1e-9 else np.floor(given + 1e-9) + 1.0
        if day > study.head.days:
            message = f"its last record is on day {last:g}, and the study ends there; needed: days = {day:g} or more"
            problems.append(Problem(f"{study.events_path}: patient {who!r}", message))
        found.append(day)
    if problems:
        raise InputError(*problems[:20])
    return np.array(found)


def _shared(
    f: lockstep.Function, course: Course, found: Minima, goals: Sequence[Goal], limits: Sequence[Limit], said: Any
) -> np.ndarray:
    """The relaxed plan that is best if all get the same: what individual plans are to beat."""
    d, n = course.decisions, found.x.shape[1]
    good = np.isfinite(found.objective)

    def of(some: int) -> Callable[[Any], tuple[Any, Any]]:
        def mean(x: Any) -> tuple[Any, Any]:
            value, excess = f(jnp.tile(x[:, None], some), np.arange(some))
            return jnp.mean(value[good[:some]]), jnp.mean(excess[:, good[:some]], axis=1)

        return mean

    settings = descent.Settings(1, 0, said.polish, said.tolerance)
    return descent.descend(of(n), of(min(n, SOME)), d.low, d.high, np.median(found.x, axis=1), settings).x


def _real(
    train: Sampled, goals: Sequence[Goal], limits: Sequence[Limit], found: Minima, shared: np.ndarray,
    levels: list[np.ndarray], say: Say,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Real doses of everybody, and of the shared plan, by counting on the samples."""
    n = train.patients
    seen: list[dict[bytes, tuple[float, np.ndarray]]] = [{} for _ in range(n)]

    def counted(x: np.ndarray, who: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Objective `[pair]` and excesses `[constraint, pair]`; each plan of a patient is simulated once."""
        keys = [row.tobytes() for row in x.T]
        new = list(
            {(k, key): i for i, (k, key) in enumerate(zip(who, keys, strict=True)) if key not in seen[k]}.values()
        )
        if new:
            of = train.exact(x[:, new], goals, limits, who=who[new])
            for i, value, excess in zip(new, of.objective, of.excess(limits).T, strict=True):
                seen[who[i]][keys[i]] = float(value), excess
        pairs = [seen[k][key] for k, key in zip(who, keys, strict=True)]
        return np.array([value for value, _ in pairs]), np.stack([excess for _, excess in pairs], axis=1)

    x, going = found.x.copy(), np.arange(n)
    price = PENALTY * found.multipliers + np.abs(np.nan_to_num(counted(x, going)[0]))
    for times in SHARPER if limits else (1.0,):
        say(f"real doses of {len(going)} patients")

        def merit(x: np.ndarray, mine: np.ndarray, price: np.ndarray = times * price, among: np.ndarray = going) -> Any:
            value, excess = counted(x, among[mine])
            total = value + np.sum(price[:, among[mine]] * np.maximum(excess, 0.0), axis=0)
            return np.where(np.isfinite(total), total, np.inf)

        x[:, going] = discrete.search_each(merit, x[:, going], levels)
        going = going[np.any(counted(x[:, going], going)[1] > 1e-9, axis=0)]
        if not len(going):
            break
    tried = np.array([len(plans) for plans in seen])

    def mean(x: np.ndarray) -> float:
        of = train.exact(np.tile(x[:, None], n), goals, limits)
        over = np.maximum(np.nanmean(of.excess(limits), axis=1), 0.0).sum() if limits else 0.0
        return float(np.nanmean(of.objective) + SHARPER[-1] * over)

    say("real doses of one plan for all")
    return x, discrete.search(mean, shared, levels).x, tried


def _filled(values: Any) -> Any:
    """Samples without a result count as the patient's mean of the others, without a gradient."""
    good = jnp.isfinite(values)
    share = jnp.mean(jnp.where(good, 1.0, jnp.zeros_like(values)), axis=0, keepdims=True)
    mean = jnp.mean(jnp.where(good, values, 0.0), axis=0, keepdims=True) / share
    return jnp.where(good, values, jax.lax.stop_gradient(mean))


def _risk(loss: Any, level: float | None) -> Any:
    return jnp.mean(loss, axis=0) if level is None else jax.vmap(lambda v: risk.cvar(v, level), in_axes=1)(loss)


def _excess(limit: Limit, value: Any, smoothing: float) -> Any:
    if limit.probability is not None:
        width = 0.5 * smoothing * (abs(limit.bound) or 1.0)
        sign = 1.0 if limit.least else -1.0
        return limit.probability - jnp.mean(jax.nn.sigmoid(sign * (value - limit.bound) / width), axis=0)
    sign = 1.0 if limit.least else -1.0
    return sign * (limit.bound - jnp.mean(value, axis=0)) / limit.scale


def _kept(limit: Limit, values: np.ndarray) -> np.ndarray:
    if limit.probability is None:
        return np.asarray(_filled(jnp.asarray(values))).mean(axis=0)
    return np.mean(values >= limit.bound if limit.least else values <= limit.bound, axis=0)
