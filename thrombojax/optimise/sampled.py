"""Posterior samples of patients, carried through what each was given, and what a plan does to them: smooth and counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thrombojax.dosing import each
from thrombojax.endpoints import Endpoint
from thrombojax.fit import patients as fitting
from thrombojax.fit import problem as posteriors
from thrombojax.fit.patients import Fits
from thrombojax.models import struct
from thrombojax.optimise import lockstep, own, risk
from thrombojax.optimise.own import Own
from thrombojax.optimise.problem import Course, Goal, Limit
from thrombojax.patients.draw import normal
from thrombojax.solve import engine
from thrombojax.solve.engine import Cohort
from thrombojax.study import plan as plans
from thrombojax.study.schema import Study


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
