"""Calibration: a few free parameters of a set by least squares through the simulator, from many starts at once.

Before any data each parameter is normal on its scale (log, logit, linear), with its plausible range as 95 % interval and as
bounds; z is in standard deviations of that. What is known afterwards is Gauss-Newton's, held against profiles.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from thrombojax.errors import InputError, Problem, RunError, unknown
from thrombojax.fit import scenarios
from thrombojax.fit.calibration_file import File, Target
from thrombojax.fit.newton import Minimum, minimise
from thrombojax.fit.scenarios import Group
from thrombojax.models import registry, struct
from thrombojax.models.struct import Quantity
from thrombojax.patients.draw import normal

WIDE = 1.959964
"""Standard deviations from the middle of a 95 % interval to its ends."""
SAME, NEAR = 0.02, 0.1
"""Starts have ended in one place whose objectives are so near, and whose z are."""
MOST = 150
"""Steps that a start may take."""
PROFILE = (-2.0, -1.0, 1.0, 2.0)
"""Where profiles look, in standard deviations of the posterior."""
FORWARD: Mapping[str, Callable[[Any], Any]] = {"log": np.log, "logit": logit, "linear": lambda x: x}
BACK: Mapping[str, Callable[[Any], Any]] = {"log": np.exp, "logit": expit, "linear": lambda x: x}
RATE: Mapping[str, Callable[[Any], Any]] = {
    "log": lambda x: x,
    "logit": lambda x: x * (1.0 - x),
    "linear": np.ones_like,
}
"""Slope of the value in its scale, from the value."""


@dataclass(frozen=True)
class Parameter:
    """base: its value in the set it starts from; low, high: its plausible range; leaves: what moves in proportion, itself first,
    with their values in that set; spread: of the prior, on its scale."""

    name: str
    leaves: Mapping[str, float]
    scale: str
    base: float
    low: float
    high: float
    unit: str

    @property
    def ends(self) -> tuple[float, float]:
        return float(FORWARD[self.scale](self.low)), float(FORWARD[self.scale](self.high))

    @property
    def spread(self) -> float:
        return (self.ends[1] - self.ends[0]) / (2.0 * WIDE)

    def value(self, z: Any) -> np.ndarray:
        return np.asarray(BACK[self.scale](0.5 * sum(self.ends) + self.spread * z))

    def slope(self, z: Any) -> np.ndarray:
        return np.asarray(self.spread * RATE[self.scale](self.value(z)))

    def place(self, value: float) -> float:
        return float((FORWARD[self.scale](value) - 0.5 * sum(self.ends)) / self.spread)


@dataclass(frozen=True, eq=False)
class Calibrated:
    """The best minimum and what is known about it. k parameters, t targets.

    z: `[k]`; before, after: `[t]`, simulated with the base set and with this one; residual: `[t]`, in standard deviations;
    jacobian: `[t, k]`, of the residuals in z; covariance: `[k, k]`, of z; pull: `[t, k]`, how far each target holds each
    parameter (z with it less z without it, in one Gauss-Newton step); profile: `[k, place]`, rise of the objective at PROFILE,
    with the others at their best; same: how many of `starts` ended here.
    """

    file: File
    parameters: tuple[Parameter, ...]
    z: np.ndarray
    before: np.ndarray
    after: np.ndarray
    residual_before: np.ndarray
    residual: np.ndarray
    jacobian: np.ndarray
    covariance: np.ndarray
    pull: np.ndarray
    profile: np.ndarray
    objective: float
    same: int
    starts: int
    iterations: int

    @property
    def values(self) -> np.ndarray:
        """`[k]`, in the parameters' units."""
        return np.array([float(p.value(z)) for p, z in zip(self.parameters, self.z, strict=True)])


def calibrate(file: File) -> Calibrated:
    """InputError for wrong input; RunError where no start converges, or the best one is held by a bound."""
    parameters = free(file)
    of = scenarios.groups(file, [tuple(p.leaves) for p in parameters])
    k, n = len(parameters), file.head.starts
    low, high = np.full((k, 1), -WIDE), np.full((k, 1), WIDE)
    start = np.clip(starts(parameters, n, file.head.seed), low, high)
    found = minimise(_objective(file, of, parameters, n), start, low, high, tolerance=1e-4, most=MOST)
    best = _best(file, parameters, found)
    z = found.z[:, best]
    both = np.stack([start[:, 0], z], axis=1)
    seen = _simulate(file, of, parameters, both, _rates(of, 2))
    residual, slopes = residuals(file.targets, seen)
    jacobian = slopes[:, :, 1]
    hessian = jacobian.T @ jacobian + np.eye(k)
    covariance = np.linalg.inv(hessian)
    near = np.isfinite(found.objective) & (found.objective < found.objective[best] + SAME)
    near &= np.abs(found.z - z[:, None]).max(axis=0) < NEAR
    return Calibrated(
        file, parameters, z, seen.values[:, 0], seen.values[:, 1], residual[:, 0], residual[:, 1], jacobian, covariance,
        pulls(jacobian, residual[:, 1], z), profiles(file, of, parameters, z, covariance, float(found.objective[best])),
        float(found.objective[best]), int(near.sum()), n, int(found.iterations[best]),
    )  # fmt: skip


