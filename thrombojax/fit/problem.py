"""From a study with observed counts and a [fit] section to a function that has a minimum: one posterior a patient."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from thrombojax.errors import InputError, Problem, unknown
from thrombojax.fit import steady
from thrombojax.fit.noise import Noise, score
from thrombojax.fit.priors import Prior, of_cohort, precision
from thrombojax.fit.steady import Anchor
from thrombojax.models import struct
from thrombojax.models.protocol import Model
from thrombojax.patients import population
from thrombojax.patients.cohort import COUNT, Cohort, Mixture
from thrombojax.patients.recorded import Course, course
from thrombojax.solve import engine, sensitivities
from thrombojax.solve.pieces import COUNT as SEEN
from thrombojax.solve.sensitivities import Moved
from thrombojax.solve.steppers import method
from thrombojax.study.catalogue import resolve, unresolved
from thrombojax.study.plan import Plan, catalogue

CHUNK = 2048
"""Rows that are computed at once, which bounds the memory."""
SMALL = 1e-4
"""Step of differences where no kernel has tangents, in standard deviations of the prior."""
MOST_COMPONENTS = 16


@dataclass(frozen=True)
class Component:
    """One part of each mixture that is decided: its name, and the logarithm of its probability."""

    name: str
    weight: float


@dataclass(frozen=True, eq=False)
class Posterior:
    """All patients' posteriors. A row is a patient in a component: `row = component x patients + patient`.

    typical: leaf (and `count`) -> `[row]`, what holds where nothing is fitted; dv: `[place, patient]`, NaN where nothing was
    seen; precision: of the priors' z, `[k, k]`; low, high: `[k, row]`, where priors are cut off.
    """

    model: Model
    priors: tuple[Prior, ...]
    precision: np.ndarray
    noise: Noise
    components: tuple[Component, ...]
    typical: Mapping[str, np.ndarray]
    low: np.ndarray
    high: np.ndarray
    dv: np.ndarray
    course: Course
    anchor: Anchor
    accuracy: float
    backend: str

    @property
    def patients(self) -> int:
        return self.dv.shape[1]

    @property
    def rows(self) -> int:
        return self.patients * len(self.components)

    def values(self, z: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The parameters of z (`[k, row]`)."""
        return np.stack([p.value(self.typical[p.name][rows], x) for p, x in zip(self.priors, z, strict=True)])


def make(plan: Plan) -> Posterior:
    """The posteriors of a study's patients. InputError for every name, prior and number that does not go together."""
    study, said, events = plan.study, plan.study.fit, plan.events
    if said is None or events is None:
        raise InputError(
            Problem(study.at("fit"), "is missing; needed: [fit] and [events], which say what to fit to what")
        )
    model, cohort = plan.model, plan.patients.cohort
    if not any(np.isfinite(seen.dv).any() for seen in events.table.observations):
        raise InputError(Problem(str(study.events_path), "has no observation with a DV; needed: counts to fit"))
    empty = [
        who for who, seen in zip(plan.ids, events.table.observations, strict=True) if not np.isfinite(seen.dv).any()
    ]
    problems = [
        Problem(
            f"{study.events_path}: patient {who!r}", "has no observation with a DV; needed: one, or to leave it out"
        )
        for who in empty[:20]
    ]
    priors, wrong = _priors(plan)
    components, wrong_too = _components(plan)
    noise, wrong_noise = _noise(plan)
    problems += [*wrong, *wrong_too, *wrong_noise]
    if problems:
        raise InputError(*problems)
    found = [population.values(replace(plan.patients, cohort=made, index=None), model) for _, made in components]
    typical = {leaf: np.concatenate([values[leaf] for values in found]) for leaf in found[0]}
    n = len(plan.ids)
    anchor = (
        (cohort.anchor.unknown, cohort.anchor.start)
        if cohort is not None and cohort.anchor and COUNT in typical
        else None
    )
    people = population.prepare(replace(plan.patients, cohort=components[0][1], index=None), model)
    given = course(events, people, range(n), study.head.days, [], [])
    dv = np.full((events.most, n), np.nan)
    for k, seen in enumerate(events.table.observations):
        dv[: len(seen.dv), k] = seen.dv
    names = [p.name for p in priors]
    low, high = (np.stack([p.place(typical[p.name], getattr(p, end)) for p in priors]) for end in ("low", "high"))
    return Posterior(
        model, priors, precision(cohort, names), noise, tuple(c for c, _ in components), typical, low, high, dv, given,
        anchor, study.head.accuracy, study.head.backend,
    )  # fmt: skip


