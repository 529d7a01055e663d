"""Petrov 2024 against every number of science.md M2: 77 kg, no antibodies, SciPy at 1e-11, peaks on a half-hour grid."""

import backends
import numpy as np
import pytest
import scipy_published as scipy_
from backends import BACKENDS

import thrombojax as tj
from thrombojax.dosing.titration import titration
from thrombojax.dosing.treatment import Treatment
from thrombojax.models import struct
from thrombojax.patients.population import values

pytestmark = [pytest.mark.xdist_group("petrov2024"), pytest.mark.usefixtures("small_blocks")]

# baseline; single doses of 1, 3, 10 ug/kg: peak and its day; count 84 days after the first of 12 weekly doses of as much
PRINTED = {
    "itp-mech-1": ("21.5", "36.272865 56.840090 92.652968", "45.594646 77.907683 130.182529"),
    "itp-mech-2": ("21.25", "35.764095 55.980727 91.219000", "44.967163 76.798953 128.387595"),
    "itp-splenectomised-mech-1": ("16.538462", "27.907417 43.735002 71.292907", "35.080964 59.946799 100.166954"),
    "itp-splenectomised-mech-2": ("17.0", "28.641163 44.852764 73.097553", "36.002818 61.498835 102.790629"),
}
PEAK_DAYS = {"itp-mech-1": "10.13 10.35 10.85"}
DOSES = (1.0, 3.0, 10.0)
WEEKS = tuple(range(0, 84, 7))
HALF_HOURS = np.arange(9 * 48, 12 * 48 + 1) / 48
SAVE = (0.0, *WEEKS[1:], *HALF_HOURS, 84.0)
EACH = 4
"""Patients of a cohort: the typical one, and three that are drawn."""


def table():
    return backends.together(*(backends.drawn("petrov2024", cohort, EACH) for cohort in PRINTED))


def regimen(amount, days):
    """All arms have the same doses, most of them of nothing, so that one compiled program runs them all."""
    return " and ".join(f"romiplostim {amount * (d in days)} ug/kg sc once from day {d}" for d in WEEKS)


@pytest.fixture(scope="module", params=list(BACKENDS))
def arm(request, small_blocks):
    """ug/kg, days -> Result, on one backend; every arm is run once."""
    done = {}
    patients = backends.model("petrov2024").patients(**table())

    def run(amount, days=(0,)):
        if (amount, days) not in done:
            found = tj.simulate(
                patients, regimen(amount, days), days=84, save=SAVE, observables=("platelets", "concentration"),
                **BACKENDS[request.param],
            )  # fmt: skip
            assert not found.status.any()
            done[amount, days] = found
        return done[amount, days]

    run.exact = "f32" not in request.param
    return run


@pytest.mark.parametrize("cohort", PRINTED)
def test_typical_patients(arm, cohort):
    patient = EACH * list(PRINTED).index(cohort)
    baseline, single, weekly = PRINTED[cohort]
    for k, amount in enumerate(DOSES):
        result = arm(amount)
        backends.holds(arm.exact, result.platelets[0, patient], baseline, "baseline")
        peak, day = backends.on_grid(result, "platelets", patient, HALF_HOURS)
        backends.holds(arm.exact, peak, single.split()[k], f"peak after {amount} ug/kg")
        if cohort in PEAK_DAYS:
            backends.holds_day(arm.exact, day, PEAK_DAYS[cohort].split()[k], "day of the peak")
        last = backends.on_day(arm(amount, WEEKS), "platelets", patient, 84)
        backends.holds(arm.exact, last, weekly.split()[k], f"week 12 of {amount} ug/kg")


def by_hand(p, doses, grid):
    """The same patient in the paper's own units."""
    hourly = {"ka": "absorption", "kel": "elimination", "ktr": "maturation", "kin": "production", "kdeg": "clearance"}
    own = {name: p[leaf] / 24 for name, leaf in hourly.items()}
    own |= {"V": p["volume"], "EC50": p["potency"], "Emax": p["stimulation"], "WT": p["weight"], "NAB": p["antibodies"]}
    return scipy_.petrov(own, [(d, a * p["weight"]) for d, a in doses], grid)


