"""Individual plans: what each patient's counts so far say about it, and the doses that are best for that.

Posterior samples of every patient are carried through its recorded doses to its last record, and from there through the plan.
The best plan of a patient is that of the best mean (or CVaR) over its own samples; all patients are one batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from thrombojax.dosing.administer import columns
from thrombojax.dosing.sentence import regimen
from thrombojax.endpoints import REDUCERS, Endpoint
from thrombojax.errors import InputError, Problem, RunError
from thrombojax.fit import patients as fitting
from thrombojax.fit import problem as posteriors
from thrombojax.fit.patients import Fits
from thrombojax.optimise import descent, discrete, doses, lockstep, smooth
from thrombojax.optimise.lockstep import Minima
from thrombojax.optimise.problem import Course, Goal, Limit, together
from thrombojax.optimise.sampled import Counted, Sampled, sampled
from thrombojax.optimise.solve import PENALTY, SHARPER, wanted
from thrombojax.study import plan as plans
from thrombojax.study.schema import Study

Say = Callable[[str], None]
SOME = 256
"""Patients on whom the one plan for all is looked for first."""


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