def _priors(plan: Plan) -> tuple[tuple[Prior, ...], list[Problem]]:
    study, said, model, cohort = plan.study, plan.study.fit, plan.model, plan.patients.cohort
    assert said is not None
    known = catalogue(plan.patients.source)
    mine = struct.names(model.Parameters)
    own = {leaf.name: leaf.quantity.cv for leaf in struct.fields(model.Parameters)}
    anchored = cohort.anchor.unknown if cohort is not None and cohort.anchor is not None else None
    problems: list[Problem] = []
    leaves: list[str] = []
    for i, name in enumerate(said.parameters):
        where = study.at("fit", "parameters", i)
        wrong = unresolved(where, "parameter or covariate", name, known.numbers)
        leaf = resolve(name, known.numbers) or ""
        if wrong is not None:
            problems.append(wrong)
        elif leaf in leaves:
            problems.append(Problem(where, f"{leaf!r} is given twice"))
        elif leaf not in mine and leaf != COUNT:
            problems.append(Problem(where, f"{leaf!r} belongs to a drug that nobody in the table is given"))
        elif leaf == COUNT and anchored is None:
            problems.append(Problem(where, f"{COUNT!r} is what some cohorts are drawn by; this study's is not"))
        elif leaf == anchored:
            problems.append(Problem(where, f"{leaf!r} is solved from each patient's count; allowed: {COUNT!r}"))
        elif leaf in plan.patients.changes:
            problems.append(Problem(where, f"{leaf!r} is given by the table or an override; allowed: one of the two"))
        elif _timed(model, leaf):
            problems.append(Problem(where, f"{leaf!r} moves the times of a lag or a switch, which are not fitted"))
        else:
            leaves.append(leaf)
    cvs: dict[str, float] = {}
    for name, cv in said.cv.items():
        leaf = resolve(name, leaves) or ""
        if leaf:
            cvs[leaf] = cv
        elif not problems:
            problems.append(unknown(study.at("fit", "cv", name), "fitted parameter", name, leaves))
    priors = []
    for leaf in leaves:
        prior = of_cohort(cohort, leaf, cvs.get(leaf), own.get(leaf))
        if prior is None:
            who = f"the cohort {cohort.name!r}" if cohort is not None else f"the model {model.name!r}"
            message = f'{leaf!r} does not vary in {who}, so it has no prior; needed: its CV, such as cv = {{ "{leaf}" = 0.3 }}'
            problems.append(Problem(study.at("fit", "parameters"), message))
        else:
            priors.append(prior)
    return tuple(priors), problems


def _timed(model: Model, leaf: str) -> bool:
    """Whether a leaf decides when a dose arrives or equations change: every patient's timeline is made once."""
    if leaf == COUNT:
        return False

    def times(p: Any) -> list[float]:
        after = itertools.chain.from_iterable(model.breakpoints(p).after_dose.values())
        return [float(t) for t in (*(e.lag(p) for e in model.entries.values() if e.lag is not None), *after)]

    moved = struct.replace(model.defaults, {leaf: 1.1 * struct.as_dict(model.defaults)[leaf] + 0.01})
    return times(moved) != times(model.defaults)


