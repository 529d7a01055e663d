"""A user's linear model: concentrations, and gradients to amounts, times, durations and parameters, in closed form."""

import functools
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spec
from differentiable import course

import thrombojax as tj
from thrombojax.dosing.timeline import Column
from thrombojax.models import registry
from thrombojax.models.struct import as_dict
from thrombojax.solve.steppers import Adaptive, FixedSteps, method

pytestmark = pytest.mark.usefixtures("small_blocks")

FILE = Path(__file__).parents[1] / "user_models" / "one_compartment.py"
SOURCE = registry.Source("one-compartment", file=str(FILE))
COLUMNS = (Column(("drug", "oral"), False), Column(("drug", "iv"), False))
END = 10.0
SAVE = (0.0, 0.3, 1.0, 1.5, 2.0, 3.7, 7.0, 10.0)
ORAL, BOLUS, INFUSION = 0, 1, 2
# kind, day, amount, days of infusion; the third coincides with a save time
DOSES = (
    (ORAL, 0.0, 10.0, 0.0),
    (ORAL, 0.9, 10.0, 0.0),
    (BOLUS, 1.5, 4.0, 0.0),
    (INFUSION, 2.2, 6.0, 0.5),
    (INFUSION, 2.5, 3.0, 2.0),
    (ORAL, 4.0, 5.0, 0.0),
)
# of the same kinds: two at once, one on the grid, arrivals on a save time and on the grid, an infusion from a bolus on
COINCIDENT = (
    (ORAL, 0.0, 10.0, 0.0),
    (ORAL, 0.95, 10.0, 0.0),
    (BOLUS, 1.5, 4.0, 0.0),
    (INFUSION, 1.5, 6.0, 0.3),
    (INFUSION, 3.0, 3.0, 2.0),
    (ORAL, 5.95, 5.0, 0.0),
)
RATES = {
    "apart": (3.0, 0.3),
    "equal": (0.3, 0.3),
    "nearly": (0.3 * (1 + 1e-9), 0.3),
    "close": (0.3001, 0.3),
    "flip": (0.2, 2.0),
}


@functools.cache
def model(exact=True):
    return registry.build(SOURCE) if exact else user_file().make(exact=False)


@functools.cache
def user_file():
    spec_ = importlib.util.spec_from_file_location("one_compartment", FILE)
    module = importlib.util.module_from_spec(spec_)
    import sys

    sys.modules["one_compartment"] = module
    spec_.loader.exec_module(module)
    return module


def spread(d):
    """(1 - exp(-d)) / d, also for a complex d near 0."""
    small = np.abs(d) < 1e-5
    return np.where(small, 1 - d / 2 + d * d / 6, -np.expm1(-d) / np.where(small, 1.0, d))


def response(kind, t, amount, duration, p):
    """Concentration at `t` days after a dose; complex arguments give derivatives (complex step)."""
    ka, ke, v = p["absorption"], p["elimination"], p["volume"]
    if kind == ORAL:
        t = t - p["lag"]
        value = amount * p["bioavailability"] * ka / v * np.exp(-ke * t) * t * spread((ka - ke) * t)
    elif kind == BOLUS:
        value = amount / v * np.exp(-ke * t)
    else:
        during = np.where(np.real(t) <= np.real(duration), t, duration)
        value = amount / duration / (ke * v) * -np.expm1(-ke * during) * np.exp(-ke * (t - during))
    return np.where(np.real(t) > 1e-12, value, 0.0)


def closed(p, doses, save=SAVE):
    """Concentrations at the save times; a dose of the same instant comes after."""
    save = np.asarray(save)
    start = p["initial_amount"] / p["volume"] * np.exp(-p["elimination"] * save)
    return start + sum(response(k, save - t, x, d, p) for k, t, x, d in doses)


def parameters(**changes):
    return {name: float(v) for name, v in as_dict(model().defaults).items()} | changes


def platelets(p, doses):
    """By SciPy, restarted wherever a dose arrives or an infusion ends."""

    def f(t, y, rate):
        absorbed = p["absorption"] * y[0]
        made = p["loss"] * p["count"] * (1 + p["slope"] * y[1] / p["volume"])
        return np.array([-absorbed, absorbed - p["elimination"] * y[1] + rate, made - p["loss"] * y[2]])

    jumps = {}
    for kind, t, x, _ in doses:
        arrive, into = (t + p["lag"], (0, p["bioavailability"])) if kind == ORAL else (t, (1, 1.0))
        if kind != INFUSION:

            def jump(y, i=into[0], add=into[1] * x):
                y[i] += add
                return y

            jumps[arrive] = jump
    running = [(t, t + d, x / d) for kind, t, x, d in doses if kind == INFUSION]
    kinks = [edge for begin, end, _ in running for edge in (begin, end)]
    args = lambda t: (sum(r for begin, end, r in running if begin <= t < end),)  # noqa: E731
    solution = spec.integrate(f, np.array([0.0, 0.0, p["count"]]), jumps, END, kinks=kinks, args=args)
    return solution(SAVE)[2]