def free(file: File) -> tuple[Parameter, ...]:
    """The free parameters, with the ranges of their declarations where the file has no other."""
    source = registry.Source("feedback", file.head.base)
    from thrombojax.models.feedback.assemble import parameter_sets

    if file.head.base not in parameter_sets():
        raise InputError(unknown(file.at("calibration", "base"), "parameter set", file.head.base, parameter_sets()))
    model = registry.build(source, registry.drugs(source))
    known = {leaf.name: leaf.quantity for leaf in struct.fields(model.Parameters)}
    defaults = struct.as_dict(model.defaults)
    problems: list[Problem] = []
    found, taken = [], set[str]()
    for i, said in enumerate(file.free):
        leaves = []
        for j, name in enumerate((said.name, *said.also)):
            where = file.at("parameter", i, "name") if j == 0 else file.at("parameter", i, "also", j - 1)
            try:
                leaves.append(struct.resolve(name, known, where))
            except InputError as error:
                problems += error.problems
                continue
            if leaves[-1] in taken:
                problems.append(Problem(where, f"{leaves[-1]!r} is free already"))
            taken.add(leaves[-1])
        if len(leaves) <= len(said.also):
            continue
        about = known[leaves[0]]
        made = _ranged(file, i, about, {leaf: float(defaults[leaf]) for leaf in leaves}, problems)
        if made is not None:
            found.append(made)
    if problems:
        raise InputError(*problems)
    return tuple(found)


def _ranged(
    file: File, i: int, about: Quantity, leaves: Mapping[str, float], problems: list[Problem]
) -> Parameter | None:
    name, base = next(iter(leaves.items()))
    said, where = file.free[i], file.at("parameter", i)
    low, high = said.low if said.low is not None else about.low, said.high if said.high is not None else about.high
    if low is None or high is None:
        problems.append(Problem(where, f"{name} has no plausible range; needed: low and high"))
    elif not low < high:
        problems.append(Problem(where, f"low = {low:g} and high = {high:g}; needed: low below high"))
    elif (said.scale != "linear" and low <= 0) or (said.scale == "logit" and high >= 1) or base == 0:
        problems.append(
            Problem(where, f"scale {said.scale!r} of {name} from {low:g} to {high:g}; allowed: another scale or range")
        )
    elif not low <= base <= high:
        problems.append(Problem(where, f"{name} is {base:g} in set {file.head.base}, outside of {low:g} to {high:g}"))
    else:
        return Parameter(name, leaves, said.scale, base, low, high, about.unit)
    return None


def starts(parameters: Sequence[Parameter], n: int, seed: int) -> np.ndarray:
    """z of each start `[k, n]`: the base set, then draws from the priors."""
    drawn = np.stack([normal(seed, f"calibrate/{p.name}", np.arange(n)) for p in parameters])
    drawn[:, 0] = [p.place(p.base) for p in parameters]
    return drawn


