"""Gradients of objectives against central differences to 1e-5: amounts, times, numbers of a rule; and the smooth twins."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pk
import pytest

import thrombojax as tj
from thrombojax.endpoints import Endpoint
from thrombojax.fit import patients, problem
from thrombojax.optimise import individual, objective, smooth, solve
from thrombojax.optimise.problem import Dosing, Goal, Limit, course, population
from thrombojax.patients.population import Patients
from thrombojax.study import plan as plans
from thrombojax.study.schema import load

pytestmark = pytest.mark.xdist_group("optimise")
SWEEPS = Path(__file__).parents[2] / "sweeps"
TEXTS = {path.stem: path.read_text() for path in SWEEPS.glob("*.toml")}
STUDIES = sorted(name for name, text in TEXTS.items() if "[optimise]" in text and "[events]" not in text)
INDIVIDUAL = sorted(name for name, text in TEXTS.items() if "[optimise]" in text and "[events]" in text)


def agree(f, x, h=1e-5, seed=0):
    total = lambda x: (lambda out: out[0] + jnp.sum(out[1]))(f(x))  # noqa: E731
    value, slope = jax.jit(total), jax.grad(total)
    g = np.asarray(slope(jnp.asarray(x)))
    for k in range(2):
        d = np.random.default_rng(seed + k).normal(size=len(x))
        difference = float(value(x + h * d) - value(x - h * d)) / (2 * h)
        assert g @ d == pytest.approx(difference, rel=1e-5, abs=1e-9)
        assert difference != 0.0


ENDS = (
    Endpoint("band", "fraction_in_band", stop=pk.DAYS, numbers={"low": 210.0, "high": 300.0}),
    Endpoint("nadir", "nadir", stop=pk.DAYS),
    Endpoint("peak", "peak", start=3.0, stop=pk.DAYS),
    Endpoint("auc", "auc", "concentration", stop=20.0),
    Endpoint("day", "value_on_day", start=14.0, stop=14.0, numbers={"day": 14.0}, visits=(14.0,), relative="change"),
    Endpoint("weeks", "weeks_of_response", stop=pk.DAYS, numbers={"threshold": 250.0}, visits=(7.0, 14.0, 21.0)),
    pk.DRUG,
)
GOALS = (Goal("band", -1.0), Goal("nadir", 1.0, 0.01), Goal("auc", 1.0, 0.003, 0.8), Goal("day", -1.0, 0.01), Goal("weeks"),
         Goal("amount", 1.0, 0.01))  # fmt: skip
LIMITS = (Limit("peak", 280.0, False, 0.9), Limit("band", 0.5, True))


@pytest.mark.parametrize("move", [0.0, 2.0])
def test_amounts_and_times(move):
    """Every twin, means, CVaR, a chance and a mean constraint."""
    patients = Patients(pk.SOURCE, 12, index=np.arange(12))
    problem = pk.dosing(GOALS, LIMITS, population(patients, ("drug",), ENDS), move, ENDS)
    x = problem.course.decisions.start + np.random.default_rng(5).uniform(0.1, 0.4, problem.course.decisions.k)
    agree(objective.objective(problem), x)


def test_xla_has_the_same_objective():
    patients = Patients(pk.SOURCE, 6, index=np.arange(6))
    people = population(patients, ("drug",), ENDS)
    fast, slow = (
        jax.jit(objective.objective(pk.dosing(GOALS, LIMITS, people, 2.0, ENDS, backend=backend)))
        for backend in ("native", "xla")
    )
    x = jnp.asarray(pk.dosing(GOALS, move=2.0, people=people).course.decisions.start + 0.3)
    for a, b in zip(jax.tree.leaves(fast(x)), jax.tree.leaves(slow(x)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_twins_become_the_reducers():
    """Of a course that is known: exp(t / 10) x 100 over 20 days."""
    days = np.linspace(0.0, 20.0, 20001)
    v = (100.0 * np.exp(days / 10.0))[:, None]
    seen = smooth.Seen(days, {"platelets": v}, lambda e: 0.0, {}, 1e-4)
    band = Endpoint("band", "fraction_in_band", stop=20.0, numbers={"low": 200.0, "high": 400.0})
    assert float(smooth.value(band, seen)[0]) == pytest.approx((np.log(4) - np.log(2)) / 2, abs=1e-4)
    for reducer, exact in (("nadir", 100.0), ("peak", 100 * np.e**2), ("mean", 50 * (np.e**2 - 1))):
        assert float(smooth.value(Endpoint("e", reducer, stop=20.0), seen)[0]) == pytest.approx(exact, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_every_study(name):
    """The decisions of each study that is shipped, off their start."""
    study = load(SWEEPS / f"{name}.toml").override(n=6, precision="f64")
    plan = plans.make(study)
    deciding, limits = solve.deciding_of(study, plan), solve.wanted(study)
    d = deciding.decisions
    f = deciding.function(plan.patients, *limits, None)
    x = np.clip(d.start, d.low + 0.05 * (d.high - d.low), d.high - 0.05 * (d.high - d.low))
    x = x + np.random.default_rng(7).uniform(-0.02, 0.02, d.k) * (d.high - d.low)
    agree(f, x)


@pytest.mark.slow
@pytest.mark.parametrize("name", INDIVIDUAL)
def test_every_study_of_individual_plans(name):
    """Of some patients, each with decisions of its own."""
    study = load(SWEEPS / f"{name}.toml").override(precision="f64")
    plan = plans.make(study)
    goals, limits = solve.wanted(study)
    course, _ = individual.decided(study, plan)
    fits = patients.fit(problem.make(plan), plan.ids)
    rows = np.flatnonzero(fits.status == patients.OK)[:4]
    of = individual.sampled(study, plan, fits, rows, course, individual._starts(study, plan), plan.endpoints, 3, 1)
    f, d = of.smooth(goals, limits), course.decisions
    x = d.low[:, None] + (d.high - d.low)[:, None] * np.random.default_rng(7).uniform(0.05, 0.5, (d.k, len(rows)))
    agree(
        lambda flat: (lambda out: (jnp.sum(out[0]), out[1]))(f(flat.reshape(x.shape), np.arange(len(rows)))), x.ravel()
    )


WANTED = {
    "changes": Endpoint("e", "dose_changes", stop=pk.DAYS, drug="drug"),
    "visits": Endpoint("e", "doses_given", stop=pk.DAYS, drug="drug"),
    "cumulative dose": Endpoint("e", "cumulative_dose", stop=20.0, drug="drug"),
    "depth of the nadir": Endpoint("e", "nadir", start=7.0, stop=pk.DAYS),
    "length of the nadir": Endpoint("e", "fraction_in_band", stop=pk.DAYS, numbers={"low": 0.0, "high": 240.0}),
    "a procedure day": Endpoint("e", "value_on_day", start=17.0, stop=17.0, numbers={"day": 17.0}, visits=(17.0,)),
    "a response": Endpoint("e", "response", stop=pk.DAYS, numbers={"threshold": 230.0, "needed": 2.0}, visits=(7.0, 14.0, 21.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", WANTED)
def test_each_objective_has_a_gradient_and_becomes_what_is_counted(name):
    """As objective and as constraint; of one patient, with edges as narrow as they go, against the reducer itself."""
    e = WANTED[name]
    patients = Patients(pk.SOURCE, 1)
    x = np.array([9.0, 3.0, 14.0, 6.0])
    people = population(patients, ("drug",), (e,))
    wide = pk.dosing([Goal("e")], [Limit("e", 1.0, False)], people, ends=(e,))
    agree(objective.objective(wide), x)
    narrow = pk.dosing([Goal("e")], people=people, ends=(e,), smoothing=2e-3)
    found = float(objective.values(narrow)(jnp.asarray(x))["e"][0])
    words = " and ".join(f"drug {a:g} mg iv once from day {7 * i}" for i, a in enumerate(x))
    counted = tj.simulate(patients, words, days=pk.DAYS, endpoints=[e], precision="f64").endpoints["e"][0]
    assert found == pytest.approx(counted, rel=2e-2)


@pytest.mark.parametrize(
    ("observable", "cohort"),
    [("bleeding_hazard", "itp"), pytest.param("thrombosis_hazard", "healthy", marks=pytest.mark.slow)],
)
def test_hazards_are_objectives(observable, cohort):
    """The cumulative hazard under romiplostim, of the flagship (in ET that of thrombosis leaves the count out: IPSET)."""
    e = Endpoint("hazard", "auc", observable, stop=14.0)
    people = population(tj.cohort(cohort, parameter_set="2").sample(3, seed=2), ("romiplostim",), (e,))
    made = course(tj.regimen("romiplostim 3 ug/kg sc weekly x 2"), 14.0, low=0.0, high=10.0)
    agree(objective.objective(Dosing(made, people, 14.0, (e,), (Goal("hazard", 1.0, 1e4),))), np.array([2.0, 3.0]))