def _components(plan: Plan) -> tuple[list[tuple[Component, Cohort | None]], list[Problem]]:
    """Every combination of parts of the mixtures that are decided, with a cohort that has no other."""
    study, said, cohort = plan.study, plan.study.fit, plan.patients.cohort
    assert said is not None
    known = {m.name: m for m in cohort.mixture} if cohort is not None else {}
    where = study.at("fit", "mixtures")
    if said.mixtures is None and any(_matters(plan, m) for m in known.values()):
        names = ", ".join(f'"{name}"' for name, m in known.items() if _matters(plan, m))
        message = (
            f"is missing: the cohort {study.patients.cohort!r} is a mixture; needed: those that are decided from each "
            f"patient's counts, of [{names}], the others having their most probable part; [] for none"
        )
        return [], [Problem(where, message)]
    wrong = [unknown(where, "mixture", name, known) for name in said.mixtures or () if name not in known]
    if wrong:
        return [], wrong
    chosen = [known[name] for name in dict.fromkeys(said.mixtures or ())]
    n = int(np.prod([len(m.parts) for m in chosen], dtype=int))
    if n > MOST_COMPONENTS:
        return [], [Problem(where, f"make {n} combinations; allowed: {MOST_COMPONENTS}")]
    found = []
    for parts in itertools.product(*(m.parts for m in chosen)):
        whole = [sum(p.probability for p in m.parts) for m in chosen]
        weight = float(sum(np.log(p.probability / w) for p, w in zip(parts, whole, strict=True)))
        single = {m.name: Mixture(name=m.name, source=m.source, parts=(p,)) for m, p in zip(chosen, parts, strict=True)}
        made = cohort and cohort.model_copy(update={"mixture": tuple(single.get(m.name, m) for m in cohort.mixture)})
        name = ", ".join(f"{m.name}: {p.name}" for m, p in zip(chosen, parts, strict=True))
        found.append((Component(name or "typical", weight), made))
    return found, []


def _matters(plan: Plan, mixture: Mixture) -> bool:
    """Whether a mixture changes what this model has, beyond what the table says."""
    leaves = {leaf for part in mixture.parts for leaf in (*part.set, *part.scale)}
    return any(leaf in struct.names(plan.model.Parameters) and leaf not in plan.patients.changes for leaf in leaves)


def _noise(plan: Plan) -> tuple[Noise, list[Problem]]:
    study, said, cohort = plan.study, plan.study.fit, plan.patients.cohort
    assert said is not None
    seen = cohort.observation if cohort is not None else None
    cv = said.residual_cv if said.residual_cv is not None else seen.residual_cv if seen is not None else None
    where = study.at("fit", "residual_cv")
    if said.residual_cv is None and seen is not None and seen.slow_cv > 0:
        message = (
            f"is missing: the cohort {study.patients.cohort!r} has an error that lasts for days (slow_cv), which fits do not "
            "have; needed: a CV for all of it"
        )
        return Noise(True, 1.0), [Problem(where, message)]
    if cv is None and not said.additive_sd:
        return Noise(True, 1.0), [
            Problem(where, "is missing, and no cohort says it; needed: a CV of the counts' error")
        ]
    if said.error == "log" and not cv:
        return Noise(True, 1.0), [Problem(where, 'is 0; needed: more, for error = "log"')]
    return Noise(said.error == "log", cv or 0.0, said.additive_sd), []


def _steady(of: Posterior, z: np.ndarray, rows: np.ndarray, block: int) -> Any:
    """`steady.move` of z (`[k, row]`): one direction a parameter."""
    leaves = steady.names(of.model, of.anchor)
    places = tuple(leaves.index(p.name) for p in of.priors)
    typical = [of.typical[p.name][rows] for p in of.priors]
    columns = [of.typical[leaf][rows] for leaf in leaves]
    for place, value in zip(places, of.values(z, rows), strict=True):
        columns[place] = value
    slopes = np.stack([p.slope(t, x) for p, t, x in zip(of.priors, typical, z, strict=True)])
    return steady.move(of.model, of.anchor, columns, places, np.eye(len(places))[:, :, None] * slopes, block)


def people(of: Posterior, z: np.ndarray, rows: np.ndarray) -> engine.Cohort:
    """Patients with the parameters of z (`[k, row]`), at their steady states before any dose."""
    cohort: engine.Cohort = _steady(of, z, rows, steady.BLOCK)[0]
    return cohort


