"""What tests of the published models share: the backends that hold printed numbers, and how closely."""

import numpy as np
import pytest
from printed import assert_printed

import thrombojax as tj
from thrombojax.models import registry
from thrombojax.patients.population import values

BACKENDS = {
    "reference": {"backend": "reference"},
    "xla f64": {"backend": "xla", "precision": "f64", "accuracy": 1e-8},
    "native f64": {"backend": "native", "precision": "f64", "accuracy": 1e-8},
    "native f32": {"backend": "native", "precision": "f32"},
}
FEWER = [pytest.param(name, marks=pytest.mark.slow if name == "reference" else ()) for name in BACKENDS]
"""For models whose program for the reference takes long to compile."""


def model(name):
    return registry.build(registry.Source(name))


def drawn(name, cohort, n):
    """Parameters of a model's typical patient of a cohort, and of `n - 1` that are drawn: leaf -> [patient]."""
    source = tj.cohort(cohort, model=name)
    typical, others = (values(p, model(name)) for p in (source.typical(), source.sample(n - 1)))
    return {leaf: np.concatenate([typical[leaf], others[leaf]]) for leaf in typical}


def together(*parts):
    """The patients of several tables of parameters as one."""
    return {leaf: np.concatenate([part[leaf] for part in parts]) for leaf in parts[0]}


def each(p, place):
    """One patient's parameters as floats."""
    return {leaf: float(column[place]) for leaf, column in p.items()}


def holds(exact, value, text, what):
    """Half a unit of the last digit in float64, 1e-4 relative in float32."""
    if exact:
        assert_printed(value, text, what)
    else:
        assert value == pytest.approx(float(text), rel=1e-4), what


def holds_day(exact, value, text, what, grid=0.5 / 24):
    """Likewise of a day on a grid; in float32 a flat top may fall on a neighbour or two."""
    if exact:
        assert_printed(value, text, what)
    else:
        assert value == pytest.approx(float(text), abs=2.5 * grid), what


def on_grid(result, name, patient, grid, best=np.argmax):
    """Highest (lowest) saved value among the days of `grid`, and its day, which is not the first or last."""
    at = np.isin(result.time, grid)
    column = getattr(result, name)[at, patient]
    k = int(best(column))
    assert 0 < k < len(column) - 1, "the extreme lies outside the grid"
    return column[k], result.time[at][k]


def on_day(result, name, patient, day):
    return getattr(result, name)[int(np.flatnonzero(np.abs(result.time - day) < 1e-9)[0]), patient]
