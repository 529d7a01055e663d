"""A study with [sensitivity] as a problem: its factors with distributions, and the plan of what is simulated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from thrombojax.errors import InputError, Problem
from thrombojax.models import registry, struct
from thrombojax.patients import cohort as cohorts
from thrombojax.patients.population import Patients, values
from thrombojax.sensitivity.distributions import Distribution
from thrombojax.sensitivity.factors import Factor, Space, correlated
from thrombojax.study import plan as plans
from thrombojax.study import tables
from thrombojax.study.catalogue import Catalogue, resolve, unresolved
from thrombojax.study.plan import Plan
from thrombojax.study.schema import Study
from thrombojax.study.sections import Axis
from thrombojax.study.sensitivity import INDEPENDENT
from thrombojax.study.sensitivity import Factor as Section

TAIL = 1e-3
"""Share of a factor's values on each side that may lie where no patient is."""


@dataclass(frozen=True)
class Output:
    """One number of a row: an endpoint (day None), or an observable on a day. index: of its cell in the plan."""

    arm: int
    name: str
    day: float | None = None


@dataclass(frozen=True, eq=False)
class Setup:
    """leaves: which parameter each factor sets, "" where it fills a placeholder."""

    study: Study
    plan: Plan
    space: Space
    leaves: tuple[str, ...]
    outputs: tuple[Output, ...]

    @property
    def chance(self) -> bool:
        """Whether rows differ in more than the factors: errors, fluctuations, or patients of a cohort that vary besides."""
        seen, care = self.plan.seen, [cell.treatment for cell in self.plan.cells]
        noise = seen.error.residual_cv > 0 or seen.error.slow_cv > 0 or any(w.spread > 0 for w in seen.wander)
        missed = any(t.adherence < 1 or t.attendance < 1 or t.dropout > 0 or t.window for t in care)
        return bool(self._drawn()) or (self.plan.clinic is not None and (noise or missed))

    def _drawn(self) -> set[str]:
        """Parameters that differ between the cohort's patients and are no factors."""
        if self.people.index is None:
            return set()
        found = set(self.plan.parameters) - set(self.leaves)
        anchor = self.people.cohort.anchor if self.people.cohort is not None else None
        solved = anchor is not None and cohorts.COUNT not in self.leaves and anchor.unknown not in self.leaves
        return found if solved or anchor is None else found - {anchor.unknown}

    @property
    def people(self) -> Patients:
        return self.plan.patients


def problem(study: Study, model_file: str | None = None) -> Setup:
    """Checked against the model. Raises InputError with every name and range that is wrong."""
    asked = study.sensitivity
    if asked is None:
        raise InputError(Problem(study.where, "has no section [sensitivity]"))
    source = registry.Source(study.head.model, study.head.parameter_set, model_file)
    known = plans.catalogue(source)
    found: list[Problem] = []
    leaves: list[str] = []
    for i, one in enumerate(asked.factor):
        wrong = None
        if one.parameter is not None:
            where = study.at("sensitivity", "factor", i, "parameter")
            wrong = unresolved(where, "parameter or covariate", one.parameter, known.numbers)
        found += [wrong] if wrong is not None else []
        leaves.append("" if one.parameter is None or wrong is not None else resolve(one.parameter, known.numbers) or "")
    found += _twice(study, leaves)
    if found:  # distributions and arms need the names
        raise InputError(*found)
    holes = tuple(
        Axis.model_validate({"name": f.name, "values": [_median(f)], "unit": f.unit})
        for f in asked.factor
        if f.parameter is None
    )
    patients = study.patients.model_copy(update={"n": 1})
    plan = plans.make(replace(study, axes=holes, patients=patients), model_file)
    space = _space(study, plan, known, leaves)
    _check_leaves(study, plan, leaves)
    refuse_dependent(study, space)
    return Setup(study, plan, space, tuple(leaves), outputs(plan))


def outputs(plan: Plan) -> tuple[Output, ...]:
    """Endpoints of every arm, then saved observables of every arm and day."""
    arms = range(len(plan.cells))
    found = [Output(a, e.name) for a in arms for e in plan.endpoints]
    return (*found, *(Output(a, name, day) for a in arms for name in plan.observables for day in plan.study.save_days))


def refuse_dependent(study: Study, space: Space) -> None:
    """Shares of variance, and effects of one factor alone, are of factors that do not depend on each other."""
    assert study.sensitivity is not None
    methods = [m for m in study.sensitivity.methods if m in INDEPENDENT]
    if methods and space.across:
        a, b = space.across[0]
        message = (
            f"has {', '.join(methods)}, but {a} and {b} depend on each other: what one of them explains is not its own. "
            "allowed: prcc, srrc, pawn or delta, or both factors in one group (sobol)"
        )
        raise InputError(Problem(study.at("sensitivity", "methods"), message))
    alone = [m for m in methods if m != "sobol"]
    if alone and space.correlation is not None:
        message = f"has {', '.join(alone)}, which need independent factors, in a group or not; allowed: sobol"
        raise InputError(Problem(study.at("sensitivity", "methods"), message))


