"""Laws of the core for every cohort x treatment in one program: typical patients on each drug's first label regimen."""

import functools
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest

import thrombojax as tj
from thrombojax import dosing, drugs
from thrombojax.models import registry, struct
from thrombojax.models.protocol import Inputs
from thrombojax.patients import cohort as cohorts
from thrombojax.patients.population import prepare, values
from thrombojax.solve import engine
from thrombojax.validation import signatures

pytestmark = pytest.mark.xdist_group("every cohort and treatment")
SOURCE = registry.Source("feedback")
COHORTS = cohorts.names(registry.build(SOURCE).cohorts)
DRUGS = drugs.names()
UNSTABLE = ("cyclic-thrombocytopenia",)
"""Their steady state is left by what moves them, which is what they are for."""


@functools.cache
def typical():
    """All typical patients as one block of the model with all drugs. The loop's steady state does not know of drugs."""
    model = registry.build(SOURCE, DRUGS)
    leaves, states, rates, status = [], [], [], []
    for name in COHORTS:
        patients = tj.cohort(name).typical()
        core = prepare(patients, registry.build(SOURCE))
        found = {**values(patients, model), **struct.as_dict(core.p)}
        leaves.append([float(found[leaf][0]) for leaf in struct.names(model.Parameters)])
        loop = struct.as_dict(core.y0)
        states.append([float(loop[leaf][0]) if leaf in loop else 0.0 for leaf in struct.names(model.State)])
        rates.append(float(core.rate[0]))
        status.append(int(core.status[0]))
    p = struct.unflatten(model.Parameters, list(np.array(leaves).T.copy()))
    y0 = struct.unflatten(model.State, list(np.array(states).T.copy()))
    return model, engine.Cohort(p, y0, np.array(rates), np.array(status, np.uint8))


def regimens():
    """First label regimen of each drug."""
    folder = Path(drugs.__file__).parent
    return {
        n: tomllib.loads((folder / f"{n}.toml").read_text(encoding="utf-8"))["regimen"][0]["sentence"] for n in DRUGS
    }


@functools.cache
def courses(precision="f64"):
    """Drug -> columns of all cohorts on it; `untreated`, and `nothing`: every drug given, of each an amount of 0."""
    model, cohort = typical()
    given = {name: dosing.regimen(text) for name, text in regimens().items()}
    given["untreated"] = dosing.Regimen()
    doses = tuple(
        dosing.Dose(d.drug, 0.0, d.unit, d.route, d.times, d.duration) for name in DRUGS for d in given[name].doses
    )
    given["nothing"] = dosing.Regimen(doses)
    return signatures.together(model, cohort, given, precision)


def test_every_cohort_has_a_typical_patient():
    assert not typical()[1].status.any()


def test_untreated_patients_stay_where_they_are():
    stable = [k for k, name in enumerate(COHORTS) if name not in UNSTABLE]
    for column, found in courses()["untreated"].items():
        drift = np.abs(found[:, stable] / found[0, stable] - 1)
        worst = COHORTS[stable[int(np.nanargmax(drift.max(0)))]]
        assert np.nanmax(drift) < 1e-8, f"{column} of {worst}"


@pytest.mark.parametrize("drug", DRUGS)
def test_a_treatment_leaves_every_cohort_finite_and_not_negative(drug):
    for column, found in courses()[drug].items():
        bad = [name for k, name in enumerate(COHORTS) if not np.all(np.isfinite(found[:, k]))]
        assert not bad, f"{column}: {bad}"
        low = [name for k, name in enumerate(COHORTS) if found[:, k].min() < 0]
        assert not low, f"{column} below 0: {low}"


@pytest.mark.parametrize("drug", DRUGS)
def test_a_treatment_does_something_to_someone(drug):
    treated, untreated = courses()[drug]["platelets"], courses()["untreated"]["platelets"]
    assert np.abs(treated / untreated - 1).max() > 0.02


def test_doses_of_nothing_do_nothing():
    """Short steps after a dose stay, so this is to the error of steps."""
    for column in ("platelets", "tpo", "production"):
        stable = [k for k, name in enumerate(COHORTS) if name not in UNSTABLE]
        nothing, untreated = (courses()[name][column][:, stable] for name in ("nothing", "untreated"))
        np.testing.assert_allclose(nothing, untreated, rtol=1e-8, atol=1e-12, err_msg=column)


@pytest.mark.parametrize("drug", ["romiplostim", "chemotherapy", "conditioning", "splenectomy"])
def test_float32_agrees(drug):
    double, single = courses()[drug]["platelets"], courses("f32")[drug]["platelets"]
    np.testing.assert_allclose(single, double, rtol=1e-3, atol=1e-6)


def test_rates_stay_below_the_bound():
    """The fastest eigenvalue of the untreated loop is within what the steps were made for."""
    _, cohort = typical()
    core = registry.build(SOURCE)
    names = struct.names(core.State)
    leaves, states = struct.as_dict(cohort.p), struct.as_dict(cohort.y0)
    for k, name in enumerate(COHORTS):
        p = struct.unflatten(core.Parameters, [leaves[leaf][k] for leaf in struct.names(core.Parameters)])

        def f(y, p=p):
            d = core.rhs(0.0, struct.unflatten(core.State, list(y)), p, Inputs({}, 0.0))
            return jax.numpy.stack([jax.numpy.asarray(v) for v in jax.tree.leaves(d)])

        jacobian = np.asarray(jax.jacfwd(f)(jax.numpy.asarray([states[leaf][k] for leaf in names])))
        fastest = np.abs(np.linalg.eigvals(jacobian)).max()
        assert fastest <= cohort.rate[k], f"{name}: {fastest:.3g} per day, bound {cohort.rate[k]:.3g}"