def regimen(doses):
    words = []
    for kind, t, x, d in doses:
        route = "oral" if kind == ORAL else "iv"
        words.append(f"drug {x} mg {route}{f' over {d} days' if d else ''} once from day {t}")
    return " and ".join(words)


@functools.cache
def solved(backend, precision):
    ka, ke = zip(*RATES.values(), strict=True)
    patients = model().patients(absorption=list(ka), elimination=list(ke))
    wanted = ("concentration", "platelets")
    return tj.simulate(
        patients, regimen(DOSES), days=END, save=SAVE, observables=wanted, backend=backend, precision=precision
    )


@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize(("backend", "precision"), [("xla", "f64"), ("xla", "f32"), ("reference", "f64")])
def test_concentrations_and_counts(rates, backend, precision):
    """The exact block holds 1e-12 whatever the step and however near the rates are; float32 a few units in the last place."""
    p = parameters(absorption=RATES[rates][0], elimination=RATES[rates][1])
    result = solved(backend, precision)
    assert not result.status.any()
    k = list(RATES).index(rates)
    drug = {"f64": 1e-12, "f32": 3e-6}[precision] if backend == "xla" else 1e-8
    exact = closed(p, DOSES)
    np.testing.assert_allclose(result.concentration[:, k], exact, rtol=drug, atol=drug * exact.max() * 0.1)
    np.testing.assert_allclose(result.platelets[:, k], platelets(p, DOSES), rtol=1e-5 if backend == "xla" else 1e-9)


def test_superposition():
    """Each dose alone, on the same bounds, adds up to all of them together; twice the dose gives twice the drug."""
    f = concentrations()
    times, amounts, durations = map(np.array, zip(*((t, x, d) for _, t, x, d in DOSES), strict=True))
    whole = np.asarray(f({}, times, amounts, durations))
    alone = [np.asarray(f({}, times, amounts * (np.arange(len(DOSES)) == k), durations)) for k in range(len(DOSES))]
    np.testing.assert_allclose(sum(alone), whole, rtol=1e-13)
    np.testing.assert_allclose(np.asarray(f({}, times, 2 * amounts, durations)), 2 * whole, rtol=1e-14)


def columns_of(doses):
    return tuple(0 if kind == ORAL else 1 for kind, *_ in doses)


def infused(doses):
    return tuple(kind == INFUSION for kind, *_ in doses)


@functools.cache
def concentrations():
    """Jitted, of all doses at any times."""
    return jax.jit(course(model(), COLUMNS, columns_of(DOSES), infused(DOSES), END, SAVE, ("concentration",)))


VARIED = ("absorption", "elimination", "volume", "bioavailability", "lag")


@functools.cache
def gradient(mode, columns, infusions, most=None):
    """Jitted jacobian of the saved concentrations to (parameters, times, amounts, durations)."""
    stepper = FixedSteps(0, method(model())) if mode == "forward" else None
    f = course(model(), COLUMNS, columns, infusions, END, SAVE, ("concentration",), stepper=stepper)
    jacobian = jax.jacfwd if mode == "forward" else jax.jacrev
    return jax.jit(jacobian(lambda *a: f(*a)[:, 0], argnums=(0, 1, 2, 3)))


def by_complex_step(p, doses):
    """Exact derivatives of the closed form, in the layout of `gradient`."""
    h = 1e-30

    def moved(k, place):
        return [
            tuple(v + 1j * h if (i, j) == (k, place) else v for j, v in enumerate(dose)) for i, dose in enumerate(doses)
        ]

    by_parameter = {name: closed(p | {name: p[name] + 1j * h}, doses).imag / h for name in VARIED}
    by_dose = [np.stack([closed(p, moved(k, place)).imag / h for k in range(len(doses))], -1) for place in (1, 2, 3)]
    return by_parameter, *by_dose


@pytest.mark.parametrize("where", ["between", "coincident"])
@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_gradients_in_closed_form(mode, rates, where):
    """To amounts, times, durations and parameters; at doses away from other events, and at doses that arrive on save times,
    on the daily grid and on each other, where segments have length zero."""
    doses = [(k, t + 0.013, x, d) for k, t, x, d in DOSES] if where == "between" else COINCIDENT
    p = parameters(absorption=RATES[rates][0], elimination=RATES[rates][1])
    times, amounts, durations = map(np.array, zip(*((t, x, d) for _, t, x, d in doses), strict=True))
    ours = gradient(mode, columns_of(doses), infused(doses))({n: p[n] for n in VARIED}, times, amounts, durations)
    exact = by_complex_step(p, doses)
    for name in VARIED:
        np.testing.assert_allclose(ours[0][name], exact[0][name], rtol=1e-9, atol=1e-10, err_msg=name)
    live = np.array(infused(doses))
    for got, true, what in zip(ours[1:], exact[1:], ("times", "amounts", "durations"), strict=True):
        got = np.asarray(got) * (live if what == "durations" else 1.0)
        true = true * (live if what == "durations" else 1.0)
        np.testing.assert_allclose(got, true, rtol=1e-9, atol=1e-10, err_msg=what)


