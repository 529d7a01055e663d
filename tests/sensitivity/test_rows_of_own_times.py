"""Factors that are days, intervals, durations and numbers of doses, on a compartment whose answer is a formula."""

import functools
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad

from thrombojax.errors import InputError
from thrombojax.patients import population
from thrombojax.sensitivity.analyse import analyse
from thrombojax.sensitivity.derivatives import tangents
from thrombojax.sensitivity.problem import problem
from thrombojax.sensitivity.simulate import Rows, moves, simulator
from thrombojax.solve import cuda, gradient, places
from thrombojax.study import plan as plans
from thrombojax.study import sweep
from thrombojax.study.schema import parse

MODEL = str(Path(__file__).parents[1] / "user_models" / "one_compartment.py")
HEAD = """
schema = 1
[study]
name = "own"
model = "one-compartment"
days = 20
precision = "f64"
[[arm]]
name = "drug"
regimen = "{regimen}"
[time]
save = 10
[[endpoint]]
name = "late"
reducer = "value_on_day"
observable = "concentration"
day = 15
[[endpoint]]
name = "area"
reducer = "auc"
observable = "concentration"
[output]
observables = ["concentration", "platelets"]
trajectories = true
[patients]
sampler = "typical"
[sensitivity]
methods = ["sobol", "morris", "prcc"]
base = 1024
replicates = 8
sample = 64
trajectories = 16
"""
ELIMINATION, VOLUME = 0.3, 2.0  # of the model


def study(regimen, **factors):
    """Uniform from low to high, or another distribution by name."""
    text = HEAD.replace("{regimen}", regimen)
    for name, (low, high, *kind) in factors.items():
        distribution = kind[0] if kind else "uniform"
        text += (
            f'[[sensitivity.factor]]\nname = "{name}"\ndistribution = "{distribution}"\nlow = {low}\nhigh = {high}\n'
        )
    return problem(parse(text), MODEL)


def rows_of(given, n, seed=3):
    u = np.random.default_rng(seed).random((given.space.k, n))
    return Rows(given.space.values(u), np.arange(n))


def infused(t, start, amount, duration):
    """Concentration of a constant infusion into one compartment."""
    rate = amount / duration / (VOLUME * ELIMINATION)
    inside = rate * (1 - np.exp(-ELIMINATION * np.clip(t - start, 0, duration)))
    return inside * np.exp(-ELIMINATION * np.maximum(t - start - duration, 0))


def test_rows_are_the_formula():
    given = study("drug {dose} mg iv over {hours} h once from day {begin}", dose=(1, 5), hours=(12, 240), begin=(0, 9))
    rows = rows_of(given, 40)
    found = simulator(given)(rows)
    assert (found.status == 0).all()
    dose, hours, begin = (rows.values[given.space.names.index(n)] for n in ("dose", "hours", "begin"))
    np.testing.assert_allclose(found.y[0], infused(15.0, begin, dose, hours / 24), rtol=1e-9)
    exact = [quad(infused, 0, 20, args=(b, d, h / 24), points=[b, min(b + h / 24, 20)], epsabs=1e-12)[0]
             for d, h, b in zip(dose, hours, begin, strict=True)]  # fmt: skip
    np.testing.assert_allclose(found.y[1], exact, rtol=1e-4)
    np.testing.assert_allclose(
        found.y[2:5], infused(np.array([[0.0], [10.0], [20.0]]), begin, dose, hours / 24), atol=1e-9
    )


def test_rows_are_simulations_of_their_own(tmp_path):
    """With intervals, a number of doses, and what follows them."""
    text = "drug 2 mg oral every {gap} days x {n} then {more} mg every 1 days x 2 and drug 1 mg iv over 2 h once from day {day}"
    given = study(text, gap=(0.5, 2), n=(2, 5, "whole"), more=(0, 3), day=(0, 19))
    rows = rows_of(given, 12)
    assert set(np.unique(rows.values[1])) == {2, 3, 4, 5}
    found = simulator(given)(rows)
    (tmp_path / "p.csv").write_text("id,weight\n0,70\n", encoding="utf-8")
    for i, values in enumerate(rows.values.T):
        numbers = dict(zip(given.space.names, (f"{v:.17g}" for v in values), strict=True))
        one = HEAD[: HEAD.index("[patients]")].replace("{regimen}", text.format(**numbers))
        plan = plans.make(parse(one + '[patients]\ntable = "p.csv"\n', str(tmp_path / "one.toml")), MODEL)
        alone = sweep.compute(plan, 0, 1, population.prepare(plan.patients, plan.model))
        np.testing.assert_allclose(found.y[1, i], alone["area"][0, 0], rtol=1e-4)
        np.testing.assert_allclose(found.y[2:5, i], alone["concentration"][0, :, 0], rtol=1e-7, atol=1e-12)
        np.testing.assert_allclose(found.y[5:, i], alone["platelets"][0, :, 0], rtol=1e-5)


