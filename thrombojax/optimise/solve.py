"""From a study with [optimise] to plans: relaxed, made real, and evaluated on patients that took no part."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from thrombojax.dosing.treatment import Treatment
from thrombojax.errors import InputError, Problem, RunError
from thrombojax.optimise import descent, discrete, doses, rule
from thrombojax.optimise.descent import Found, Settings
from thrombojax.optimise.discrete import Chosen
from thrombojax.optimise.holdout import Bench, Evaluated, Share, joined, objective, share
from thrombojax.optimise.objective import Objective
from thrombojax.optimise.problem import Decisions, Goal, Limit
from thrombojax.patients.entry import conditions, meets
from thrombojax.patients.population import Patients
from thrombojax.study import plan as plans
from thrombojax.study.schema import Study

HOLDOUT = "hold-out"
PENALTY = 3.0
"""What a violated constraint costs in the search for real doses, x its multiplier and its excess over its scale: enough to be
kept, and not so much that the search gives up everything else for it."""
SHARPER = (1.0, 10.0, 100.0, 1e4)
"""Times that, until it is kept."""
TIGHTENED = 3
"""Times that the optimiser is asked to keep further away from a constraint that counting finds violated."""

Say = Callable[[str], None]


class Deciding(Protocol):
    """What is decided about a treatment: doses and times, or numbers of a rule."""

    @property
    def decisions(self) -> Decisions: ...

    def function(self, patients: Patients, goals: Sequence[Goal], limits: Sequence[Limit], n: int | None) -> Objective:
        """Of the first n patients."""

    def treatment(self, x: np.ndarray) -> Treatment: ...

    def levels(self) -> list[np.ndarray] | None: ...


@dataclass(frozen=True, eq=False)
class Planned:
    """The plan of one stratum. x: `[k]`, what is reported: real doses where they were asked for; relaxed, chosen: how it came.

    exact_relaxed, exact: objective by counting on the training patients; shares: constraints there.
    """

    stratum: str
    patients: int
    relaxed: Found
    chosen: Chosen | None
    x: np.ndarray
    treatment: Treatment
    exact_relaxed: float
    exact: float
    shares: tuple[Share, ...]
    tightened: int = 0


@dataclass(frozen=True, eq=False)
class Optimised:
    """arms: name -> evaluated on the hold-out patients, the optimised one first; training: likewise, on those it was found on."""

    study: Study
    plan: plans.Plan
    decisions: Decisions
    goals: tuple[Goal, ...]
    limits: tuple[Limit, ...]
    planned: tuple[Planned, ...]
    arms: Mapping[str, Evaluated]
    training: Mapping[str, Evaluated]
    days: np.ndarray
    seed: int
    front: tuple["Optimised", ...] = field(default=())

    @property
    def name(self) -> str:
        return next(iter(self.arms))

    @property
    def decided(self) -> tuple[str, ...]:
        """The drugs whose doses or times are decided, each once."""
        assert self.study.optimise is not None
        said = self.study.optimise
        named = [part.drug for part in said.dose or (said,)]
        rest = self.planned[0].treatment.regimen.drugs
        return tuple(drug for drug in rest if drug in named or named == [None])

    @property
    def feasible(self) -> bool:
        return all(s.holds for p in self.planned for s in p.shares)

    @property
    def troubles(self) -> tuple[str, ...]:
        """What ended descents before their time."""
        return tuple(p.relaxed.trouble for p in self.planned if p.relaxed.trouble)


def optimise(study: Study, plan: plans.Plan | None = None, say: Say = lambda text: None) -> Optimised:
    """InputError before anything is computed; RunError where nothing can be. Infeasible constraints are in the result."""
    said = study.optimise
    if said is None:
        raise InputError(Problem(study.where, "has no section [optimise]; needed: what is decided, and what is wanted"))
    plan = plan or plans.make(study)
    goals, limits = wanted(study)
    deciding = deciding_of(study, plan)
    fronts = next((i for i, c in enumerate(said.constraint) if c.front), None)
    if fronts is None:
        return _one(study, plan, deciding, goals, limits, None, say)
    values = said.constraint[fronts].front or ()
    found: list[Optimised] = []
    warm: Mapping[str, np.ndarray] | None = None
    for value in values:
        say(f"front: {limits[fronts].endpoint} {value:g}")
        mine = tuple(replace(c, bound=value) if i == fronts else c for i, c in enumerate(limits))
        found.append(_one(study, plan, deciding, goals, mine, warm, say))
        warm = {p.stratum: p.relaxed.x for p in found[-1].planned}
    last = limits[fronts].bound
    chosen = min(found, key=lambda o: abs(o.limits[fronts].bound - last))
    return replace(chosen, front=tuple(found))


def deciding_of(study: Study, plan: plans.Plan) -> Deciding:
    """What a study decides."""
    said = study.optimise
    assert said is not None
    cell = next(c for c in plan.cells if c.arm == said.arm)
    return rule.deciding(study, plan, cell) if said.number else doses.deciding(study, plan, cell)


def wanted(study: Study) -> tuple[tuple[Goal, ...], tuple[Limit, ...]]:
    """Objective and constraints as the study says them."""
    said = study.optimise
    assert said is not None
    goals = tuple(
        Goal(
            g.maximise or g.minimise or "", -1.0 if g.maximise else 1.0, g.weight, g.level if g.risk == "cvar" else None
        )
        for g in said.objective
    )
    limits = []
    for c in said.constraint:
        bound = c.at_least if c.at_least is not None else c.at_most
        assert bound is not None
        limits.append(Limit(c.endpoint, bound, c.at_least is not None, c.probability))
    return goals, tuple(limits)


def _one(
    study: Study, plan: plans.Plan, deciding: Deciding, goals: tuple[Goal, ...], limits: tuple[Limit, ...],
    warm: Mapping[str, np.ndarray] | None, say: Say,
) -> Optimised:  # fmt: skip
    said = study.optimise
    assert said is not None
    seed = study.head.seed + 1 if said.seed is None else said.seed
    if seed == study.head.seed:
        raise InputError(
            Problem(study.at("optimise", "seed"), "is that of the study; needed: another, for fresh patients")
        )
    fresh = plans.make(study.override(seed=seed, n=said.holdout)).patients
    train, test = bench(plan, plan.patients), bench(plan, fresh)
    days = np.unique(np.append(np.arange(0.0, study.head.days, max(1.0, study.head.days // 90)), study.head.days))
    planned, parts, mine = [], [], []
    for label, rows, out in strata(study, plan, fresh):
        say(f"{label or 'all'}: {len(rows)} patients")
        people = plan.patients.pick(rows) if label else plan.patients
        first = None if warm is None else warm[label]
        made = _planned(deciding, bench(plan, people) if label else train, goals, limits, label, first, said, say)
        planned.append(made)
        mine.append((rows, train.evaluate(made.treatment, rows if label else None)))
        parts.append((out, test.evaluate(made.treatment, out if label else None, days.tolist())))
    arms = {"optimised": joined(parts, fresh.n)}
    training = {"optimised": joined(mine, plan.patients.n)}
    for cell in plan.cells:
        say(f"hold-out: {cell.arm}")
        arms[cell.arm] = test.evaluate(cell.treatment, save=days.tolist())
        training[cell.arm] = train.evaluate(cell.treatment)
    return Optimised(
        study, plan, deciding.decisions, goals, limits, tuple(planned), arms, training, days, seed
    )  # fmt: skip


def bench(plan: plans.Plan, patients: Patients) -> Bench:
    """Patients with the errors and fluctuations of the study or its cohort."""
    head = plan.study.head
    seen = plans.observation(plan.study, patients, plan.model)
    return Bench(patients, head.days, plan.endpoints, seen, head.precision, head.accuracy, head.backend)


def strata(study: Study, plan: plans.Plan, fresh: Patients) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(condition, places among the training patients, among the hold-out patients); one of no name where there are none."""
    said = study.optimise
    assert said is not None
    if said.strata is None:
        return [("", np.arange(plan.patients.n), np.arange(fresh.n))]
    found = []
    left, right = np.zeros(plan.patients.n, int), np.zeros(fresh.n, int)
    problems = []
    for i, text in enumerate(said.strata):
        where = study.at("optimise", "strata", i)
        asked = conditions(text, plan.model, where)
        inside, outside = meets(plan.patients, plan.model, asked), meets(fresh, plan.model, asked)
        left, right = left + inside, right + outside
        if inside.sum() < 2 or outside.sum() < 2:
            message = (
                f"{text!r} has {inside.sum()} of the patients and {outside.sum()} of the hold-out; needed: 2 or more"
            )
            problems.append(Problem(where, message))
        found.append((text, np.flatnonzero(inside), np.flatnonzero(outside)))
    if not problems and (np.any(left != 1) or np.any(right != 1)):
        problems.append(
            Problem(
                study.at("optimise", "strata"),
                f"hold {int(np.sum(left != 1))} patients not exactly once; needed: every one",
            )
        )
    if problems:
        raise InputError(*problems)
    return found