def test_patients_as_drawn_are_those_of_the_second_writing(arm):
    p, result = table(), arm(3.0, WEEKS)
    for patient in range(0, 4 * EACH, 3):
        found = by_hand(backends.each(p, patient), [(float(d), 3.0) for d in WEEKS], result.time)
        for name, values_ in found.items():
            np.testing.assert_allclose(
                getattr(result, name)[:, patient], values_, rtol=1e-8 if arm.exact else 1e-4, atol=1e-9
            )


def test_antibodies_speed_elimination_and_weight_dilutes():
    p = {leaf: np.full(2, v) for leaf, v in struct.as_dict(backends.model("petrov2024").defaults).items()}
    p |= {"antibodies": np.array([1.0, 0.0]), "weight": np.array([60.0, 110.0])}
    result = tj.simulate(
        backends.model("petrov2024").patients(**p), "romiplostim 5 ug/kg sc once", days=28, save_every=0.5,
        precision="f64", accuracy=1e-8, observables=("platelets", "concentration"),
    )  # fmt: skip
    for patient in range(2):
        found = by_hand(backends.each(p, patient), [(0.0, 5.0)], result.time)
        for name, column in found.items():
            np.testing.assert_allclose(getattr(result, name)[:, patient], column, rtol=1e-8, atol=1e-10)


def test_titrated_doses_follow_the_second_writing():
    """The rule of the paper's first titration, closed over this model, against the same loop in NumPy (`PETROV_TITRATED`)."""
    kin, kdeg, potency, rate = [], [], [], []
    for who in scipy_.PETROV_TITRATED:
        p = {**scipy_.PETROV, **scipy_.PETROV_GROUPS.get(who, scipy_.SENSITIVE)}
        kin.append(24 * p["kin"])
        kdeg.append(24 * p["kdeg"])
        potency.append(p["EC50"])
        rate.append(24 * p["ktr"])
    rule = titration("romiplostim", "phase 3, adults with ITP", until=84)
    patients = backends.model("petrov2024").patients(production=kin, clearance=kdeg, potency=potency, maturation=rate)
    result = tj.simulate(patients, Treatment(titration=rule), days=84, save_every=7, precision="f64", accuracy=1e-8)
    for k, (who, (doses, last)) in enumerate(scipy_.PETROV_TITRATED.items()):
        assert result.ledger["dose"][:, k].tolist() == [float(d) for d in doses.split()], who
        if who == "sensitive":  # its drive is full within minutes of a dose: the reference alone has all digits there
            assert result.platelets[-1, k] == pytest.approx(float(last), rel=1e-7)
        else:
            backends.holds(True, result.platelets[-1, k], last, who)


def test_untreated_stays_at_baseline(arm):
    course = arm(0.0).platelets
    np.testing.assert_allclose(course, np.broadcast_to(course[0], course.shape), rtol=1e-13 if arm.exact else 2e-6)


@pytest.mark.parametrize(("cohort", "cv"), [("itp-mech-1", 0.50), ("itp-splenectomised-mech-2", 0.70)])
def test_baselines_vary_as_printed(cohort, cv):
    """science.md: mean 24.27 and CV 52.4 % analytically for mechanism 1, 24.1 and 51.7 % in a simulation of 1000."""
    n, of_log = 100_000, np.log1p(cv**2) + np.log1p(0.14**2)
    p = values(tj.cohort(cohort, model="petrov2024").sample(n), backends.model("petrov2024"))
    count = p["production"] / p["clearance"]
    typical = tj.cohort(cohort, model="petrov2024").typical()
    typical = values(typical, backends.model("petrov2024"))
    mean, spread = np.exp(of_log / 2), np.sqrt(np.expm1(of_log))
    assert count.mean() == pytest.approx(
        mean * float(typical["production"][0] / typical["clearance"][0]), abs=4 * count.std() / np.sqrt(n)
    )
    assert count.std() / count.mean() == pytest.approx(spread, rel=0.03)
    assert p["antibodies"].mean() == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / n))
    assert p["weight"].std() / p["weight"].mean() == pytest.approx(0.2, abs=0.01)
    if cohort == "itp-mech-1":
        assert mean * 21.5 == pytest.approx(24.27, abs=0.005)
        assert spread == pytest.approx(0.524, abs=0.0005)
        first = count[:1000]
        error = first.std() / np.sqrt(1000)
        assert first.mean() == pytest.approx(24.1, abs=3 * np.sqrt(2) * error)
        assert first.std() / first.mean() == pytest.approx(0.517, abs=3 * np.sqrt(2) * 0.025)
