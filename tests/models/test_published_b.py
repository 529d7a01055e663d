"""Chemotherapy, targeted drugs and interferon against published_b.toml: second writings solved by SciPy at 1e-12."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

import thrombojax as tj
from thrombojax.endpoints import Endpoint
from thrombojax.errors import InputError
from thrombojax.models import registry, struct
from thrombojax.patients import cohort as cohorts
from thrombojax.patients import population

pytestmark = pytest.mark.usefixtures("small_blocks")
PRINTED = tomllib.loads(Path(__file__).with_name("published_b.toml").read_text(encoding="utf-8"))
THREE_OF_FOUR = "at days 0 7 14 28 35 42"


def docetaxel(mg):
    return f"docetaxel {mg} mg iv over 1 h every 21 days x 2"


def palbociclib(dose):
    return f"palbociclib {dose} mg/m2 oral daily x 21 then {dose} mg/m2 oral daily x 21 from day 28"


def myeloma(ixazomib):
    lenalidomide = "lenalidomide 25 mg oral daily x 21 then 25 mg oral daily x 21 from day 28"
    return f"ixazomib {ixazomib} mg oral {THREE_OF_FOUR} and {lenalidomide}"


def interferon(amounts):
    return " and ".join(f"ropeginterferon {ug} ug sc once from day {14 * k}" for k, ug in enumerate(amounts))


SLOW = [min(100 + 50 * k, 500) for k in range(12)]
FAST = [250, 350, *[500] * 10]

# model -> cases: regimen, parameters that differ
CASES = {
    "friberg2002": {
        "180 mg": (docetaxel(180), {}),
        "90 mg": (docetaxel(90), {}),
        "180 mg, half slope and twice the cells": (docetaxel(180), {"slope": 4.29, "baseline": 10.1}),
    },
    "panetta2024": {
        "50 mg/m2": (palbociclib(50), {}),
        "75 mg/m2": (palbociclib(75), {}),
        "75 mg/m2, AST 75": (palbociclib(75), {"ast": 75.0}),
    },
    "srimani2022": {
        "both": (myeloma(4), {}),
        "lenalidomide": (myeloma(0), {}),
        "both, 1.5 m2, observed 120": (myeloma(4), {"surface": 1.5, "observed_baseline": 120.0}),
    },
    "centanni2025": {
        "50 mg": ("sunitinib 50 mg oral daily x 28", {}),
        "37.5 mg": ("sunitinib 37.5 mg oral daily x 28", {}),
        "50 mg, EC50 5, transit 120 h": ("sunitinib 50 mg oral daily x 28", {"potency": 5.0, "transit_time": 5.0}),
    },
    "qin2025": {
        "slow": (interferon(SLOW), {}),
        "fast": (interferon(FAST), {}),
        "fast, BMI 30, ten times the receptors": (interferon(FAST), {"bmi": 30.0, "receptors": 3.17}),
    },
}
BACKENDS = {
    "reference": {"backend": "reference"},
    "xla f64": {"backend": "xla", "precision": "f64", "accuracy": 1e-8},
    "native f64": {"backend": "native", "precision": "f64", "accuracy": 1e-8},
    "native f32": {"backend": "native", "precision": "f32"},
    "xla f32": {"backend": "xla", "precision": "f32"},
}
SLOWEST = ("reference", "xla f32")
"""They run all regimens of a model in `make test-all`, and the first always."""
OTHERS = {"concentration": "concentration", "area": "area", "receptor": "receptors"}
"""What is printed besides counts, by the observable's name."""


def observables(model):
    printed = PRINTED[model][next(iter(CASES[model]))]
    return ("platelets", *(ours for theirs, ours in OTHERS.items() if theirs in printed))


def groups(model):
    """Cases of one regimen: patients of one run."""
    found = {}
    for case, (regimen, _) in CASES[model].items():
        found.setdefault(regimen, []).append(case)
    return found


def solved(model, regimen, cases, **options):
    days = PRINTED[model][cases[0]]["days"]
    typical = struct.as_dict(registry.build(registry.Source(model)).defaults)
    named = {name for case in cases for name in CASES[model][case][1]}
    changes = {name: [CASES[model][case][1].get(name, typical[name]) for case in cases] for name in named}
    found = tj.simulate(
        tj.model(model).patients(**changes),
        regimen,
        days=days[-1],
        save=sorted({0.0, *days}),
        observables=observables(model),
        **options,
    )
    assert not found.status.any()
    return found


