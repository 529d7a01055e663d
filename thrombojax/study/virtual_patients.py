"""Patients of [population], [omega] and [uncertainty], and those of a population that was made before."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from thrombojax.errors import InputError, Problem
from thrombojax.models import struct
from thrombojax.models.protocol import Model
from thrombojax.patients import estimates, population
from thrombojax.patients.cohort import COUNT, Cohort, Uniform, typical
from thrombojax.patients.draw import normal
from thrombojax.patients.population import Patients
from thrombojax.patients.proposal import widened, with_omega
from thrombojax.store.layout import PATIENT, WEIGHT
from thrombojax.store.results import SIGNATURE, damage, reading
from thrombojax.study.catalogue import Catalogue, resolve, unresolved
from thrombojax.study.schema import Study, parse

ALIKE = 1e-4
"""Largest relative difference of a parameter between a population's file, in float32, and the patient who is drawn again."""


OUTSIDE = 0.05
"""Share of draws that may leave the plausible range of a parameter."""


class Weighted(NamedTuple):
    """ids: numbers of the patients in the population's file; weights: `[patient]`, their sum 1."""

    patients: Patients
    ids: tuple[str, ...]
    weights: np.ndarray


def is_population(file: Path) -> bool:
    """Whether a patient table is a results file."""
    with file.open("rb") as raw:
        return raw.read(len(SIGNATURE)) == SIGNATURE


def written(file: Path) -> tuple[Study, np.ndarray]:
    """The study of a population's file and the weights of its candidates. Raises InputError for another results file."""
    with reading(file) as found, damage(file):
        text = str(found["provenance"].attrs.get("study", ""))
        study = parse(text, str(file)) if WEIGHT in found else None
        if study is None or study.population is None:  # weights alone: results of a study of such patients
            raise InputError(Problem(str(file), "is no virtual population; `thrombojax population` writes one"))
        weights = np.asarray(found[WEIGHT][...], float)
        seed, n = int(found["provenance"].attrs["seed"]), len(found[PATIENT])
    return study.override(seed=seed, n=n), weights


def checked(file: Path, patients: Patients, model: Model, at: np.ndarray) -> None:
    """Raises InputError where patients who are drawn again are not those of the file."""
    drawn = population.values(patients, model)
    if COUNT in drawn and patients.cohort is not None and patients.cohort.anchor is not None:
        del drawn[patients.cohort.anchor.unknown]  # which is solved for later
    with reading(file) as found:
        group = found.get("parameters", {})
        for leaf in (leaf for leaf in group if leaf in drawn and leaf != PATIENT):
            kept = np.asarray(group[leaf][...], float)[at]
            if not np.allclose(kept, drawn[leaf], rtol=ALIKE, atol=0.0):
                message = f"its patients have other values of {leaf} than are drawn now: another version made it; make it again"
                raise InputError(Problem(str(file), message))


def chosen(study: Study, patients: Patients, weights: np.ndarray, model: Model, file: Path) -> Weighted:
    """The plausible ones of all candidates, the first n of them where the study says so."""
    at = np.flatnonzero(weights > 0)
    wanted = study.patients.n
    if wanted is not None and wanted > len(at):
        raise InputError(Problem(str(file), f"has {len(at)} plausible patients; the study's n asks for {wanted}"))
    at = at[:wanted]
    picked = patients.pick(at)
    checked(file, picked, model, at)
    return Weighted(picked, tuple(map(str, at.tolist())), weights[at] / weights[at].sum())


def recipe(study: Study, cohort: Cohort, known: Catalogue) -> Cohort:
    """The study's cohort with the variation of [omega], widened as [population] says. Raises InputError."""
    if study.omega is not None:
        cohort = _with_omega(study, cohort, known)
    said = study.population
    if said is None:
        return cohort
    ranges, problems = {}, []
    anchor = cohort.anchor
    for name, one in said.vary.items():
        where = study.at("population", "vary", name)
        wrong = unresolved(where, "parameter", name, known.numbers)
        if wrong is not None:
            problems.append(wrong)
            continue
        leaf = resolve(name, known.numbers) or name
        low, high, unit = known.ranges.get(leaf, (-np.inf, np.inf, ""))
        if anchor is not None and leaf == anchor.unknown:
            problems.append(Problem(where, f"{leaf} is solved from each patient's count; allowed: the count"))
        elif leaf == COUNT and anchor is None:
            problems.append(Problem(where, f"the cohort {cohort.name!r} is not drawn by its count"))
        elif not study.patients.implausible and not low <= one.low <= one.high <= high:
            message = f"is from {one.low:g} to {one.high:g}; plausible: {_span(low, high, unit)}"
            problems.append(Problem(where, f"{message}; `implausible = true` in [patients] allows any value"))
        ranges[leaf] = Uniform(kind=one.kind, low=one.low, high=one.high, source=study.where)
    if problems:
        raise InputError(*problems)
    return widened(cohort, said.widen, ranges)


