"""Gradients of saved values to dose times, amounts and parameters, in float64: against central differences of the kernel, and
of an independent SciPy solution at tight tolerance (`spec.py`). Through XLA, and through generated C where XLA takes a minute."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import pytest
import spec
from differentiable import course, generated

from thrombojax.dosing.timeline import Column
from thrombojax.models import registry, struct
from thrombojax.models.protocol import Model
from thrombojax.solve.steppers import FixedSteps, method

pytestmark = pytest.mark.xdist_group("gradients")


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """changes: the parameters that are varied; exact(changes, times, amounts) -> `[save, observable]` by SciPy."""

    model: Callable[[], Model]
    column: Column
    changes: Mapping[str, float]
    times: tuple[float, ...]
    amounts: tuple[float, ...]
    days: float
    save: tuple[float, ...]
    observables: tuple[str, ...]
    exact: Callable[..., Any]
    step_error: float
    """Relative to the largest entry: what fixed steps cost the derivative."""
    refine: int = 1
    native: bool = False
    """By generated C, not by XLA."""

    def course(self, stepper: Any = None) -> Any:
        n = len(self.times)
        what = (self.model(), (self.column,), (0,) * n, (False,) * n, self.days, self.save, self.observables)
        if self.native:
            return generated(*what, refine=self.refine)
        return course(*what, stepper=stepper, refine=self.refine)

    @functools.cached_property
    def f(self) -> Any:
        f = self.course()
        return lambda *point: f(*point, np.zeros(len(self.times)))

    @functools.cached_property
    def compiled(self) -> Any:
        """Values alone: differences want many."""
        return jax.jit(self.f)

    @functools.cached_property
    def transposed(self) -> Any:
        """Values, and in reverse mode the slope of one combination of them: less to compile than a whole jacobian."""

        f = self.f

        def both(weights: Any, *point: Any) -> Any:
            values, pull = jax.vjp(f, *point)
            return values, pull(weights)

        return jax.jit(both)

    def slope(self, place: tuple[int, ...], *point: Any) -> tuple[Any, Any]:
        """Values and the derivatives of the one at a place, in reverse mode."""
        weights = np.zeros((len(self.save), len(self.observables)))
        weights[place] = 1.0
        return jax.tree.map(np.asarray, self.transposed(weights, *point))

    @functools.cached_property
    def at(self) -> tuple[Any, Any]:
        """Values and their jacobian."""
        point = (dict(self.changes), np.array(self.times), np.array(self.amounts))
        shape = (len(self.save), len(self.observables))
        found = [self.slope(place, *point) for place in np.ndindex(*shape)]
        rows = jax.tree.map(lambda *row: np.stack(row).reshape(*shape, *row[0].shape), *(row for _, row in found))
        return found[0][0], rows

    def values(self, changes: Any, times: Any, amounts: Any) -> Any:
        return np.asarray(self.compiled(changes, times, amounts))


def fourth_order(at: Any, step: float) -> Any:
    return (8 * (at(step) - at(-step)) - at(2 * step) + at(-2 * step)) / (12 * step)


def second_order(at: Any, step: float) -> Any:
    return (at(step) - at(-step)) / (2 * step)


def differences(f: Any, case: Case, h: float, slope: Any = fourth_order) -> tuple[dict[str, Any], Any, Any]:
    """Central differences of f in the layout of the jacobian; h: relative (days for times)."""
    changes, times, amounts = dict(case.changes), np.array(case.times), np.array(case.amounts)

    def moved(array: Any, k: int, d: float) -> Any:
        array = array.copy()
        array[k] += d
        return array

    by_parameter = {
        name: slope(lambda d, n=name, v=value: f(changes | {n: v + d}, times, amounts), h * value)
        for name, value in changes.items()
    }
    n = range(len(times))
    by_time = np.stack([slope(lambda d, k=k: f(changes, moved(times, k, d), amounts), h) for k in n], -1)
    by_amount = np.stack([slope(lambda d, k=k: f(changes, times, moved(amounts, k, d)), h * amounts[k]) for k in n], -1)
    return by_parameter, by_time, by_amount


# ---- the independent solutions ----


def wang_exact(changes, times, amounts):
    by_leaf = {leaf: symbol for symbol, (leaf, _) in spec.WANG.items()}
    p = spec.typical(spec.WANG) | {by_leaf[n]: v for n, v in changes.items()}

    def jump(amount):
        def give(y):
            y[0] += p["Fsc"] * amount * p["WT"]
            return y

        return give

    jumps = {t: jump(a) for t, a in zip(times, amounts, strict=True)}
    y = spec.integrate(lambda t, y: spec.wang(y, p), spec.wang_start(p), jumps, WANG.days, rtol=1e-12)(WANG.save)
    return np.stack([y[13:].sum(0), spec.wang_free(y, p)], -1)


@functools.cache
def _initial():
    """Steady states by our own solve (its residual and its gradients are held elsewhere)."""
    model = registry.build(registry.Source(parameter_set="1"))
    return jax.jit(lambda p: jax.tree.leaves(model.initial(p)))


def flagship_exact(case, drug, table, changes, times, amounts):
    by_leaf = {leaf: symbol for symbol, (leaf, _) in {**spec.FLAGSHIP, **table}.items()}
    p = spec.typical(spec.FLAGSHIP, table) | {by_leaf[n]: v for n, v in changes.items()}
    model = registry.build(registry.Source(parameter_set="1"))
    values = {leaf: p[symbol] for symbol, (leaf, _) in spec.FLAGSHIP.items()}
    typical = struct.build(model.Parameters, lambda name, meta: np.float64(values[name]))
    states, f = spec.flagship_vector(p, drug)
    into = states.index({"romiplostim": "A", "eltrombopag": "gut"}[drug])
    lag = p.get("lag", 0.0)
    factor = p["Fsc"] * p["WT"] if drug == "romiplostim" else 1.0

    def jump(amount):
        def give(y):
            y[into] += factor * amount
            return y

        return give

    jumps = {t + lag: jump(a) for t, a in zip(times, amounts, strict=True)}
    kinks = [*times, *(t + p["switch"] for t in times)] if "switch" in p else []
    early = lambda t: (any(d <= t < d + p["switch"] for d in times) if kinks else False,)  # noqa: E731
    y0 = np.array([*map(float, _initial()(typical)), 0.0, 0.0, 0.0])
    solution = spec.integrate(f, y0, jumps, case.days, kinks=kinks, args=early, rtol=1e-11)
    y = solution(case.save)
    outputs = [spec.flagship(dict(zip(states, column, strict=True)), p) for column in y.T]
    return np.array([[d["P"], d["X"] if drug == "romiplostim" else d["conc"]] for d in outputs])


WANG = Case(
    lambda: registry.build(registry.Source("wang2010")),
    Column(("romiplostim", "sc"), True),
    {"potency": 0.052, "absorption": 0.6096, "binding": 0.131, "platelet_lifespan": 253 / 24},
    (0.21, 6.93, 13.37),
    (1.0, 2.0, 1.5),
    21.0,
    (6.5, 14.0, 20.0),
    ("platelets", "concentration"),
    wang_exact,
    2e-4,
)
ROMIPLOSTIM = Case(
    lambda: registry.build(registry.Source(parameter_set="1"), ("romiplostim",)),
    Column(("romiplostim", "sc"), True),
    {
        "romiplostim.potency": 0.075,
        "romiplostim.absorption": 0.6096,
        "megakaryocytes.cfu_gain_max": 7.1,
        "platelets.immune_clearance": 2.94,
        "thrombopoietin.tpo_dose": 1.0,
        "receptor.mpl_affinity": 32.0,
    },
    (0.21, 6.93, 13.37),
    (2.0, 3.0, 1.0),
    21.0,
    (6.5, 14.0, 20.0),
    ("platelets", "romiplostim.concentration"),
    lambda *a: flagship_exact(ROMIPLOSTIM, "romiplostim", spec.ROMIPLOSTIM, *a),
    5e-4,
    refine=3,
    native=True,
)
ELTROMBOPAG = Case(
    lambda: registry.build(registry.Source(parameter_set="1"), ("eltrombopag",)),
    Column(("eltrombopag", "oral"), False),
    {
        "eltrombopag.lag": 0.5 / 24,  # with the typical 0.447 h the drug's short steps begin exactly at its switch
        "eltrombopag.absorption_switch": 1.46 / 24,
        "eltrombopag.absorption_early": 0.333 * 24,
        "eltrombopag.clearance": 0.953 * 24,
        "eltrombopag.potency": 3.3,
        "megakaryocytes.cfu_gain_max": 7.1,
    },
    (0.21, 1.33, 2.0723),
    (75.0, 50.0, 75.0),
    8.0,
    (2.12, 5.0, 8.0),  # between lag and switch of the last dose, and later
    ("platelets", "eltrombopag.concentration"),
    lambda *a: flagship_exact(ELTROMBOPAG, "eltrombopag", spec.ELTROMBOPAG, *a),
    5e-3,
    refine=4,
    native=True,
)
CASES = {
    "wang2010": WANG,
    "romiplostim": ROMIPLOSTIM,
    "eltrombopag": ELTROMBOPAG,
    "romiplostim by XLA": dataclasses.replace(ROMIPLOSTIM, native=False),
    "eltrombopag by XLA": dataclasses.replace(ELTROMBOPAG, native=False),
}


def close(ours, theirs, rtol, what):
    """Each derivative against the largest of its kind over the save times."""
    for k in range(ours.shape[1]):  # observables have their own units
        scale = np.abs(theirs[:, k]).max()
        # A concentration does not depend on potency: differences of a solution leave rounding there, not a scale.
        away = np.abs(ours[:, k] - theirs[:, k]) / scale if scale > 1e-6 else np.abs(ours[:, k])
        assert np.all(away <= rtol), f"{what}, observable {k}: {away.max():.1e} of the largest"


def compare(ours, theirs, rtol):
    for name in theirs[0]:
        close(ours[0][name], theirs[0][name], rtol, name)
    close(ours[1], theirs[1], rtol, "times")
    close(ours[2], theirs[2], rtol, "amounts")


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_reverse_mode_against_differences_of_the_kernel(name):
    case = CASES[name]
    compare(case.at[1], differences(case.values, case, 2e-4), 1e-6)


@pytest.mark.parametrize(
    "name", ["wang2010", *(pytest.param(n, marks=pytest.mark.slow) for n in CASES if n != "wang2010")]
)
def test_reverse_mode_against_differences_of_scipy(name):
    """What is left is the error of the fixed steps in the derivative."""
    case = CASES[name]
    exact = case.exact(dict(case.changes), np.array(case.times), np.array(case.amounts))
    np.testing.assert_allclose(case.at[0], exact, rtol=2e-4)
    # Absorption of eltrombopag is the fastest there is, 126 per day: (126 h)^2 / 6 of it is a fiftieth of what is allowed.
    compare(case.at[1], differences(case.exact, case, 2e-4, second_order), case.step_error)


@pytest.mark.parametrize("name", ["wang2010", pytest.param("romiplostim by XLA", marks=pytest.mark.slow)])
def test_forward_mode_agrees_with_reverse_mode(name):
    """Along one direction in all arguments at once, through the loop whose length is only known when it runs."""
    case = CASES[name]
    f, n = case.course(FixedSteps(0, method(case.model()))), len(case.times)
    point = (dict(case.changes), np.array(case.times), np.array(case.amounts))
    rng = np.random.default_rng(5)
    direction = jax.tree.map(lambda a: np.float64(a) * 0.0 + rng.normal(size=np.shape(a)), point)
    run = jax.jit(lambda a, d: jax.jvp(lambda *x: f(*x, np.zeros(n)), a, d))
    value, along = run(point, direction)
    np.testing.assert_allclose(value, case.at[0], rtol=1e-12)
    jacobian = case.at[1]
    expected = sum(jacobian[0][k] * direction[0][k] for k in jacobian[0])
    expected = expected + jacobian[1] @ direction[1] + jacobian[2] @ direction[2]
    np.testing.assert_allclose(along, expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["wang2010", pytest.param("romiplostim", marks=pytest.mark.slow)])
def test_what_has_not_happened_yet_has_no_gradient(name):
    """A dose after a save time: exactly zero, to its time and its amount."""
    case = CASES[name]
    _, by_time, by_amount = case.at[1]
    for s, day in enumerate(case.save):
        late = np.array(case.times) > day
        assert not by_time[s][:, late].any()
        assert not by_amount[s][:, late].any()
        assert (by_amount[s][0, ~late] != 0).all()


@pytest.mark.parametrize("name", ["wang2010", pytest.param("romiplostim", marks=pytest.mark.slow)])
def test_a_dose_that_moves_past_a_save_time(name):
    """The count on day 14 is continuous in the time of the last dose; its slope is that of the earlier dose, then zero."""
    case = CASES[name]
    found = {}
    for shift in (-1e-3, -1e-6, 0.0, 1e-6, 1e-3):
        times = np.array([*case.times[:2], 14.0 + shift])
        values, (_, by_time, by_amount) = case.slope((1, 0), dict(case.changes), times, np.array(case.amounts))
        found[shift] = float(values[1, 0]), float(by_time[2]), float(by_amount[2])
    count = found[0.0][0]
    for shift, (value, slope, by_amount) in found.items():
        assert value == pytest.approx(count, rel=1e-6)
        if shift >= 0:
            assert (slope, by_amount) == (0.0, 0.0)
    # just after a subcutaneous dose nothing has reached the marrow: what slope there is comes from the steps
    assert abs(found[-1e-6][1]) < 1e-5 * count
    later = [float(case.values(dict(case.changes), np.array([*case.times[:2], t]), np.array(case.amounts))[2, 0])
             for t in (13.999, 14.0, 14.001)]  # fmt: skip
    assert later[1] == pytest.approx((later[0] + later[2]) / 2, rel=1e-6)
    assert later[0] != later[2]