def predict(of: Posterior, z: np.ndarray, rows: np.ndarray, fastest: np.ndarray, block: int = steady.BLOCK) -> Moved:
    """Predicted counts of z (`[k, row]`) and how they move with it.

    fastest: `[every row]`, the fastest rate of each row so far, kept up here: steps that grew back would make the objective jump.
    """
    whose = rows % of.patients
    cohort, dp, dy0 = _steady(of, z, rows, block)
    line = of.course.line._replace(timeline=jax.tree.map(lambda a: a[..., whose], of.course.line.timeline))
    bounds = of.course.bounds[:, whose]
    rate = np.where(np.isfinite(cohort.rate), cohort.rate, 0.0)
    fastest[rows] = np.maximum(fastest[rows], rate)
    on = sensitivities.machine(of.model, of.course.clinic, of.backend)
    if on is None:
        return _by_differences(of, replace(cohort, rate=fastest[rows]), z, rows, line, bounds)
    leaves = struct.names(of.model.Parameters)
    moving = {p.name for p in of.priors if p.name != COUNT} | ({of.anchor[0]} if of.anchor is not None else set())
    wrt = tuple(k for k, leaf in enumerate(leaves) if leaf in moving)
    factor = engine.buckets(of.model, fastest[rows], method(of.model)) * engine.refinement(
        of.model, line.columns, of.accuracy
    )
    factor = np.where(cohort.status == engine.OK, factor, 0.0)
    moved = np.stack([dp[k] for k in wrt], axis=1)
    states = np.stack(dy0, axis=1)
    return sensitivities.tangents(of.model, cohort, line, bounds, wrt, moved, states, factor, on)[SEEN]


def _by_differences(
    of: Posterior, cohort: engine.Cohort, z: np.ndarray, rows: np.ndarray, line: Any, bounds: Any
) -> Moved:
    """The same where no kernel has tangents."""
    whose, care = rows % of.patients, of.course.care
    if care is not None:
        care = care._replace(**{name: getattr(care, name)[..., whose] for name in ("factor", "taken", "course")})

    def at(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        there, *_ = _steady(of, z, rows, steady.BLOCK)
        return sensitivities.values(
            of.model, replace(there, rate=cohort.rate), line, bounds, of.course.clinic, care, backend=of.backend,
            accuracy=of.accuracy,
        )  # fmt: skip

    found, sound = at(z)
    moved = []
    for j in range(len(z)):
        step = SMALL * np.eye(len(z))[j][:, None]
        (up, good), (down, fine) = at(z + step), at(z - step)
        moved.append((up - down) / (2.0 * SMALL))
        sound = sound & good & fine
    return Moved(found, np.stack(moved, axis=1), sound)


def evaluate(of: Posterior, z: np.ndarray, rows: np.ndarray, fastest: np.ndarray, block: int = steady.BLOCK) -> Any:
    """Minus the log posterior of z (`[k, row]`), its gradient `[k, row]`, and its Gauss-Newton Hessian `[row, k, k]`."""
    parts = [_evaluate(of, z[:, s], rows[s], fastest, block) for s in _chunks(len(rows))]
    value, gradient, hessian = (list(a) for a in zip(*parts, strict=True))
    return np.concatenate(value), np.concatenate(gradient, axis=1), np.concatenate(hessian)


def _chunks(n: int) -> Sequence[slice]:
    return [slice(k, min(k + CHUNK, n)) for k in range(0, n, CHUNK)]


def _evaluate(of: Posterior, z: np.ndarray, rows: np.ndarray, fastest: np.ndarray, block: int) -> Any:
    moved = predict(of, z, rows, fastest, block)
    with np.errstate(invalid="ignore"):
        found = score(of.noise, of.dv[:, rows % of.patients], np.where(moved.sound, moved.values, np.nan))
    tangents = np.where(np.isnan(moved.tangents) | ~moved.sound, 0.0, moved.tangents)
    slope, curvature = (np.where(moved.sound, a, 0.0) for a in (found.slope, found.curvature))
    loss = np.where(moved.sound, found.loss, np.inf) + 0.5 * np.einsum("kn,kl,ln->n", z, of.precision, z)
    gradient = np.einsum("mkn,mn->kn", tangents, slope) + of.precision @ z
    hessian = np.einsum("mkn,mn,mln->nkl", tangents, curvature, tangents) + of.precision
    return loss, gradient, hessian
