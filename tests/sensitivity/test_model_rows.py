"""Rows of factors through the model: each is what a study of its own would compute, and moves as its derivatives say."""

import numpy as np
import pytest
from sensitivity_studies import STUDY, TITRATED, write

import thrombojax as tj
from thrombojax.patients import population
from thrombojax.sensitivity import derivatives
from thrombojax.sensitivity.analyse import of_stream
from thrombojax.sensitivity.derivatives import tangents
from thrombojax.sensitivity.problem import problem
from thrombojax.sensitivity.simulate import Rows, moves, simulator
from thrombojax.study import plan as plans
from thrombojax.study import sweep
from thrombojax.study.schema import load, parse


def rows_of(given, n, seed=1):
    return Rows(of_stream(given.space, "random", n, seed, 0), np.arange(n))


def test_a_row_is_a_simulation_of_its_own(tmp_path):
    given = problem(load(write(tmp_path)).override(precision="f64"))
    rows = rows_of(given, 6)
    found = simulator(given)(rows)
    assert (found.status == 0).all()
    for i, (dose, potency, lifespan) in enumerate(rows.values.T):
        one = tj.simulate(
            tj.model("wang2010").patients(potency=[potency], platelet_lifespan=[lifespan], baseline_platelets=[40.0]),
            f"romiplostim {dose:.17g} ug/kg sc weekly x 5 then romiplostim 2 ug/kg iv once from day 38",
            days=42,
            save_every=21,
            endpoints=[tj.Endpoint("peak", "peak"), tj.Endpoint("mean", "mean", start=7.0)],
            precision="f64",
        )
        # a timeline of its own has other bounds, so the steps differ
        assert found.y[0, i] == pytest.approx(one.endpoints["peak"][0], rel=1e-4)
        assert found.y[1, i] == pytest.approx(70 * (5 * dose + 2), rel=1e-12)
        assert found.y[2, i] == pytest.approx(one.endpoints["mean"][0], rel=1e-4)
        np.testing.assert_allclose(found.y[3:, i], one.platelets[:, 0], rtol=1e-4)


def test_derivatives_are_differences(tmp_path):
    given = problem(load(write(tmp_path)).override(precision="f64"))
    rows = rows_of(given, 5)
    found = tangents(given, moves(given), rows)
    simulate = simulator(given)
    np.testing.assert_allclose(found.y, simulate(rows).y, rtol=1e-9)
    for i in range(3):
        h = 1e-5 * rows.values[i]
        up, down = rows.values.copy(), rows.values.copy()
        up[i] += h
        down[i] -= h
        slope = (simulate(rows._replace(values=up)).y - simulate(rows._replace(values=down)).y) / (2 * h)
        np.testing.assert_allclose(found.by[:, i], slope, rtol=1e-5, atol=1e-6)


def test_both_ways_find_the_same_derivatives(tmp_path, monkeypatch):
    """A row without a result has none either way; the cheaper way is taken."""
    text = STUDY.replace("{dose}", "1")
    first, then = (text.index("[[sensitivity.factor]]", at) for at in (0, text.index('"dose"')))
    given = problem(load(write(tmp_path, text=text[:first] + text[then:])).override(precision="f64"))
    rows = rows_of(given, 5)
    rows.values[0, 2] = np.nan
    forward, back = (tangents(given, moves(given), rows, way) for way in ("forward", "back"))
    assert back.failed == forward.failed == 1
    np.testing.assert_allclose(back.y, forward.y, rtol=1e-12)
    np.testing.assert_allclose(back.by, forward.by, rtol=1e-6, atol=1e-9)
    assert np.isfinite(back.by[[0, 2, 4, 5]][..., [0, 1, 3, 4]]).all()
    taken = []
    monkeypatch.setattr(derivatives, "_back", lambda *args: taken.append(1))
    tangents(given, moves(given), rows)
    assert not taken  # two factors, and six outputs
    monkeypatch.setattr(derivatives, "PULL", 0.1)
    with pytest.raises(TypeError):
        tangents(given, moves(given), rows)
    assert taken


@pytest.mark.parametrize("backend", ["native", pytest.param("xla", marks=pytest.mark.slow)])
def test_numbers_of_a_policy_differ_from_row_to_row(tmp_path, backend, small_blocks):
    """Against studies that have the numbers written in their policy, visit errors and all."""
    given = problem(load(write(tmp_path, text=TITRATED)).override(precision="f64", backend=backend))
    assert given.chance
    rows = rows_of(given, 4)
    rows = rows._replace(values=np.round(rows.values, 3))
    found = simulator(given)(rows)
    head = TITRATED[: TITRATED.index("[sensitivity]")].replace("[patients]", '[patients]\ntable = "p.csv"')
    (tmp_path / "p.csv").write_text("id,weight\n" + "".join(f"{i},70\n" for i in range(4)), encoding="utf-8")
    for i, values in enumerate(rows.values.T):
        text = head
        for name, value in zip(given.space.names, values, strict=True):
            text = text.replace(f'"{{{name}}}"', repr(float(value)))
        plan = plans.make(parse(text, str(tmp_path / "one.toml")).override(precision="f64", backend=backend))
        plain = population.prepare(plan.patients, plan.model)
        one = sweep.compute(plan, 0, 4, plain)  # row i has the errors of patient i
        for k, name in enumerate(("weeks", "given")):
            assert found.y[k, i] == pytest.approx(one[name][0, i], rel=1e-9)
    assert len(np.unique(found.y[1])) == 4


def test_rows_do_not_depend_on_their_block(tmp_path):
    given = problem(load(write(tmp_path, text=TITRATED)))
    rows = rows_of(given, 40)
    simulate = simulator(given)
    whole = simulate(rows).y
    some = np.array([31, 2, 17])
    part = simulate(Rows(rows.values[:, some], rows.chance[some])).y
    np.testing.assert_array_equal(whole[:, some], part)


def test_the_same_chance_is_the_same_errors(tmp_path):
    given = problem(load(write(tmp_path, text=TITRATED)))
    values = np.repeat(given.space.nominal[:, None], 3, axis=1)
    y = simulator(given)(Rows(values, np.array([7, 8, 7]))).y
    np.testing.assert_array_equal(y[:, 0], y[:, 2])
    assert np.any(y[:, 0] != y[:, 1])


def test_a_cohort_that_is_drawn_is_one_more_factor():
    text = STUDY.replace('model = "wang2010"', 'parameter_set = "1"').replace(
        "[patients]\noverrides = { baseline_platelets = 40 }", '[patients]\ncohort = "healthy"'
    )
    text = text.replace('parameter = "potency"', 'parameter = "romiplostim.potency"').replace(
        'parameter = "platelet_lifespan"', 'parameter = "platelets.lifespan"'
    )
    assert problem(parse(text)).chance
    typical = text.replace('cohort = "healthy"', 'cohort = "healthy"\nsampler = "typical"')
    assert not problem(parse(typical)).chance
