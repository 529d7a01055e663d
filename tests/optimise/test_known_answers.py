"""Problems whose best doses are known: in closed form, by SciPy's quadratic programme, or because all of them can be tried."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pk
import pytest
from scipy.optimize import lsq_linear

from thrombojax.errors import RunError
from thrombojax.optimise import descent, discrete, lagrangian, objective, solve, starts
from thrombojax.optimise.descent import Settings
from thrombojax.optimise.problem import Goal, Limit, population

pytestmark = pytest.mark.xdist_group("optimise")


def solved(problem, f=None, **how):
    d = problem.course.decisions
    f = f or objective.objective(problem)
    settings = Settings(**{"starts": 1, "steps": 30, "polish": 300, "tolerance": 1e-7, "rounds": 40, **how})
    return descent.descend(f, f, d.low, d.high, d.start, settings)


def squares(problem, weights):
    of = objective.values(problem)

    def f(x):
        found = of(x)
        loss = sum(w * jnp.mean((found[e.name] - pk.TARGET) ** 2) for w, e in zip(weights, pk.ENDS, strict=True))
        return loss, jnp.zeros(0)

    return f


def test_the_least_drug_that_keeps_every_trough():
    """Load, then replace what is lost in a week: in closed form."""
    problem = pk.dosing([Goal("amount", 1.0, 0.01)], [Limit(e.name, pk.TARGET, True) for e in pk.ENDS])
    found = solved(problem)
    lost = pk.TARGET * pk.V * np.expm1(7 * pk.K)
    best = np.array([lost + pk.TARGET * pk.V, *[lost] * (pk.WEEKS - 1)])
    assert found.violation <= lagrangian.HELD
    np.testing.assert_allclose(found.x, best, rtol=2e-3)  # as tight as constraints are held
    assert np.all(found.multipliers > 0)


@pytest.mark.parametrize("high", [60.0, 14.5])
def test_a_target_of_a_linear_system(high):
    """Weighted least squares of the troughs: SciPy's bounded answer, also where a bound holds."""
    weights = [1.0, 4.0, 1.0, 2.0]
    problem = pk.dosing([Goal("trough1")], people=None, high=high, ends=pk.ENDS)
    problem = _using_all(problem)
    found = solved(problem, squares(problem, weights))
    root = np.sqrt(weights)
    exact = lsq_linear(root[:, None] * pk.matrix(), root * pk.TARGET, (0, high), tol=1e-14)
    assert found.converged
    np.testing.assert_allclose(found.x, exact.x, rtol=1e-4)
    assert found.objective == pytest.approx(2 * exact.cost, abs=1e-4)


def _using_all(problem):
    import dataclasses

    return dataclasses.replace(problem, goals=tuple(Goal(e.name) for e in pk.ENDS))


@pytest.mark.parametrize("enumerated", [True, False])
def test_real_doses_are_those_of_trying_all(monkeypatch, enumerated):
    """Also by local search, from the rounded answer."""
    problem = _using_all(pk.dosing([Goal("trough1")], ends=pk.ENDS))
    f = jax.jit(squares(problem, [1.0, 4.0, 1.0, 2.0]))
    of = [np.arange(10.0, 20.0, 2.5)] * pk.WEEKS
    if not enumerated:
        monkeypatch.setattr(discrete, "MOST", 0)

    def exact(x):
        return float(np.array([1.0, 4.0, 1.0, 2.0]) @ (pk.matrix() @ x - pk.TARGET) ** 2)

    best = min((np.array(x) for x in itertools.product(*of)), key=exact)
    relaxed = solved(problem, squares(problem, [1.0, 4.0, 1.0, 2.0]))
    found = discrete.search(lambda x: float(f(jnp.asarray(x))[0]), relaxed.x, of)
    np.testing.assert_array_equal(found.x, best)
    assert found.how == ("enumerated" if enumerated else "searched")
    assert found.merit == pytest.approx(exact(best), abs=1e-6)
    assert relaxed.objective <= found.merit <= found.rounded


def test_a_time_that_has_one_best_value():
    """The one dose before a trough, moved so that the concentration there is the target."""
    problem = _using_all(pk.dosing([Goal("trough1")], move=2.0, ends=pk.ENDS))
    d = problem.course.decisions
    of = objective.values(problem)
    amounts = np.array([12.0, 0.0, 0.0, 0.0])

    def f(shift):
        return jnp.mean(
            (of(jnp.concatenate([jnp.asarray(amounts), shift, jnp.zeros(3)]))["trough1"] - pk.TARGET) ** 2
        ), jnp.zeros(0)

    start = np.array([0.3])
    best = 7.0 - np.log(12.0 / pk.V / pk.TARGET) / pk.K
    found = descent.descend(f, f, d.low[4:5], d.high[4:5], start, Settings(1, 20, 100, 1e-8))
    assert d.low[4] == 0.0
    assert 0.5 < best < 1.5
    assert found.x[0] == pytest.approx(best, abs=1e-4)
    assert found.converged