def _planned(
    deciding: Deciding, train: Bench, goals: tuple[Goal, ...], limits: tuple[Limit, ...], label: str,
    warm: np.ndarray | None, said: Any, say: Say,
) -> Planned:  # fmt: skip
    d = deciding.decisions
    settings = Settings(
        said.starts if warm is None else 1, said.steps, said.polish, said.tolerance, mini_batches=said.mini_batches,
    )  # fmt: skip
    start = d.start if warm is None else warm
    mine, real = limits, deciding.levels()
    n = train.patients.n
    for turn in range(TIGHTENED + 1):
        whole = deciding.function(train.patients, goals, mine, None)
        rough = deciding.function(train.patients, goals, mine, said.batch) if said.batch < n else whole
        sizes = (whole.patients, rough.patients) if said.mini_batches and rough is not whole else None
        several = rough.beside(settings.starts) if settings.starts > 1 and sizes is None else None
        found = descent.descend(whole, rough, d.low, d.high, start, settings, say, sizes, several)
        seen = train.evaluate(deciding.treatment(found.x))
        shares = [share(limit, seen, said.confidence) for limit in limits]
        if real is not None or all(s.holds for s in shares) or turn == TIGHTENED:
            break
        mine = tuple(
            replace(m, margin=m.margin + 1.2 * max(m.excess(s.value), 0.0)) for m, s in zip(mine, shares, strict=True)
        )
        say("counting finds a constraint violated: the optimiser keeps further away")
        start, settings = found.x, replace(settings, starts=1, steps=min(said.steps, 10))
    relaxed = objective(goals, seen)
    if real is None:
        return Planned(
            label, n, found, None, found.x, deciding.treatment(found.x), relaxed, relaxed, tuple(shares), turn
        )
    chosen, seen = _real(deciding, train, goals, limits, found, real, said, say)
    shares = [share(limit, seen, said.confidence) for limit in limits]
    exact = objective(goals, seen)
    if not np.isfinite(exact):
        raise RunError("the objective of the real doses is not finite")
    return Planned(label, n, found, chosen, chosen.x, deciding.treatment(chosen.x), relaxed, exact, tuple(shares), 0)