@pytest.mark.parametrize(
    "kind", [pytest.param(ORAL, marks=pytest.mark.slow), BOLUS, pytest.param(INFUSION, marks=pytest.mark.slow)]
)
def test_a_dose_that_moves_past_a_save_time(kind):
    """Before the save it is seen with its full slope, after it not at all, and at the same instant it comes after."""
    p = parameters(lag=0.0)
    f = moving(kind)
    for shift in (-1e-3, -1e-6, 0.0, 1e-6, 1e-3):
        dose = (kind, 2.0 + shift, 4.0, 0.5 if kind == INFUSION else 0.0)
        got, value = map(np.asarray, f(2.0 + shift))
        exact = closed(p, [dose])
        np.testing.assert_allclose(value, exact, rtol=1e-12, atol=1e-15)
        true = by_complex_step(p, [dose])[1][:, 0]
        at_save = SAVE.index(2.0)
        if shift >= 0:
            assert value[at_save] == 0.0
            assert got[at_save] == 0.0
        rest = np.arange(len(SAVE)) != at_save if shift == 0 and kind != BOLUS else slice(None)
        np.testing.assert_allclose(got[rest], true[rest], rtol=1e-9, atol=1e-10)


@functools.cache
def moving(kind):
    """Jitted: (slopes, values) of the concentrations by the day of a dose."""
    columns, infusions = (0 if kind == ORAL else 1,), (kind == INFUSION,)
    g = course(model(), COLUMNS, columns, infusions, END, SAVE, ("concentration",))

    def f(t):
        length = jnp.array([0.5 if kind == INFUSION else 0.0])
        values = g({"lag": 0.0}, jnp.stack([t]), jnp.array([4.0]), length)[:, 0]
        return values, values

    return jax.jit(jax.jacrev(f, has_aux=True))


def test_a_dose_may_pass_other_doses():
    """The order of the slots is not the order in time: a dose swept over all others gives the closed form everywhere."""
    f = concentrations()
    times, amounts, durations = map(np.array, zip(*((t, x, d) for _, t, x, d in DOSES), strict=True))
    for t in np.linspace(0, END, 41):
        moved = times.copy()
        moved[1] = t
        doses = [(k, moved[i], x, d) for i, (k, _, x, d) in enumerate(DOSES)]
        exact = closed(parameters(), doses)
        np.testing.assert_allclose(np.asarray(f({}, moved, amounts, durations))[:, 0], exact, rtol=1e-11, atol=1e-12)


def test_float32_gradients():
    doses = [(k, t + 0.013, x, d) for k, t, x, d in DOSES]
    p = parameters()
    times, amounts, durations = (
        np.array(v, np.float32) for v in zip(*((t, x, d) for _, t, x, d in doses), strict=True)
    )
    with jax.enable_x64(False):
        run = gradient.__wrapped__("reverse", columns_of(doses), infused(doses))
        ours = run({n: np.float32(p[n]) for n in VARIED}, times, amounts, durations)
        ours = jax.tree.map(np.asarray, ours)
    exact = by_complex_step(p, doses)
    for name in VARIED:
        assert ours[0][name].dtype == np.float32
        np.testing.assert_allclose(ours[0][name], exact[0][name], rtol=1e-4, atol=1e-4 * np.abs(exact[0][name]).max())
    for got, true in zip(ours[1:3], exact[1:3], strict=True):
        np.testing.assert_allclose(got, true, rtol=1e-4, atol=1e-4 * np.abs(true).max())


@pytest.mark.parametrize("how", ["exact block", "Runge-Kutta", "adaptive"])
def test_the_hypersensitive_dose_time(how):
    """1 mg/L on board decays at 0.3 per day, 10 mg/L more on day 1.7, read on day 5: 3.938897, and 1.114730 per day.

    A dose snapped to a grid gives 3.995054 and a gradient of zero; one split over two grid points 3.939002 and 1.121035.
    """
    stepper = {"exact block": None, "Runge-Kutta": None, "adaptive": Adaptive()}[how]
    m = model(exact=how != "Runge-Kutta")
    g = course(m, COLUMNS, (1,), (False,), 5.0, (5.0,), ("concentration",), stepper=stepper)

    def f(t):
        changes = {"volume": 1.0, "initial_amount": 1.0, "elimination": 0.3}
        return g(changes, jnp.stack([t]), jnp.array([10.0]), jnp.zeros(1))[0, 0]

    value, slope = jax.jit(lambda t: jax.jvp(f, (t,), (1.0,)))(1.7)
    tolerance = {"exact block": 1e-13, "Runge-Kutta": 1e-7, "adaptive": 1e-9}[how]
    assert float(value) == pytest.approx(np.exp(-1.5) + 10 * np.exp(-0.99), rel=tolerance)
    assert float(slope) == pytest.approx(3 * np.exp(-0.99), rel=tolerance)
    assert f"{float(value):.6f}" == "3.938897"
    assert f"{float(slope):.6f}" == "1.114730"
