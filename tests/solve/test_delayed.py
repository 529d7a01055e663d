"""Delays: order of accuracy against closed forms, jumps in the past, the ring of rows, and what cannot run them."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thrombojax as tj
from thrombojax.codegen.trace import CannotTranslate
from thrombojax.dosing.timeline import Slots, grid, schedule
from thrombojax.endpoints import Endpoint
from thrombojax.errors import InputError
from thrombojax.models import registry
from thrombojax.patients.population import prepare, shared
from thrombojax.solve import delayed, engine, gradient
from thrombojax.solve.pieces import Plan
from thrombojax.solve.steppers import FixedSteps
from thrombojax.solve.xla import trajectory

pytestmark = pytest.mark.usefixtures("small_blocks")
FILE = Path(__file__).parents[1] / "user_models" / "delayed.py"
SOURCE = registry.Source("delayed", file=str(FILE))
LAG = 0.83
END = 6.0


def patients(**changes):
    return registry.build(SOURCE).patients(**changes)


def fundamental(t, loss, lag):
    """What is left of one cell that was given on day 0, by the method of steps."""
    terms = [(-loss) ** k * max(t - k * lag, 0.0) ** k / math.factorial(k) for k in range(1, 40) if t > k * lag]
    return 1.0 + sum(terms) if t >= 0 else 0.0


def left(t, loss=1.0, lag=LAG):
    """Of a pool that was 1 until day 0."""
    k = np.arange(1, 40)
    terms = [(-loss) ** n * max(t - (n - 1) * lag, 0.0) ** n / math.factorial(n) for n in k if t > (n - 1) * lag]
    return 1.0 + sum(terms)


def errors(save, finer, **changes):
    """Largest error by times the steps."""
    found = []
    for times in finer:
        run = tj.simulate(
            patients(**changes), days=END, save=save, precision="f64", accuracy=1e-4 / times**3 * (1 + 1e-6)
        )
        exact = [100 * left(t) for t in run.time]
        found.append(np.max(np.abs(run.platelets[:, 0] - exact)))
    return np.array(found)


def test_the_fourth_order_where_bounds_lie_on_the_kinks():
    kinks = [*np.arange(1, 8) * LAG, END]
    found = errors([t for t in kinks if t <= END], (1, 2, 4, 8))
    order = np.log2(found[:-1] / found[1:])
    assert np.all(order > 3.7), (found, order)
    assert found[-1] < 1e-6


def test_the_second_order_wherever_they_lie():
    """On average over delays that end anywhere within a step."""
    lags = np.linspace(0.71, 0.93, 16)
    exact = np.array([100 * left(2.5, lag=lag) for lag in lags])
    found = []
    for times in (1, 4, 16):
        run = tj.simulate(
            patients(lag=lags), days=2.5, save=[2.5], precision="f64", accuracy=1e-4 / times**3 * (1 + 1e-6)
        )
        found.append(np.sqrt(np.mean((run.platelets[0] - exact) ** 2)))
    assert np.log(found[0] / found[-1]) / np.log(16) > 1.7, found
    assert found[-1] < 0.01


def test_each_patient_has_its_own_delay():
    lags = np.linspace(0.4, 2.9, 13)
    run = tj.simulate(patients(lag=lags), days=END, save=[1.0, END], precision="f64", accuracy=1e-8)
    exact = [[100 * left(t, lag=lag) for lag in lags] for t in run.time]
    np.testing.assert_allclose(run.platelets, exact, atol=2e-3)
    alone = tj.simulate(patients(lag=lags[[4]]), days=END, save=[1.0, END], precision="f64", accuracy=1e-8)
    assert np.array_equal(alone.platelets[:, 0], run.platelets[:, 4])


def test_what_is_given_is_not_smeared_over_the_past():
    """The past jumps where a dose arrives, and is read from the right side of it where the timeline has a bound."""
    doses = [(1.3, 30.0), (2.0, 50.0)]
    text = " and ".join(f"cells {x} 1/nL iv once from day {t}" for t, x in doses)
    days = [k * LAG + t for k in range(8) for t in (0.0, *(t for t, _ in doses))]
    save = sorted({END, *(round(t, 9) for t in days if 0 < t <= END)})
    run = tj.simulate(patients(), text, days=END, save=save, precision="f64", accuracy=1e-8)
    exact = [100 * left(t) + sum(x * fundamental(t - s, 1.0, LAG) for s, x in doses if t > s) for t in run.time]
    np.testing.assert_allclose(run.platelets[:, 0], exact, atol=2e-5)


def test_a_delay_of_exactly_a_step_and_one_that_is_shorter():
    """The second would need what is not known yet: it is solved with more steps, or has no result and says so."""
    run = tj.simulate(patients(lag=[0.25, 0.1]), days=END, save=[END], precision="f64")
    assert run.status.tolist() == [0, 0]
    np.testing.assert_allclose(run.platelets[0], [100 * left(END, lag=lag) for lag in (0.25, 0.1)], atol=0.01)
    none = tj.simulate(patients(lag=[0.83, 1e-3, 0.0]), days=END, save=[END], precision="f64")
    assert none.status.tolist() == [0, 1, 1]
    assert np.isnan(none.platelets[0, 1:]).all()


@pytest.mark.slow
def test_a_long_run_in_float32_forgets_what_is_too_old():
    """The ring goes round hundreds of times; days within it stay exact."""
    slow = patients(loss=[0.2], lag=[2.3])  # decays without oscillation from a mode that the first days choose
    short = [tj.simulate(slow, days=60, save=[20.0, 60.0], precision=p).platelets[:, 0] for p in ("f32", "f64")]
    np.testing.assert_allclose(short[0], short[1], rtol=2e-4)
    rest = patients(loss=[0.0], lag=[2.3])
    held = tj.simulate(rest, days=1500, save=[1500.0])
    assert held.platelets[0, 0] == 100.0


@pytest.mark.slow
def test_endpoints_see_the_slope_of_a_delayed_state():
    run = tj.simulate(
        patients(), days=END, endpoints=[Endpoint("low", "nadir"), Endpoint("day", "nadir_day")], precision="f64"
    )
    fine = np.linspace(0, END, 60001)
    values = np.array([100 * left(t) for t in fine])
    assert run.endpoints["low"][0] == pytest.approx(values.min(), abs=0.3)
    assert run.endpoints["day"][0] == pytest.approx(fine[values.argmin()], abs=0.03)


def problem(**changes):
    model = registry.build(SOURCE)
    cohort = prepare(patients(**changes), model)
    slots = Slots(np.zeros(0), np.zeros(0), np.zeros(0), (), ())
    return model, cohort, schedule(model, shared(model, cohort), (), slots, grid(END, [END]))


def test_it_is_differentiable_forwards_and_backwards_to_the_delay():
    model, cohort, line = problem()
    rows = delayed.rows(model, cohort.p, line.timeline, 4.0)

    def end(lag, steps):
        plan = Plan((), (), ("platelets",), (), False, FixedSteps(steps), past=rows)
        p = cohort.p._replace(lag=lag)
        watch = engine.watched((), line)
        return trajectory(model, plan, p, cohort.y0, (), line.timeline, watch, 4.0).saved["platelets"][-1].sum()

    lag, step = jnp.array([LAG]), 1e-6
    exact = 100 * (left(END, lag=LAG + step) - left(END, lag=LAG - step)) / (2 * step)
    forwards = jax.jvp(lambda lag: end(lag, 0), (lag,), (jnp.ones(1),))[1]
    assert float(forwards) == pytest.approx(exact, rel=2e-3)
    backwards = jax.grad(lambda lag: end(lag, 4 * line.most_steps))(lag)[0]
    assert float(backwards) == pytest.approx(float(forwards), rel=1e-9)


@pytest.mark.parametrize("backend", ["native", "cuda", "reference"])
def test_other_backends_refuse_by_name(backend):
    with pytest.raises(InputError, match=f"model delayed has delays and runs on xla, not on {backend}"):
        tj.simulate(patients(), days=1, backend=backend)


def test_fast_gradients_refuse_by_name():
    model, cohort, line = problem()
    with pytest.raises(CannotTranslate, match="model delayed: has delays"):
        gradient.solve(model, cohort, line, save=("platelets",), days=(END,))


def test_timelines_of_patients_own_are_refused():
    model, cohort, line = problem()
    each = line.timeline._replace(length=np.asarray(line.timeline.length)[:, None])
    with pytest.raises(InputError, match="one timeline for all patients"):
        delayed.rows(model, cohort.p, each, 1.0)


@pytest.mark.parametrize(("lag", "refine"), [(0.4, 1.0), (2.9, 1.0), (2.9, 3.0), (100.0, 1.0)])
def test_the_ring_holds_the_longest_delay(lag, refine):
    model, cohort, line = problem(lag=[0.1, lag])
    size = delayed.rows(model, cohort.p, line.timeline, refine)
    steps = 4 * refine + 1  # and the row at the start of each day
    assert size >= min(lag, END) * steps
    assert size <= 2 * (min(lag, END) + 1) * steps + 4
    assert size & (size - 1) == 0
