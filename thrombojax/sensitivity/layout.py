"""What a results file of a sensitivity analysis holds: indices with named dimensions, and the stored sample."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from thrombojax.sensitivity.analyse import Analysis
from thrombojax.sensitivity.indices import ESTIMATORS
from thrombojax.solve import engine
from thrombojax.store import Axis, Layout, Variable, flags
from thrombojax.study.file_layout import people

OTHERS = "others"
Arrays = dict[str, np.ndarray]
Made = tuple[list[Variable], Arrays]


def entries(found: Analysis) -> tuple[str, ...]:
    """What indices are of: every factor, then groups of several, then what else differs between rows."""
    space = found.given.space
    more = [g for g in space.groups if g not in space.names]
    return (*space.names, *more, *((OTHERS,) if found.given.chance else ()))


def results(found: Analysis) -> tuple[Layout, Arrays]:
    """The layout and every array of it."""
    given, plan = found.given, found.given.plan
    n = found.sample.values.shape[1]
    names = entries(found)
    axes = [
        Axis("estimator", np.asarray(ESTIMATORS, object)),
        Axis("arm", np.asarray([cell.arm for cell in plan.cells], object)),
        Axis("endpoint", np.asarray([e.name for e in plan.endpoints] or ["none"], object)),
        Axis("observable", np.asarray(plan.observables or ["none"], object)),
        Axis("time", np.asarray(given.study.save_days or [0.0]), "day", "time since the start of the study"),
        Axis(
            "factor", np.asarray(names, object), "", "factor, group of factors, or all that else differs between runs"
        ),
        Axis("factor_2", np.asarray(names, object), "", "the other factor of a pair"),
        people((), n),
    ]
    variables, arrays = _sample(found)
    for more, filled in _measures(found, names):
        variables += more
        arrays |= filled
    attrs = {"title": given.study.head.name, "source": f"thrombojax, sensitivity of model {plan.model.name}"}
    return Layout(tuple(axes), tuple(variables), attrs, max(n, 1)), arrays


def _sample(found: Analysis) -> Made:
    given, plan, sample = found.given, found.given.plan, found.sample
    arms, ends = len(plan.cells), len(plan.endpoints)
    dims = ("arm", "patient")
    known = {v.name: v for v in plan.layout.variables}
    variables = [
        Variable(e.name, dims, "float64", known[e.name].unit, known[e.name].long_name, attrs=known[e.name].attrs)
        for e in plan.endpoints
    ]
    arrays = {e.name: sample.y[: arms * ends].reshape(arms, ends, -1)[:, i] for i, e in enumerate(plan.endpoints)}
    variables.append(
        Variable("status", dims, "uint8", "", "how the simulation ended", "status", attrs=flags(engine.STATUS))
    )
    arrays["status"] = sample.status
    units = ", ".join(f"{f.name} {f.unit or '1'}" for f in given.space.factors)
    names = entries(found)
    values = np.full((len(names), sample.values.shape[1]), np.nan)
    values[: given.space.k] = sample.values
    variables.append(
        Variable("factor_value", ("factor", "patient"), "float64", "", "factors of the stored sample", "covariate",
                 attrs={"units_by_factor": units})
    )  # fmt: skip
    arrays["factor_value"] = values
    for name, u in (("factor_low", 0.05), ("factor_median", 0.5), ("factor_high", 0.95)):
        at = np.full(len(names), np.nan)
        at[: given.space.k] = [float(f.distribution.at(np.asarray(u))) for f in given.space.factors]
        variables.append(
            Variable(
                name,
                ("factor",),
                "float64",
                "",
                f"{100 * u:g} % quantile",
                "covariate",
                attrs={"units_by_factor": units},
            )
        )
        arrays[name] = at
    return variables, arrays


def _measures(found: Analysis, names: Sequence[str]) -> Iterator[Made]:
    made, shape, own = found.measures, Shape(found), found.given.space.names
    asked = found.given.study.sensitivity
    assert asked is not None

    def of(name: str, meaning: str, value: np.ndarray, ends: Any = None, unit: str = "1") -> Made:
        """A measure `[output, factor]`, of endpoints and (where it has them) of days, with the ends of its interval."""
        parts = {"": value} | ({"_low": ends[0], "_high": ends[1]} if ends is not None else {})
        variables: list[Variable] = []
        arrays: Arrays = {}
        kinds: list[tuple[str, tuple[str, ...], Any]] = []
        if shape.ends:
            kinds.append(("", ("arm", "endpoint", "factor"), shape.endpoints))
        if shape.saved[1] and len(value) > shape.arms * shape.ends:
            kinds.append(("_course", ("arm", "observable", "time", "factor"), shape.days))
        for more, dims, places in kinds:
            arrays |= {f"{name}{more}{part}": places(spread(a, own, names), 0) for part, a in parts.items()}
            text = f"{meaning}, of an observable on a day" if more else meaning
            if ends is None:
                variables.append(index(f"{name}{more}", dims, text, unit=unit))
            else:
                variables += with_ends(f"{name}{more}", dims, text, asked.confidence, unit)
        return variables, arrays

    if found.sobol is not None:
        yield _sobol(found, names)
    if "morris" in made:
        m = made["morris"]
        yield of("morris_mu_star", "mean size of Morris' elementary effects", m.mu_star, m.ends, "")
        yield of("morris_mu", "mean of Morris' elementary effects", m.mu, unit="")
        yield of("morris_sigma", "SD of Morris' elementary effects", m.sigma, unit="")
    if "dgsm" in made:
        d = made["dgsm"]
        yield of("dgsm_bound", "upper bound of the total Sobol' index by derivatives", d.bound, d.ends)
        yield of("dgsm_nu", "mean square of the derivative with respect to the factor's score", d.nu, unit="")
        yield of(
            "local_by_score",
            "derivative with respect to the factor's score, all factors at their medians",
            d.local,
            unit="",
        )
    for name, meaning in (("prcc", "partial rank correlation"), ("srrc", "standardised rank regression coefficient")):
        if name in made:
            yield of(name, meaning, made[name].value, made[name][1:])
    for method, key, name, meaning in BORROWED:
        if method in made:
            value = made[method][key]
            half = made[method].get(f"{key}_conf")
            yield of(name, meaning, value, None if half is None else (value - half, value + half))


BORROWED = (
    ("pawn", "median", "pawn", "PAWN: median distance of the output's distribution"),
    ("pawn", "maximum", "pawn_maximum", "PAWN: largest distance of the output's distribution"),
    ("delta", "delta_balanced", "delta", "Borgonovo's delta"),
    ("rbd-fast", "S1", "rbd_fast_first", "first-order index by RBD-FAST"),
    ("fast", "S1", "fast_first", "first-order index by FAST"),
    ("fast", "ST", "fast_total", "total index by FAST"),
)
"""Method, SALib's name, ours, meaning."""


