"""The names that a study may use, which only a model knows, and the check of a study against them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from thrombojax import dosing
from thrombojax.dosing.regimen import drug_name
from thrombojax.errors import InputError, Problem, unknown
from thrombojax.study.reducers import REDUCERS
from thrombojax.study.schema import Study


@dataclass(frozen=True)
class Catalogue:
    """What one model offers. A catalogue of a model that does not exist has its `models` only.

    drugs: name -> the (route, unit) pairs it may be given in; parameters and covariates: dotted canonical names.
    """

    models: frozenset[str]
    parameter_sets: frozenset[str] = frozenset()
    cohorts: frozenset[str] = frozenset()
    drugs: Mapping[str, frozenset[tuple[str, str]]] = field(default_factory=dict)
    parameters: frozenset[str] = frozenset()
    covariates: frozenset[str] = frozenset()
    observables: frozenset[str] = frozenset()
    ranges: Mapping[str, tuple[float, float, str]] = field(default_factory=dict)
    """Plausible values of a parameter, and their unit."""

    @property
    def numbers(self) -> frozenset[str]:
        """Everything that an axis, an override or a column of a patient table may set."""
        return self.parameters | self.covariates


def candidates(name: str, names: Iterable[str]) -> list[str]:
    """The dotted names that `name` may stand for: itself, or else all that end in it at a dot."""
    names = set(names)
    if name in names:
        return [name]
    return sorted(full for full in names if full.endswith(f".{name}"))


def resolve(name: str, names: Iterable[str]) -> str | None:
    """The one canonical name that `name` stands for; None where there is none or more than one."""
    found = candidates(name, names)
    return found[0] if len(found) == 1 else None


def unresolved(where: str, kind: str, name: str, names: Iterable[str]) -> Problem | None:
    """What is wrong with a name that should resolve; None where nothing is."""
    names = set(names)
    found = candidates(name, names)
    if len(found) == 1:
        return None
    if found:
        return Problem(where, f"{name!r} may be any of {', '.join(found)}; needed: more of its name")
    last = {full.rsplit(".", 1)[-1]: full for full in sorted(names)}
    problem = unknown(where, kind, name, names | set(last))  # a near miss of the short name is a near miss too
    shown = sorted(names)
    listed = ", ".join(shown[:12]) + (f", ... ({len(shown)} in all)" if len(shown) > 12 else "")
    hint = problem.message.rpartition("; did you mean ")[2] if "; did you mean " in problem.message else ""
    return Problem(where, f"unknown {kind} {name!r}; allowed: {listed}" + (f"; did you mean {hint}" if hint else ""))


def check_against(study: Study, catalogue: Catalogue) -> list[Problem]:
    """Every name of the study that the catalogue does not have."""
    if study.head.model not in catalogue.models:
        return [unknown(study.at("study", "model"), "model", study.head.model, catalogue.models)]
    found = []
    if study.head.parameter_set not in catalogue.parameter_sets:
        where = study.at("study", "parameter_set")
        found.append(unknown(where, "parameter set", study.head.parameter_set, catalogue.parameter_sets))
    if study.patients.cohort is not None and study.patients.cohort not in catalogue.cohorts:
        where = study.at("patients", "cohort")
        if catalogue.cohorts:
            found.append(unknown(where, "cohort", study.patients.cohort, catalogue.cohorts))
        else:
            message = f"unknown cohort {study.patients.cohort!r}; model {study.head.model} has none; allowed: a table"
            found.append(Problem(where, message))
    found += _parameters(study, catalogue)
    from thrombojax.study.treatments import first_treatment  # here, because reading a file needs no JAX

    given: set[str] = set()
    if study.events is not None:
        given.update(drug_name(said[0]) or "" for said in study.events.doses.values())
    for i, arm in enumerate(study.arms):
        try:
            treatment = first_treatment(study, i)
        except InputError as error:
            found += error.problems
            continue
        given.update(treatment.drugs)
        found += _doses(study.at("arm", i, "regimen"), arm.name, treatment.regimen, catalogue)
        for part, key in ((treatment.titration, "policy"), (treatment.rescue, "rescue")):
            if part is not None:
                one = dosing.Regimen((dosing.Dose(part.drug, 1.0, part.unit, part.route, (0.0,)),))
                found += _doses(study.at("arm", i, key), arm.name, one, catalogue)
    found += _endpoints(study, catalogue, given)
    return found


def _parameters(study: Study, catalogue: Catalogue) -> list[Problem]:
    """Names of overrides and axes; and no parameter that is set twice (to set it and to scale it is fine)."""
    uses: list[tuple[str, str, bool, tuple[float, ...]]] = [
        (study.at("patients", "overrides", k), k, False, (v,)) for k, v in study.patients.overrides.items()
    ]
    uses += [
        (study.at("axis", i, "parameter"), axis.parameter, axis.scale, tuple(axis.points))
        for i, axis in enumerate(study.axes)
        if axis.parameter is not None
    ]
    found: list[Problem] = []
    setter: dict[str, str] = {}
    for where, name, scales, values in uses:
        wrong = unresolved(where, "parameter or covariate", name, catalogue.numbers)
        if wrong is not None:
            found.append(wrong)
            continue
        full = resolve(name, catalogue.numbers)
        assert full is not None  # `unresolved` said so
        if not scales and not study.patients.implausible:
            found += _implausible(where, full, values, catalogue)
        if not scales and setter.setdefault(full, where) != where:
            found.append(Problem(where, f"sets {full}, which {setter[full].partition(': ')[2]} sets already"))
    return found


def _implausible(where: str, leaf: str, values: Sequence[float], catalogue: Catalogue) -> list[Problem]:
    """Values that no patient has."""
    low, high, unit = catalogue.ranges.get(leaf, (-math.inf, math.inf, ""))
    wrong = [value for value in values if not low <= value <= high]
    if not wrong:
        return []
    unit = "" if unit == "1" else f" {unit}"
    message = (
        f"gives {leaf} {wrong[0]:g}; plausible: {low:g} to {high:g}{unit} (`thrombojax info parameters`); "
        "`implausible = true` in [patients] allows any value"
    )
    return [Problem(where, message)]


def _doses(where: str, arm: str, regimen: dosing.Regimen, catalogue: Catalogue) -> list[Problem]:
    found = []
    for dose in regimen.doses:
        forms = catalogue.drugs.get(dose.drug)
        if forms is None:
            found.append(unknown(where, "drug", dose.drug, catalogue.drugs))
            continue
        routes = {route for route, _ in forms}
        units = {unit for route, unit in forms if route == dose.route}
        if dose.route not in routes:
            found.append(unknown(where, f"route of {dose.drug}", dose.route, routes))
        elif dose.unit not in units:
            found.append(unknown(where, f"unit of {dose.drug} {dose.route}", dose.unit, units))
    return list(dict.fromkeys(Problem(p.where, f"arm {arm!r}: {p.message}") for p in found))


def _endpoints(study: Study, catalogue: Catalogue, given: set[str]) -> list[Problem]:
    found: list[Problem | None] = []
    for i, endpoint in enumerate(study.endpoints):
        if REDUCERS[endpoint.reducer].policy:
            continue
        if endpoint.drug is None:
            where = study.at("endpoint", i, "observable")
            found.append(unresolved(where, "observable", endpoint.observable, catalogue.observables))
            continue
        where = study.at("endpoint", i, "drug")
        if endpoint.drug not in catalogue.drugs:
            found.append(unknown(where, "drug", endpoint.drug, catalogue.drugs))
        elif endpoint.drug not in given:
            said = ", ".join(sorted(given)) or "none"
            found.append(Problem(where, f"{endpoint.drug!r} is given in no arm; allowed: a drug of the arms ({said})"))
    if study.output.trajectories:
        for i, name in enumerate(study.output.observables):
            found.append(unresolved(study.at("output", "observables", i), "observable", name, catalogue.observables))
    return [problem for problem in found if problem is not None]