def residuals(targets: Sequence[Target], seen: scenarios.Simulated) -> tuple[np.ndarray, np.ndarray]:
    """(simulated less published in standard deviations `[t, start]`, slopes in z `[t, k, start]`); NaN: no logarithm."""
    centre, sd = (np.array(a) for a in zip(*(centre_and_sd(t) for t in targets), strict=True))
    log = np.array([t.log for t in targets])[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(log, np.log(seen.values), seen.values)
        rate = np.where(log, 1.0 / seen.values, 1.0)
        return (value - centre[:, None]) / sd[:, None], seen.slopes * (rate / sd[:, None])[:, None, :]


def centre_and_sd(t: Target) -> tuple[float, float]:
    """Of a target: of its logarithm, but for days. An interval is one of 95 %."""
    if t.low is not None and t.high is not None:
        low, high = (np.log(t.low), np.log(t.high)) if t.log else (t.low, t.high)
        middle = 0.5 * (low + high) if t.value is None else float(np.log(t.value)) if t.log else t.value
        return float(middle), float((high - low) / (2.0 * WIDE))
    assert t.value is not None
    assert t.sd is not None
    return (float(np.log(t.value)), t.sd / t.value) if t.log else (t.value, t.sd)


def _rates(of: Sequence[Group], n: int) -> list[np.ndarray]:
    return [np.zeros((len(group.targets), n)) for group in of]


def _simulate(
    file: File, of: Sequence[Group], parameters: Sequence[Parameter], z: np.ndarray, rates: Sequence[np.ndarray]
) -> scenarios.Simulated:
    ratio = np.stack([p.value(x) / p.base for p, x in zip(parameters, z, strict=True)])
    slope = np.stack([p.slope(x) / p.base for p, x in zip(parameters, z, strict=True)])
    return scenarios.simulate(file, of, [p.name for p in parameters], ratio, slope, rates)


def _objective(file: File, of: Sequence[Group], parameters: Sequence[Parameter], n: int) -> Any:
    """Half the sum of squares of residuals and z of n starts, as `minimise` asks for it."""
    fastest = _rates(of, n)

    def evaluate(z: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mine = [rates[:, rows] for rates in fastest]
        seen = _simulate(file, of, parameters, z, mine)
        for rates, some in zip(fastest, mine, strict=True):
            rates[:, rows] = some
        r, j = residuals(file.targets, seen)
        good = seen.sound & np.isfinite(r).all(axis=0)
        r, j = np.where(good, r, 0.0), np.where(good, j, 0.0)
        value = np.where(good, 0.5 * (r**2).sum(axis=0) + 0.5 * (z**2).sum(axis=0), np.inf)
        return value, np.einsum("tkn,tn->kn", j, r) + z, np.einsum("tkn,tln->nkl", j, j) + np.eye(len(z))

    return evaluate


def _best(file: File, parameters: Sequence[Parameter], found: Minimum) -> int:
    """The start that ended lowest; RunError where it did not converge, or ends at a bound."""
    value = np.where(np.isfinite(found.objective), found.objective, np.inf)
    best = int(np.argmin(value))
    if not np.isfinite(value[best]):
        raise RunError(f"{file.where}: no start has a result; needed: ranges in which the model has one")
    if not found.converged[best]:
        raise RunError(
            f"{file.where}: did not converge in {found.iterations[best]} steps: {found.decrement[best]:.2g} standard deviations "
            "from a minimum; what helps: fewer free parameters, narrower ranges, or targets that tell them apart"
        )
    held = [
        f"{p.name} at {p.low if z < 0 else p.high:g} {p.unit}" for p, z in zip(parameters, found.z[:, best], strict=True)
        if abs(z) >= WIDE - 1e-9
    ]  # fmt: skip
    if held:
        raise RunError(
            f"{file.where}: the best fit is held by a bound: {', '.join(held)}; what helps: to fix it, or a wider range"
        )
    return best


def pulls(jacobian: np.ndarray, residual: np.ndarray, z: np.ndarray) -> np.ndarray:
    """z less where it would be without each target, `[t, k]`: one Gauss-Newton step from the minimum of all."""
    whole = jacobian.T @ jacobian + np.eye(len(z))
    gradient = jacobian.T @ residual + z
    return np.stack([
        np.linalg.solve(whole - np.outer(j, j), gradient - j * r) for j, r in zip(jacobian, residual, strict=True)
    ])  # fmt: skip


def profiles(
    file: File,
    of: Sequence[Group],
    parameters: Sequence[Parameter],
    z: np.ndarray,
    covariance: np.ndarray,
    least: float,
) -> np.ndarray:
    """Rise of the objective with one parameter held and the others at their best, `[k, place]`; NaN outside of the range."""
    k, places = len(z), len(PROFILE)
    sd = np.sqrt(np.diag(covariance))
    start = np.repeat(z[:, None], k * places, axis=1)
    low, high = np.full_like(start, -WIDE), np.full_like(start, WIDE)
    outside = np.zeros(k * places, bool)
    for j in range(k):
        # The others begin where the normal approximation has them.
        for m, step in enumerate(PROFILE):
            at = j * places + m
            held = z[j] + step * sd[j]
            outside[at] = abs(held) > WIDE
            start[:, at] = np.clip(z + covariance[:, j] / sd[j] * step, -WIDE, WIDE)
            start[j, at] = low[j, at] = high[j, at] = np.clip(held, -WIDE, WIDE)
    found = minimise(_objective(file, of, parameters, k * places), start, low, high, tolerance=1e-2, most=30)
    rise = np.where(outside | ~np.isfinite(found.objective), np.nan, found.objective - least)
    return rise.reshape(k, places)