def _leaves(
    study: Study, section: tuple[str, str], names: dict[str, str], cohort: Cohort | None, known: Catalogue
) -> list[str]:
    """Leaves by the names of a file's effects. Raises InputError for those that do not exist or are solved for."""
    problems: list[Problem] = []
    leaves = []
    for key, name in names.items():
        where = study.at(*section, key)
        wrong = unresolved(where, "parameter", name, known.parameters)
        leaf = resolve(name, known.parameters) or name
        if wrong is not None:
            problems.append(wrong)
        elif cohort is not None and cohort.anchor is not None and leaf == cohort.anchor.unknown:
            problems.append(Problem(where, f"{leaf} is solved from each patient's count"))
        elif leaf in leaves:
            problems.append(Problem(where, f"{leaf} is given twice"))
        leaves.append(leaf)
    if problems:
        raise InputError(*problems)
    return leaves


def _plausible(
    study: Study, found: Mapping[str, np.ndarray], cohort: Cohort | None, model: Model, known: Catalogue
) -> None:
    """Raises InputError where a typical value, as far off as in one draw of twenty or more, is one that nobody has."""
    if study.patients.implausible:
        return
    defaults = {leaf: float(v) for leaf, v in struct.as_dict(model.defaults).items()}
    middle = typical(cohort, defaults) if cohort is not None else {leaf: np.array([v]) for leaf, v in defaults.items()}
    problems = []
    for leaf, factors in found.items():
        low, high, unit = known.ranges.get(leaf, (-np.inf, np.inf, ""))
        if leaf not in middle:
            continue
        values = middle[leaf] * factors
        out = np.mean((values < low) | (values > high))
        if out > OUTSIDE:
            made = f"{values.min():.3g} to {values.max():.3g}, {100 * out:.0f} % of draws outside of what is plausible"
            message = f"makes the typical {leaf} {made}, {_span(low, high, unit)}"
            message += "; `implausible = true` in [patients] allows any value"
            problems.append(Problem(study.at("uncertainty"), message))
    if problems:
        raise InputError(*problems)


def _span(low: float, high: float, unit: str) -> str:
    return f"{low:g} to {high:g}" + ("" if unit == "1" else f" {unit}")


def _with_omega(study: Study, cohort: Cohort, known: Catalogue) -> Cohort:
    assert study.omega is not None
    leaves = _leaves(study, ("omega", "names"), study.omega.names, cohort, known)
    file = study.beside(study.omega.table)
    names, whole = estimates.omega(file)
    covariance = estimates.chosen(study.at("omega", "names"), names, whole, list(study.omega.names))
    values = np.linalg.eigvalsh(covariance)
    if values.min() <= 0:
        raise InputError(
            Problem(
                str(file), f"is no covariance of {', '.join(study.omega.names)}: an eigenvalue is {values.min():.3g}"
            )
        )
    return with_omega(cohort, leaves, covariance, file.name)


def uncertain(study: Study, cohort: Cohort | None, model: Model, known: Catalogue) -> dict[str, np.ndarray]:
    """Factors on parameters, `[draw]` each, log-normal about 1: how far typical values may be off. Raises InputError."""
    said = study.uncertainty
    if said is None:
        return {}
    index = np.arange(said.draws)
    own = struct.names(model.Parameters)
    if said.covariance is None:
        leaves = _leaves(study, ("uncertainty", "cv"), {name: name for name in said.cv}, cohort, known)
        found = {
            leaf: np.exp(np.sqrt(np.log1p(cv**2)) * normal(study.head.seed, f"uncertainty/{leaf}", index))
            for leaf, cv in zip(leaves, said.cv.values(), strict=True)
        }
    else:
        file = study.beside(said.covariance)
        names, whole = estimates.matrix(file)
        wanted = said.names or {name: name for name in names}
        leaves = _leaves(study, ("uncertainty", "names"), wanted, cohort, known)
        where = study.at("uncertainty", "names")
        covariance = estimates.chosen(where, names, whole, list(wanted), "estimate")
        if said.estimates is not None:
            theta = estimates.thetas(study.beside(said.estimates))
            wrong = [name for name in wanted if not theta.get(name)]
            if wrong:
                raise InputError(Problem(where, f"{wrong[0]!r} has no estimate other than 0 in {said.estimates}"))
            at = np.array([theta[name] for name in wanted])
            covariance = covariance / np.outer(at, at)  # of logarithms, to first order
        z = np.stack([normal(study.head.seed, f"uncertainty/{leaf}", index) for leaf in leaves])
        found = dict(zip(leaves, np.exp(estimates.root(str(file), covariance) @ z), strict=True))
    _plausible(study, found, cohort, model, known)
    if not set(found) & set(own):
        raise InputError(Problem(study.at("uncertainty"), f"{', '.join(found)}: of drugs that no arm gives"))
    return {leaf: factors for leaf, factors in found.items() if leaf in own}