def test_what_is_not_finite_further_on_leaves_the_best_plan_before():
    """A pit beyond 0.6 that both Adam and L-BFGS fall into; where nothing is finite there is nothing to keep."""
    low, high, start = np.zeros(2), np.ones(2), np.array([0.2, 0.2])

    def f(x):
        return jnp.where(x[0] > 0.6, jnp.nan, -x[0] + (x[1] - 0.5) ** 2), jnp.zeros(0)

    found = descent.descend(f, f, low, high, start, Settings(1, 10, 30, 1e-6))
    assert 0.55 < found.x[0] <= 0.6
    assert found.x[1] == pytest.approx(0.5, abs=0.05)
    assert not found.converged

    def pit(x):
        return jnp.where(x[0] > 0.15, jnp.nan, x[0]), jnp.zeros(0)

    with pytest.raises(RunError, match=r"the objective is not finite at the decisions 0\.2, 0\.2"):
        descent.descend(pit, pit, low, high, start, Settings(1, 10, 30, 1e-6))
    other = descent.descend(pit, pit, low, high, start, Settings(4, 10, 30, 1e-6))
    assert other.x[0] < 0.15
    assert "start 1: the objective is not finite" in other.trouble


def test_an_infeasible_constraint_ends_with_the_least_violation():
    problem = pk.dosing([Goal("amount", 1.0, 0.01)], [Limit("trough1", 10.0, True)], high=20.0)
    found = solved(problem, polish=60)
    assert not found.converged
    # Everything there is on day 0, and still too little.
    assert found.x[0] == pytest.approx(20.0, rel=1e-3)
    assert found.excess[0] == pytest.approx(1.0 - 20.0 * np.exp(-7 * pk.K) / pk.V / 10.0, rel=1e-3)


def people(n):
    patients = pk.Patients(pk.SOURCE, n).replace({"elimination": np.linspace(0.2, 0.5, n)})
    return population(patients, ("drug",), (*pk.ENDS, pk.DRUG))


GOALS = [Goal("trough2", 1.0, 1.0, 0.5), Goal("amount", 1.0, 0.01)]
LIMITS = [Limit("trough3", 4.0, True, 0.5)]


@pytest.mark.parametrize("backend", ["native", "xla"])
def test_an_objective_of_some_patients_is_that_of_them_alone(backend):
    """Value, excesses and gradient; one program for every choice of as many."""
    whole, traced = people(6), []
    f = objective.objective(pk.dosing(GOALS, LIMITS, whole, backend=backend))
    alone = objective.objective(pk.dosing(GOALS, LIMITS, whole.first(3), backend=backend))

    def total(x, *rows):
        traced.append(rows)
        value, excess = f(x, *rows)
        return value + jnp.sum(excess), (value, excess)

    x, run = jnp.array([9.0, 3.0, 14.0, 6.0]), jax.jit(jax.value_and_grad(total, has_aux=True))
    found = run(x, np.array([0, 1, 2]))
    expected = jax.value_and_grad(lambda x: (lambda v, e: (v + jnp.sum(e), (v, e)))(*alone(x)), has_aux=True)(x)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert float(run(x, np.array([3, 4, 5]))[0][0]) != float(found[0][0])
    assert len(traced) == 1


def errors(people):
    """With an error of measurement of each patient's own on the visits."""
    factor = {7.0 * k: np.linspace(0.8, 1.3, people.cohort.n) * (1 + 0.1 * k) for k in range(1, 5)}
    return replace(people, factor=factor)


def test_plans_side_by_side_are_each_alone():
    """Value, excesses and gradient of three plans on rows of their own, errors of measurement among them."""
    f = objective.objective(pk.dosing(GOALS, LIMITS, errors(people(5))))
    x = np.random.default_rng(3).uniform(0.5, 30.0, (pk.WEEKS, 3))
    x[1, 1] = 0.0

    def total(x, f=f):
        value, excess = f(x)
        return jnp.sum(value) + jnp.sum(excess), (value, excess)

    several = f.beside(3)
    slope, (value, excess) = jax.jit(jax.grad(lambda x: total(x, several), has_aux=True))(x)
    for i in range(3):
        mine, (one, over) = jax.jit(jax.grad(total, has_aux=True))(x[:, i])
        np.testing.assert_allclose(value[i], one, rtol=1e-12)
        np.testing.assert_allclose(excess[:, i], over, rtol=1e-12)
        np.testing.assert_allclose(slope[:, i], mine, rtol=1e-10, atol=1e-12)