def _twice(study: Study, leaves: Sequence[str]) -> list[Problem]:
    found = []
    seen = {resolve(name, leaves): study.at("patients", "overrides", name) for name in study.patients.overrides}
    for i, leaf in enumerate(leaves):
        where = study.at("sensitivity", "factor", i, "parameter")
        if leaf and seen.setdefault(leaf, where) != where:
            found.append(Problem(where, f"sets {leaf}, which {seen[leaf].partition(': ')[2]} sets already"))
    return found


def _check_leaves(study: Study, plan: Plan, leaves: Sequence[str]) -> None:
    """Parameters of drugs that nobody is given change nothing; a count and what it is solved for are not both free."""
    here = {*struct.names(plan.model.Parameters), cohorts.COUNT}
    anchor = plan.patients.cohort.anchor if plan.patients.cohort is not None else None
    found = []
    for i, leaf in enumerate(leaves):
        where = study.at("sensitivity", "factor", i, "parameter")
        if leaf and leaf not in here:
            found.append(Problem(where, f"{leaf} is of a drug that no arm gives"))
        if leaf == cohorts.COUNT and anchor is None:
            found.append(Problem(where, f"{cohorts.COUNT!r} is what some cohorts are drawn by; this study's is not"))
        if anchor is not None and leaf == anchor.unknown and cohorts.COUNT in leaves:
            found.append(Problem(where, f"{leaf} is solved from the count, which is a factor; allowed: one of them"))
    if found:
        raise InputError(*found)


def _median(f: Section) -> float:
    """Of a factor that fills a placeholder: its distribution is not of the model."""
    return _distribution(f, None, None, {}).median


def _space(study: Study, plan: Plan, known: Catalogue, leaves: Sequence[str]) -> Space:
    """Factors with their distributions, and how they depend on each other."""
    asked = study.sensitivity
    assert asked is not None
    omega = {name: sd for block in asked.omega for name, sd in _block(block.factors, block.lower)[0].items()}
    quantities = {leaf.name: leaf.quantity for leaf in struct.fields(plan.model.Parameters)}
    made, found = [], []
    for i, (one, leaf) in enumerate(zip(asked.factor, leaves, strict=True)):
        where = study.at("sensitivity", "factor", i)
        try:
            d = _distribution(one, plan, leaf, omega)
        except InputError as error:
            found += [Problem(where, p.message) for p in error.problems]
            continue
        if leaf and not study.patients.implausible and one.distribution != "iiv":
            found += _implausible(where, leaf, d, known)
        q = quantities.get(leaf)
        unit, meaning = (q.unit, q.meaning) if q is not None else (one.unit, one.name.replace("_", " "))
        if leaf == cohorts.COUNT:
            unit, meaning = "1/nL", "platelet count before any dose"
        made.append(Factor(one.name, d, one.group or "", unit, meaning))
    if found:
        raise InputError(*found)
    pairs = [(c.pair[0], c.pair[1], c.r) for c in asked.correlation]
    for block in asked.omega:
        pairs += _block(block.factors, block.lower)[1]
    names = [f.name for f in made]
    pairs += _of_cohort(plan, asked.factor, leaves, {frozenset(p[:2]) for p in pairs})
    return Space(tuple(made), correlated(names, pairs, study.at("sensitivity", "correlation")))


def _block(names: Sequence[str], lower: Sequence[float]) -> tuple[dict[str, float], list[tuple[str, str, float]]]:
    """SDs of the logarithms, and correlations, of an omega block."""
    n = len(names)
    matrix = np.zeros((n, n))
    matrix[np.tril_indices(n)] = lower
    variance = np.diag(matrix)
    if np.any(variance <= 0):
        raise InputError(Problem("sensitivity.omega", "has a variance that is not more than 0 on its diagonal"))
    sd = np.sqrt(variance)
    pairs = [(names[j], names[i], matrix[i, j] / (sd[i] * sd[j])) for i in range(n) for j in range(i)]
    if any(abs(r) >= 1 for *_, r in pairs):
        raise InputError(Problem("sensitivity.omega", "has a covariance that its variances do not allow"))
    return dict(zip(names, map(float, sd), strict=True)), [p for p in pairs if p[2]]


def _of_cohort(
    plan: Plan, factors: Sequence[Section], leaves: Sequence[str], said: set[frozenset[str]]
) -> list[tuple[str, str, float]]:
    """Correlations that the cohort has between factors that vary as in it."""
    if plan.patients.cohort is None:
        return []
    names = {leaf: f.name for f, leaf in zip(factors, leaves, strict=True) if f.distribution == "iiv"}
    return [
        (names[first], names[second], r)
        for first, second, r in plan.patients.cohort.correlated
        if {first, second} <= set(names) and frozenset((names[first], names[second])) not in said
    ]


