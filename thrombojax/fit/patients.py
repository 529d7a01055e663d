"""Individual fits: the most probable parameters of each patient given its counts (maximum a posteriori), thousands in one batch.

Uncertainty is Laplace's: the posterior is taken as normal in the priors' z, with the Gauss-Newton curvature at its top. Of a
mixture each patient is fitted in every component, and has the one whose evidence (Laplace) is largest.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import logsumexp, ndtri

from thrombojax.errors import RunError
from thrombojax.fit import problem as problems
from thrombojax.fit.newton import Minimum, minimise
from thrombojax.fit.problem import Posterior
from thrombojax.patients.draw import normal
from thrombojax.study import plan as plans
from thrombojax.study.schema import load

OK, NOT_CONVERGED, NOT_FINITE, AT_BOUND = 0, 1, 2, 3
STATUS = {"ok": OK, "not_converged": NOT_CONVERGED, "not_finite": NOT_FINITE, "at_bound": AT_BOUND}
"""at_bound: converged, with a parameter where its prior is cut off, so that its interval is not to be trusted."""


@dataclass(frozen=True, eq=False)
class Fits:
    """What was found of each patient; NaN where its status is not_finite.

    z: `[parameter, patient]`, in standard deviations of the prior; covariance: of z, `[patient, parameter, parameter]`;
    estimate, low, high: `[parameter, patient]` in the parameter's unit, the interval of probability `level`; eta, se: the
    deviation from the median and its standard error, on the logarithm where the prior is log-normal; shrinkage: `[parameter]`,
    1 - SD of z over patients; predicted: `[place, patient]`; objective: minus the log posterior; component: `[patient]`, the
    chosen one of posterior.components; probability: `[component, patient]`; status: as in STATUS.
    """

    posterior: Posterior
    ids: tuple[str, ...]
    level: float
    z: np.ndarray
    covariance: np.ndarray
    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    eta: np.ndarray
    se: np.ndarray
    shrinkage: np.ndarray
    predicted: np.ndarray
    objective: np.ndarray
    component: np.ndarray
    probability: np.ndarray
    iterations: np.ndarray
    status: np.ndarray

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(p.name for p in self.posterior.priors)

    @property
    def rows(self) -> np.ndarray:
        """Each patient's row of the posterior, in its component."""
        return self.component * self.posterior.patients + np.arange(self.posterior.patients)


def individual(study_path: str | Path, *, patients: int | None = None) -> Fits:
    """Fit every patient of a study with [events] and [fit]. InputError for wrong input, RunError where nobody can be fitted."""
    study = load(study_path).override(n=patients)
    plan = plans.make(study)
    said = study.fit
    posterior = problems.make(plan)
    assert said is not None
    return fit(posterior, plan.ids, said.level)


def fit(posterior: Posterior, ids: tuple[str, ...], level: float = 0.9) -> Fits:
    """All patients of a posterior, every component of each at once."""
    rows = np.arange(posterior.rows)
    fastest = np.zeros(posterior.rows)
    start = np.zeros((len(posterior.priors), posterior.rows))

    def evaluate(z: np.ndarray, some: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found: tuple[np.ndarray, np.ndarray, np.ndarray] = problems.evaluate(posterior, z, rows[some], fastest)
        return found

    best = minimise(evaluate, start, posterior.low, posterior.high)
    if not np.isfinite(best.objective).any():
        raise RunError(
            f"none of {posterior.patients} patients could be fitted: at the priors' medians no count is finite"
        )
    return _chosen(posterior, ids, level, best, fastest)


def _chosen(posterior: Posterior, ids: tuple[str, ...], level: float, best: Minimum, fastest: np.ndarray) -> Fits:
    n, k = posterior.patients, len(posterior.priors)
    weight = np.repeat([c.weight for c in posterior.components], n)
    sign, volume = np.linalg.slogdet(best.hessian)
    evidence = np.where(np.isfinite(best.objective) & (sign > 0), -best.objective + weight - 0.5 * volume, -np.inf)
    evidence = evidence.reshape(len(posterior.components), n)
    component = np.argmax(evidence, axis=0)
    mine = component * n + np.arange(n)
    finite = np.isfinite(evidence.max(axis=0))
    with np.errstate(invalid="ignore"):
        probability = np.exp(evidence - logsumexp(evidence, axis=0))
    z = np.where(finite, best.z[:, mine], np.nan)
    covariance = np.full((n, k, k), np.nan)
    covariance[finite] = np.linalg.inv(best.hessian[mine[finite]])
    spread = np.sqrt(np.einsum("nkk->kn", covariance))
    typical = np.stack([posterior.typical[p.name][mine] for p in posterior.priors])
    q = ndtri(0.5 + 0.5 * level)

    def value(z: np.ndarray) -> np.ndarray:
        z = np.clip(z, posterior.low[:, mine], posterior.high[:, mine])
        return np.stack([p.value(t, x) for p, t, x in zip(posterior.priors, typical, z, strict=True)])

    predicted = np.full(posterior.dv.shape, np.nan)
    some = np.flatnonzero(finite)
    for start in range(0, len(some), problems.CHUNK):
        few = some[start : start + problems.CHUNK]
        predicted[:, few] = problems.predict(posterior, z[:, few], mine[few], fastest).values
    predicted[posterior.course.bounds < 0] = np.nan
    held = (z <= posterior.low[:, mine]) | (z >= posterior.high[:, mine])
    status = np.where(held.any(axis=0), AT_BOUND, OK)
    status = np.where(best.converged[mine], status, NOT_CONVERGED)
    status = np.where(finite, status, NOT_FINITE).astype(np.uint8)
    width = np.array([p.spread for p in posterior.priors])[:, None]
    shrinkage = 1.0 - np.nanstd(z, axis=1, ddof=1) if finite.sum() > 1 else np.full(k, np.nan)
    return Fits(
        posterior, ids, level, z, covariance, value(z), value(z - q * spread), value(z + q * spread), width * z,
        width * spread, shrinkage, predicted, np.where(finite, best.objective[mine], np.nan), component, probability,
        best.iterations[mine], status,
    )  # fmt: skip


def samples(fits: Fits, n: int, seed: int = 1) -> np.ndarray:
    """Draws of each patient's parameters from its posterior, `[draw, parameter, patient]`, in the parameters' units.

    Within the patient's component; NaN for a patient that was not fitted. The same seed gives the same draws.
    """
    posterior, rows = fits.posterior, fits.rows
    z = drawn(fits, n, seed)
    return np.stack([p.value(posterior.typical[p.name][rows], z[:, j]) for j, p in enumerate(posterior.priors)], axis=1)


def drawn(fits: Fits, n: int, seed: int = 1) -> np.ndarray:
    """The same in standard deviations of the priors."""
    posterior, (k, patients) = fits.posterior, fits.z.shape
    index = np.arange(n * patients)
    noise = np.stack([normal(seed, f"fit/{name}", index).reshape(n, patients) for name in fits.parameters], axis=1)
    root = np.full((patients, k, k), np.nan)
    there = np.isfinite(fits.covariance).all(axis=(1, 2))
    root[there] = np.linalg.cholesky(fits.covariance[there])
    rows = fits.rows
    z = fits.z + np.einsum("nkl,dln->dkn", root, noise)
    return np.clip(z, posterior.low[:, rows], posterior.high[:, rows])