class Shape:
    """Outputs as they lie in the file: endpoints `[..., arm, endpoint, ...]`, days `[..., arm, observable, time, ...]`."""

    def __init__(self, found: Analysis):
        plan = found.given.plan
        self.arms, self.ends = len(plan.cells), len(plan.endpoints)
        self.saved = (len(plan.observables), len(found.given.study.save_days) if plan.observables else 0)

    def endpoints(self, a: np.ndarray, axis: int) -> np.ndarray:
        a = np.moveaxis(a, axis, 0)[: self.arms * self.ends]
        return self._back(a.reshape(self.arms, self.ends, *a.shape[1:]), 2, axis)

    def days(self, a: np.ndarray, axis: int) -> np.ndarray:
        a = np.moveaxis(a, axis, 0)[self.arms * self.ends :]
        return self._back(a.reshape(self.arms, *self.saved, *a.shape[1:]), 3, axis)

    @staticmethod
    def _back(a: np.ndarray, n: int, axis: int) -> np.ndarray:
        return np.moveaxis(a, range(n), range(axis, axis + n))


def spread(a: np.ndarray, own: Sequence[str], names: Sequence[str], axis: int = -1) -> np.ndarray:
    """An array over some entries as one over all, NaN for those that it is not of."""
    a = np.moveaxis(np.asarray(a, float), axis, -1)
    wide = np.full((*a.shape[:-1], len(names)), np.nan)
    wide[..., [names.index(name) for name in own]] = a
    return np.moveaxis(wide, -1, axis)