def test_a_row_does_not_depend_on_its_block():
    given = study("drug 2 mg oral every {gap} days x {n}", gap=(0.5, 2), n=(2, 5, "whole"))
    rows, simulate = rows_of(given, 30), simulator(given)
    some = np.array([21, 4, 11])
    np.testing.assert_array_equal(simulate(rows).y[:, some], simulate(Rows(rows.values[:, some], some)).y)


def test_rows_beyond_the_ends_are_refused():
    given = study("drug 2 mg oral daily x 2 from day {day}", day=(0, 9))
    with pytest.raises(InputError, match=r"table: day is 21 in a row; allowed in the arm 'drug': 0 to 9"):
        simulator(given)(Rows(np.array([[3.0, 21.0]]), np.arange(2)))


def test_indices_of_a_day_and_a_duration_are_those_of_the_integral():
    """First indices of the concentration on day 15, by quadrature of the formula."""
    given = study("drug 3 mg iv over {hours} h once from day {begin}", hours=(24, 96), begin=(1, 9))
    found = analyse(given)
    grid, weight = np.polynomial.legendre.leggauss(40)
    begin, days = 5 + 4 * grid, 2.5 + 1.5 * grid
    y, w = infused(15.0, begin[:, None], 3.0, days[None]), weight / 2
    mean, of_begin, of_days = w @ y @ w, y @ w, w @ y
    whole = w @ (y**2) @ w - mean**2
    exact = {"begin": (w @ of_begin**2 - mean**2) / whole, "hours": (w @ of_days**2 - mean**2) / whole}
    estimated = found.sobol.found.first
    for name, value in exact.items():
        place = given.space.names.index(name)
        assert found.sobol.found.estimates.first[0, 0, place] == pytest.approx(value, abs=0.02)
        assert estimated.low[0, 0, place] - 0.01 <= value <= estimated.high[0, 0, place] + 0.01
    assert np.isfinite(found.measures["morris"].mu_star[:2]).all()


def test_derivatives_by_times_are_those_of_the_formula(monkeypatch):
    """And the text for GPUs, on this processor, has the same."""
    given = study("drug {dose} mg iv over {hours} h once from day {begin}", dose=(1, 5), hours=(12, 120), begin=(1, 8))
    rows = rows_of(given, 10)
    found = tangents(given, moves(given), rows)
    np.testing.assert_allclose(found.y, simulator(given)(rows).y, rtol=1e-9)

    def late(dose, hours, begin):
        return infused(15.0, begin, dose, hours / 24)

    for i in range(3):
        up, down = rows.values.copy(), rows.values.copy()
        up[i] += 1e-5
        down[i] -= 1e-5
        np.testing.assert_allclose(found.by[0, i], (late(*up) - late(*down)) / 2e-5, rtol=1e-6, atol=1e-9)
    monkeypatch.setattr(gradient, "choose", lambda *given: "cuda")
    monkeypatch.setattr(cuda, "run", functools.partial(cuda.run, on=(places.Host(),)))
    np.testing.assert_allclose(tangents(given, moves(given), rows).by, found.by, rtol=1e-9, atol=1e-9)
    monkeypatch.undo()
    simulate = simulator(given)
    for i in range(3):  # the nonlinear rest by differences of ourselves
        h = 1e-4
        up, down = rows.values.copy(), rows.values.copy()
        up[i] += h
        down[i] -= h
        slope = (simulate(rows._replace(values=up)).y - simulate(rows._replace(values=down)).y) / (2 * h)
        np.testing.assert_allclose(found.by[:, i], slope, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("regimen", "factors", "words"),
    [
        ("drug 1 mg oral daily x {n}", {"n": (2, 9)}, ["n", "must be whole", "whole"]),
        ("drug 1 mg oral daily x {n}", {"n": (2, 30, "whole")}, ["n", "before it"]),
        ("drug 1 mg iv over {h} h once", {"h": (0, 9)}, ["h", "bolus", "more than 0"]),
        (
            "drug 1 mg oral every {gap} days x {n}",
            {"gap": (1, 4), "n": (2, 8, "whole")},
            ["n = 8", "gap = 4", "before it"],
        ),
    ],
)
def test_what_has_no_regimen_is_named(regimen, factors, words):
    with pytest.raises(InputError) as error:
        simulator(study(regimen, **factors))
    for word in words:
        assert word in str(error.value)