def _distribution(one: Section, plan: Plan | None, leaf: str | None, omega: Mapping[str, float]) -> Distribution:
    """A factor's distribution from its section, the model's range or the cohort."""
    low, high = -np.inf if one.low is None else one.low, np.inf if one.high is None else one.high
    if one.distribution == "normal":
        assert one.mean is not None
        spread = one.sd if one.sd is not None else (one.cv or 0.0) * abs(one.mean)
        return Distribution("normal", one.mean, spread, low, high)
    if one.distribution == "log-normal":
        assert one.median is not None
        spread = omega[one.name] if one.cv is None else float(np.sqrt(np.log1p(one.cv**2)))
        return Distribution("log-normal", one.median, spread, low, high)
    if one.distribution in ("uniform", "log-uniform", "whole"):
        return Distribution(one.distribution, low=low, high=high)
    if one.distribution == "triangular":
        return Distribution("triangular", low=low, high=high, mode=one.mode or 0.0)
    assert plan is not None
    assert leaf
    if one.distribution == "iiv":
        return _between_patients(plan, leaf)
    quantity = next((x.quantity for x in struct.fields(plan.model.Parameters) if x.name == leaf), None)
    if quantity is None or quantity.low is None or quantity.high is None:
        raise InputError(Problem("", f"{leaf} has no plausible range in the model; allowed: another distribution"))
    if one.distribution == "log-range" and quantity.low <= 0:
        message = f"the plausible range of {leaf} begins at {quantity.low:g}, which has no logarithm; allowed: range"
        raise InputError(Problem("", message))
    return Distribution(
        "log-uniform" if one.distribution == "log-range" else "uniform", low=quantity.low, high=quantity.high
    )


def _between_patients(plan: Plan, leaf: str) -> Distribution:
    """As the cohort says that patients vary, or else the model's own CV."""
    cohort = plan.patients.cohort
    typical = replace(plan.patients, n=1, index=None, changes={}, scales={})
    vary = dict(cohort.vary) if cohort is not None else {}
    if cohort is not None and cohort.anchor is not None:
        vary[cohorts.COUNT] = cohort.anchor.count
    told = vary.get(leaf)
    if isinstance(told, cohorts.Normal):
        return Distribution("normal", told.mean, told.mean * told.cv, told.low, told.high, clipped=True)
    if isinstance(told, cohorts.Uniform):
        return Distribution(told.kind, low=told.low, high=told.high)
    if told is not None:
        centre = float(values(typical, plan.model)[leaf][0]) if told.median is None else told.median
        spread = float(np.sqrt(np.log1p(told.cv**2)))
        return Distribution("log-normal", centre, spread, told.low, told.high, clipped=True)
    quantity = next((x.quantity for x in struct.fields(plan.model.Parameters) if x.name == leaf), None)
    if cohort is not None or quantity is None or not quantity.cv:
        who = f"the cohort {cohort.name!r}" if cohort is not None else f"the model {plan.model.name!r}"
        raise InputError(
            Problem("", f"{who} does not say how {leaf} varies between patients; allowed: another distribution")
        )
    centre = float(values(typical, plan.model)[leaf][0])
    return Distribution("log-normal", centre, float(np.sqrt(np.log1p(quantity.cv**2))))


def _implausible(where: str, leaf: str, d: Distribution, known: Catalogue) -> list[Problem]:
    """A distribution whose values no patient has."""
    low, high, unit = known.ranges.get(leaf, (-np.inf, np.inf, ""))
    first, last = d.at(np.asarray([TAIL, 1.0 - TAIL])) if d.kind.endswith("normal") else (d.low, d.high)
    if low <= first and last <= high:
        return []
    unit = "" if unit in ("", "1") else f" {unit}"
    what = (
        f"99.8 % of its values lie from {first:g} to {last:g}"
        if d.kind.endswith("normal")
        else f"goes from {first:g} to {last:g}"
    )
    message = (
        f"{leaf}: {what}; plausible: {low:g} to {high:g}{unit} (`thrombojax info parameters`); allowed: low and high that cut it "
        "off within, or `implausible = true` in [patients]"
    )
    return [Problem(where, message)]


def table(study: Study, space: Space) -> np.ndarray:
    """Factor values `[factor, row]` of the user's own sample. Raises InputError for wrong cells and missing columns."""
    assert study.sensitivity is not None
    assert study.sensitivity.table is not None
    file = Path(study.where).parent / study.sensitivity.table
    columns = tables.load(file, space.names).columns
    missing = [Problem(str(file), f"has no column {name!r}") for name in space.names if name not in columns]
    if missing:
        raise InputError(*missing)
    return np.stack([columns[name] for name in space.names])