def index(
    name: str, dims: tuple[str, ...], meaning: str, kind: str = "float64", unit: str = "1", **attrs: Any
) -> Variable:
    return Variable(name, dims, kind, unit, meaning, "index", attrs=attrs)


def with_ends(name: str, dims: tuple[str, ...], meaning: str, confidence: float, unit: str = "1") -> list[Variable]:
    """An index and the ends of its interval."""
    percent = f"{100 * confidence:g} % interval"
    return [
        index(name, dims, meaning, unit=unit),
        index(f"{name}_low", dims, f"{meaning}, lower end of the {percent}", unit=unit),
        index(f"{name}_high", dims, f"{meaning}, upper end of the {percent}", unit=unit),
    ]


def _sobol(found: Analysis, names: Sequence[str]) -> Made:
    made, asked, shape = found.sobol, found.given.study.sensitivity, Shape(found)
    assert made is not None
    assert asked is not None
    variables: list[Variable] = []
    arrays: Arrays = {}
    f = made.found
    place = ESTIMATORS.index(asked.estimator)
    ends, days = bool(shape.ends), bool(shape.saved[1])
    for name, own, meaning in (
        ("first", f.first, "first-order Sobol' index"),
        ("total", f.total, "total Sobol' index"),
    ):
        whole = f.estimates.first if name == "first" else f.estimates.total
        for part, values in (("", whole), ("_low", own.low), ("_high", own.high)):
            wide = spread(values, made.groups, names)
            if ends:
                arrays[f"sobol_{name}{part}"] = shape.endpoints(wide, 1)
            if days:
                arrays[f"sobol_{name}_course{part}"] = shape.days(wide[place], 0)
        if ends:
            variables += with_ends(
                f"sobol_{name}", ("estimator", "arm", "endpoint", "factor"), meaning, asked.confidence
            )
        if days:
            dims = ("arm", "observable", "time", "factor")
            text = f"{meaning} of an observable on a day"
            variables += with_ends(f"sobol_{name}_course", dims, text, asked.confidence)
    if asked.second_order:
        for part, values in (("", f.estimates.second), ("_low", f.second.low), ("_high", f.second.high)):
            wide = spread(spread(values, made.groups, names, -1), made.groups, names, -2)
            if ends:
                arrays[f"sobol_second{part}"] = shape.endpoints(wide, 0)
            if days:
                arrays[f"sobol_second_course{part}"] = shape.days(wide, 0)
        pair = ("factor", "factor_2")
        if ends:
            variables += with_ends(
                "sobol_second", ("arm", "endpoint", *pair), "second-order Sobol' index of a pair", asked.confidence
            )
        if days:
            course = ("arm", "observable", "time", *pair)
            variables += with_ends(
                "sobol_second_course", course, "second-order Sobol' index on a day", asked.confidence
            )
    for name, values, meaning in (
        ("mean", f.estimates.mean, "mean over the factors' distributions"),
        ("variance", f.estimates.variance, "variance over them; missing: the output does not vary"),
        ("n", f.n, "base samples that count"),
        ("missing", f.missing, "base samples left out, as one of their runs has no value"),
    ):
        if ends:
            arrays[f"sobol_{name}"] = shape.endpoints(values, 0)
            variables.append(index(f"sobol_{name}", ("arm", "endpoint"), meaning, unit=""))
        if days:
            arrays[f"sobol_{name}_course"] = shape.days(values, 0)
            variables.append(index(f"sobol_{name}_course", ("arm", "observable", "time"), meaning, unit=""))
    return variables, arrays