def holds(model, backend, regimen):
    rtol = 1e-4 if "f32" in backend else 1e-6
    cases = groups(model)[regimen]
    found = solved(model, regimen, cases, **BACKENDS[backend])
    for patient, case in enumerate(cases):
        for theirs, values in PRINTED[model][case].items():
            if theirs == "days":
                continue
            ours = found.saved[OTHERS.get(theirs, theirs)][1:, patient]
            gone = 0.0 if theirs == "platelets" else rtol * np.max(np.abs(values))  # a drug that has left by half
            np.testing.assert_allclose(ours, values, rtol=rtol, atol=gone, err_msg=f"{case}: {theirs}")


RUNS = [
    pytest.param(
        model,
        backend,
        regimen,
        id=f"{model}-{backend}-{k}",
        marks=[pytest.mark.xdist_group(model), *([pytest.mark.slow] if k and backend in SLOWEST else [])],
    )
    for model in CASES
    for backend in BACKENDS
    for k, regimen in enumerate(groups(model))
]


@pytest.mark.parametrize(("model", "backend", "regimen"), RUNS)
def test_printed_courses(model, backend, regimen):
    holds(model, backend, regimen)


@pytest.mark.parametrize("model", CASES)
def test_untreated_stays_where_the_model_rests(model):
    found = tj.simulate(tj.model(model).patients(), days=60, save=[0.0, 30.0, 60.0], precision="f64")
    at_rest = found.platelets[0, 0] if model != "qin2025" else 332 + (477 - 332) * np.exp(-0.0299 * found.time)
    np.testing.assert_allclose(found.platelets[:, 0], at_rest, rtol=1e-9)


def test_a_child_on_palbociclib_has_the_published_nadir():
    """Panetta 2024: the median nadir of patients at 50 to 95 mg/m2 is 169e9/L, read off the figure about 175 at 75 mg/m2."""
    nadir = [Endpoint("nadir", "nadir", stop=28.0)]
    regimen = "palbociclib 75 mg/m2 oral daily x 21"
    typical = tj.simulate(tj.model("panetta2024").patients(), regimen, days=28, endpoints=nadir)
    assert typical.endpoints["nadir"][0] == pytest.approx(162.4, abs=0.5)
    cohort = tj.cohort("brain-tumours", model="panetta2024").sample(1000, seed=1)
    drawn = tj.simulate(cohort, regimen, days=28, endpoints=nadir)
    assert np.median(drawn.endpoints["nadir"]) == pytest.approx(169, rel=0.06)


def test_sunitinib_is_forgotten_a_day_after_its_last_dose():
    """A missed day counts as none, whatever was given before; two doses of half are one of the whole."""
    run = lambda text: tj.simulate(tj.model("centanni2025").patients(), text, days=20, precision="f64").platelets[:, 0]  # noqa: E731
    whole = run("sunitinib 50 mg oral at days 0 1 2 5 6")
    halves = run("sunitinib 25 mg oral at days 0 1 2 5 6 and sunitinib 25 mg oral at days 0.25 1.25 2.25 5.25 6.25")
    none = run("sunitinib 0 mg oral at days 0 1 2 5 6")
    assert np.all(whole[4:] < none[4:])
    assert np.max(np.abs(halves - whole)) < 0.1 * np.max(none - whole)


def test_the_receptors_of_a_patient_fall_from_the_day_that_is_said():
    when = tj.model("qin2025").patients(fall_from=[30.0])
    late = tj.simulate(when, days=60, save=[0.0, 30.0, 60.0], observables=("receptors",), precision="f64").receptors
    np.testing.assert_allclose(late[:2, 0], 0.317, rtol=1e-12)
    assert late[2, 0] < 0.25


@pytest.mark.parametrize(("model", "cohort"), [(m, c) for m in CASES for c in cohorts.names(tj.model(m).cohorts)])
def test_cohorts_vary_what_is_printed(model, cohort):
    patients = tj.cohort(cohort, model=model).sample(4000, seed=3)
    drawn = population.values(patients, tj.model(model))
    for leaf, distribution in patients.cohort.vary.items():
        sigma = np.std(np.log(drawn[leaf]))
        if np.isinf(distribution.high):
            assert sigma == pytest.approx(np.sqrt(np.log1p(distribution.cv**2)), rel=0.05), leaf
    for correlation in patients.cohort.correlation:
        first, second = (np.log(drawn[leaf]) for leaf in correlation.pair)
        assert np.corrcoef(first, second)[0, 1] == pytest.approx(correlation.r, abs=0.04)
    if model == "qin2025":  # what is printed is the covariance of the logarithms
        assert np.cov(np.log(drawn["steady_count"]), np.log(drawn["potency"]))[0, 1] == pytest.approx(-0.486, abs=0.04)


def test_a_day_that_differs_between_patients_is_refused_as_a_bound_of_their_timeline():
    with pytest.raises(InputError, match="breakpoints that vary between patients"):
        tj.simulate(tj.model("qin2025").patients(fall_from=[7.0, 14.0]), days=3)