def test_where_plans_cannot_be_side_by_side():
    assert objective.objective(pk.dosing(GOALS, LIMITS, people(2), move=1.0)).beside(2) is None
    assert objective.objective(pk.dosing(GOALS, LIMITS, people(2), backend="xla")).beside(2) is None


def test_starts_end_alike_in_turns_and_side_by_side():
    problem = pk.dosing([Goal("amount", 1.0, 0.01)], [Limit("trough3", 1.0, True)], people(5))
    f, d = objective.objective(problem), problem.course.decisions
    settings = Settings(3, 15, 60, 1e-6)
    turns, beside = (
        descent.descend(f, f, d.low, d.high, d.start, settings, several=g) for g in (None, f.beside(settings.starts))
    )
    np.testing.assert_allclose(beside.starts, turns.starts, rtol=1e-9)
    np.testing.assert_allclose(beside.x, turns.x, rtol=1e-6, atol=1e-9)
    assert turns.converged
    assert len(np.unique(turns.starts)) == 3
    assert beside.trace.phase.count("adam") == 15
    assert turns.trace.phase.count("adam") == 45


def test_a_start_without_a_value_leaves_the_others_alone():
    """Side by side, in a pit that the first start is in and no other."""
    low, high, start = np.zeros(2), np.ones(2), np.array([0.2, 0.2])

    def pit(x):
        return jnp.where(x[0] > 0.15, jnp.nan, x[0]), jnp.zeros((0, *x.shape[1:]))

    alone = descent.descend(pit, pit, low, high, start, Settings(4, 10, 30, 1e-6))
    found = descent.descend(pit, pit, low, high, start, Settings(4, 10, 30, 1e-6), several=pit)
    np.testing.assert_array_equal(found.x, alone.x)
    np.testing.assert_array_equal(found.starts, alone.starts)
    assert found.trouble == alone.trouble != ""


def test_mini_batches_ask_everybody_and_starts_are_compared_on_the_same():
    """Steps of Adam on other patients each: their mean is that of all, so the minimum is found; subsets are those of the seed."""
    target, asked = np.linspace(0.2, 0.8, 12), []

    def f(x, rows=None):
        jax.debug.callback(lambda rows: asked.append(np.asarray(rows)), np.arange(12) if rows is None else rows)
        return jnp.mean((x[0] - (target if rows is None else jnp.asarray(target)[rows])) ** 2), jnp.zeros(0)

    def some(x):
        return jnp.mean((x[0] - target[:4]) ** 2), jnp.zeros(0)

    first = starts.subsets(12, 5, 1)
    two = [next(first) for _ in range(2)]
    assert len(np.unique(np.concatenate(two))) == 10
    again = starts.subsets(12, 5, 1)
    assert all(np.array_equal(next(again), mine) for mine in two)
    settings = Settings(2, 60, 0, 1e-9, mini_batches=True)
    box = np.zeros(1), np.ones(1), np.array([0.9])
    found = descent.descend(f, some, *box, settings, sizes=(12, 4))
    jax.effects_barrier()
    steps = [rows for rows in asked if len(rows) == 4]
    assert len(steps) >= 120
    assert set(np.concatenate(steps[:3]).tolist()) == set(range(12))
    assert found.x[0] == pytest.approx(target.mean(), abs=0.02)
    assert found.starts == pytest.approx(np.mean((found.x[0] - target[:4]) ** 2), abs=0.01)


def test_a_real_dose_that_some_patients_allow_and_all_forbid(monkeypatch):
    """The search looks at the first half, whose excess is 0.05 less than that of all: the dose must fall by more than what is
    violated, 0.01."""
    response = np.array([0.9, 0.9, 1.0, 1.0])
    limit = SimpleNamespace(scale=1.0, excess=lambda value: value - 1.905)
    train = SimpleNamespace(
        patients=SimpleNamespace(n=4), evaluate=lambda dose, rows=None: float(dose[0] * np.mean(response[rows]))
        if rows is not None else float(dose[0] * np.mean(response)),
    )  # fmt: skip
    monkeypatch.setattr(solve, "share", lambda limit, of, confidence: SimpleNamespace(value=of))
    monkeypatch.setattr(solve, "objective", lambda goals, of: -of)
    found = SimpleNamespace(x=np.array([2.05]), multipliers=np.array([1.0]))
    said = SimpleNamespace(batch=2, confidence=0.95)
    levels = [np.arange(0.0, 2.2, 0.02)]
    chosen, whole = solve._real(
        SimpleNamespace(treatment=lambda x: x), train, (), (limit,), found, levels, said, lambda text: None
    )
    assert whole <= 1.905
    assert chosen.x[0] == pytest.approx(2.0, abs=1e-9)
