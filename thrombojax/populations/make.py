"""Which candidates of a study are plausible, what its targets ask of them, and the weights that the targets make.

Pure functions of arrays by name; `results` runs the study and writes the file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thrombojax import csv_rows
from thrombojax.errors import InputError, Problem, unknown
from thrombojax.patients.entry import holds, parsed
from thrombojax.populations import marginals, weights
from thrombojax.populations.marginals import Marginal
from thrombojax.report.intervals import effective
from thrombojax.study.schema import Study
from thrombojax.study.virtual import Target

Values = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Candidates:
    """baseline: observables and parameters by name, `[patient]`; endpoints: by arm and name, `[patient]`; sound: who has a steady
    state and finished every arm; base: logarithm of the cohort's density over that of the draws; ranges: plausible ones of
    parameters."""

    baseline: Values
    endpoints: Mapping[str, Values]
    sound: np.ndarray
    base: np.ndarray
    ranges: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Row:
    """One target: values `[plausible]`, and how far weights are from it, before and after."""

    name: str
    arm: str
    unit: str
    marginal: Marginal
    values: np.ndarray
    plain: float
    weighted: float
    source: str


@dataclass(frozen=True, eq=False)
class Made:
    """weights: `[candidate]`, 0 of those who are not plausible, their sum 1; excluded: how many candidates each rule excludes;
    base: effective sample size of the base weights among the plausible."""

    weights: np.ndarray
    plausible: np.ndarray
    excluded: tuple[tuple[str, int], ...]
    rows: tuple[Row, ...]
    base: float

    @property
    def effective(self) -> float:
        return effective(self.weights)


def make(study: Study, given: Candidates, units: Mapping[str, str]) -> Made:
    """The weighted population. Raises InputError: no candidate is plausible; targets that none or not all of them can meet."""
    said = study.population
    assert said is not None
    rules = plausibility(study, given)
    good = np.all([mask for _, mask in rules], axis=0)
    excluded = tuple((text, int((~mask).sum())) for text, mask in rules)
    if good.sum() < 2:
        by = "; ".join(f"{text} excludes {n} by itself" for text, n in excluded if n)
        message = (
            f"leaves {int(good.sum())} of {len(good)} candidates: {by}; needed: bounds that the cohort's patients meet"
        )
        raise InputError(Problem(study.at("population", "plausible"), message))
    wanted = [asked(study, i, given, good) for i in range(len(said.target))]
    _reachable(study, wanted)
    base = np.exp(given.base[good] - given.base[good].max()) if said.base == "cohort" else np.ones(int(good.sum()))
    rows = [marginals.features(marginal, values) for _, _, marginal, values in wanted]
    found = weights.tilt(base, np.concatenate([r[0] for r in rows]), np.concatenate([r[1] for r in rows])).weights
    plain = np.full(len(found), 1.0 / len(found))
    made = tuple(
        Row(name, arm, units.get(target.of, ""), marginal, values, marginals.distance(marginal, values, plain),
            marginals.distance(marginal, values, found), target.source or "")
        for (name, arm, marginal, values), target in zip(wanted, said.target, strict=True)
    )  # fmt: skip
    _met(study, made, found)
    whole = np.zeros(len(good))
    whole[good] = found
    return Made(whole, good, excluded, made, effective(base))


def plausibility(study: Study, given: Candidates) -> list[tuple[str, np.ndarray]]:
    """Every rule in words, and who keeps to it, `[candidate]`. Raises InputError for conditions that cannot be read."""
    said = study.population
    assert said is not None
    rules = [("a steady state and finite results in every arm", given.sound)]
    if not study.patients.implausible:
        kept = {leaf: _between(given.baseline[leaf], *ends) for leaf, ends in given.ranges.items()}
        text = "parameters in their plausible ranges"
        most = min(kept, key=lambda leaf: int(kept[leaf].sum()), default="")
        if most and not kept[most].all():
            text += f" (most often out: {most})"
        rules.append((text, np.all([given.sound | True, *kept.values()], axis=0)))
    problems: list[Problem] = []
    for i, text in enumerate(said.plausible):
        where = study.at("population", "plausible", i)
        arm, colon, condition = text.rpartition(":")
        arm = arm.strip()
        try:
            if colon and arm not in given.endpoints:
                raise InputError(unknown(where, "arm", arm, given.endpoints))
            values = given.endpoints[arm] if colon else given.baseline
            kind = "endpoint" if colon else "observable or parameter"
            rules.append((text, holds(values, parsed(condition, tuple(values), where, kind))))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    return rules


def _between(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return (values >= low) & (values <= high)


def asked(study: Study, i: int, given: Candidates, good: np.ndarray) -> tuple[str, str, Marginal, np.ndarray]:
    """Name, arm, marginal and values of one target."""
    assert study.population is not None
    target = study.population.target[i]
    where = study.at("population", "target", i)
    first = next(iter(given.endpoints.values()), {})
    if target.of in first:
        arm = target.arm or study.arms[0].name
        if arm not in given.endpoints:
            raise InputError(unknown(f"{where}.arm", "arm", arm, given.endpoints))
        values = np.nan_to_num(given.endpoints[arm][target.of][good], nan=np.inf)  # a day that never came
    else:
        arm = ""
        found = [name for name in given.baseline if name == target.of or name.endswith(f".{target.of}")]
        if len(found) != 1:
            names = {*first, *(name.rsplit(".", 1)[-1] for name in given.baseline)}
            raise InputError(unknown(f"{where}.of", "endpoint, observable or parameter", target.of, names))
        values = given.baseline[found[0]][good]
    return target.name or target.of, arm, marginal(study, target, where), values


def marginal(study: Study, target: Target, where: str) -> Marginal:
    """What a target says. Raises InputError for a table that cannot be read."""
    if target.share is not None:
        return marginals.share(target.share, target.at_least)
    if target.quantiles is not None:
        return marginals.quantiles(target.quantiles)
    if target.edges is not None and target.shares is not None:
        return marginals.histogram(target.edges, target.shares)
    if target.table is not None and target.column is not None:
        return marginals.observed(column(study.beside(target.table), target.column, f"{where}.column"))
    assert target.mean is not None  # `virtual.check` saw that there is one
    if target.distribution is None or target.sd is None:
        return marginals.moments(target.mean, target.sd)
    low = -np.inf if target.low is None else target.low
    high = np.inf if target.high is None else target.high
    try:
        return marginals.distribution(target.distribution, target.mean, target.sd, low, high)
    except ValueError as error:
        raise InputError(Problem(where, str(error))) from None


def column(file: Path, name: str, where: str) -> np.ndarray:
    """The numbers of one column of a CSV file. Raises InputError with every fault."""
    (_, header), *body = csv_rows.read(file, "value", comments=True)
    titles = [cell.strip() for cell in header]
    if name not in titles:
        raise InputError(unknown(where, "column", name, titles))
    at = titles.index(name)
    values, problems = [], []
    for line, row in body:
        try:
            values.append(float(row[at]))
        except (ValueError, IndexError):
            values.append(np.nan)
        if not np.isfinite(values[-1]):
            problems.append(Problem(f"{file}: row {line}, column {name!r}", "needed: a finite number"))
    if problems or not values:
        raise InputError(
            *csv_rows.capped(str(file), problems), *([] if values else [Problem(str(file), "has no value")])
        )
    return np.array(values)


def _reachable(study: Study, asked: Sequence[tuple[str, str, Marginal, np.ndarray]]) -> None:
    """Raises InputError for every target that no weights of the plausible patients meet, with the nearest that some do."""
    said = study.population
    assert said is not None
    problems = []
    for i, (name, _, marginal, values) in enumerate(asked):
        if marginals.nearest(marginal, values) > said.tolerance:
            message = f"{name!r} ({marginal.said}) cannot be met: {marginals.extremes(marginal, values)}"
            problems.append(Problem(study.at("population", "target", i), message))
    if problems:
        raise InputError(*problems)


def _met(study: Study, rows: Sequence[Row], found: np.ndarray) -> None:
    """Raises InputError for targets that contradict each other in these patients, with what is nearest to all of them."""
    said = study.population
    assert said is not None
    problems = [
        Problem(
            study.at("population", "target", i),
            f"{row.name!r} ({row.marginal.said}) contradicts the others: nearest to all together is "
            f"{marginals.reached(row.marginal, row.values, found)}, at a distance of {row.weighted:.3g} ({said.tolerance:g} "
            "allowed); by itself it can be met",
        )
        for i, row in enumerate(rows)
        if not row.weighted <= said.tolerance
    ]
    if problems:
        raise InputError(*problems)


def table(made: Made) -> list[dict[str, str]]:
    """A line a target, as it is printed."""
    found, plain = made.weights[made.plausible], np.ones(int(made.plausible.sum()))
    return [
        {
            "target": row.name,
            "arm": row.arm or "baseline",
            "unit": row.unit,
            "wanted": row.marginal.said,
            "plausible": marginals.reached(row.marginal, row.values, plain),
            "weighted": marginals.reached(row.marginal, row.values, found),
            "distance": f"{row.plain:.3f}",
            "weighted distance": f"{row.weighted:.3f}",
        }
        for row in made.rows
    ]


__all__ = ["Candidates", "Made", "Row", "column", "make", "marginal", "plausibility", "table"]