def _real(
    deciding: Deciding, train: Bench, goals: tuple[Goal, ...], limits: tuple[Limit, ...], found: Found,
    real: list[np.ndarray], said: Any, say: Say,
) -> tuple[Chosen, Evaluated]:  # fmt: skip
    """Real doses by counting on some patients, further away from constraints that all of them then find violated."""
    rows = None if said.batch >= train.patients.n else np.arange(said.batch)
    seen: dict[tuple[float, ...], tuple[float, np.ndarray]] = {}

    def counted(x: np.ndarray) -> tuple[float, np.ndarray]:
        if tuple(x) not in seen:
            of = train.evaluate(deciding.treatment(x), rows)
            over = np.array([m.excess(share(m, of, said.confidence).value) for m in limits])
            seen[tuple(x)] = objective(goals, of), over
        return seen[tuple(x)]

    margin, rounded, x = np.zeros(len(limits)), list[float](), found.x
    scale = np.array([m.scale for m in limits])
    price = PENALTY * found.multipliers + abs(counted(x)[0])
    for _ in range(TIGHTENED):
        for sharper in SHARPER:

            def merit(x: np.ndarray, margin: np.ndarray = margin, price: np.ndarray = sharper * price) -> float:
                value, excess = counted(x)
                return value + float(price @ (np.maximum(excess + margin, 0.0) / scale))

            chosen = discrete.search(merit, x, real, say)
            rounded.append(chosen.rounded)
            x = chosen.x
            if np.all(counted(x)[1] + margin <= 0.0):
                break
        whole = train.evaluate(deciding.treatment(x))
        excess = np.array([m.excess(share(m, whole, said.confidence).value) for m in limits])
        if np.all(excess <= 0.0) or rows is None:
            break
        # as far away as makes this plan one that some of the patients find violated too
        margin = np.where(excess > 0.0, np.maximum(margin, excess - counted(x)[1]), margin)
    return replace(chosen, rounded=rounded[0], tried=len(seen)), whole
