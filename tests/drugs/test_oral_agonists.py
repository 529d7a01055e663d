"""Avatrombopag and lusutrombopag: concentrations, and what parameter set 1 is printed to make of them in volunteers."""

import functools

import numpy as np
import pytest
from printed import assert_printed

import thrombojax as tj

NOMINAL = {"lusutrombopag.relative_bioavailability": 1.0}


def healthy(**changes):
    return tj.cohort("healthy", parameter_set="1").typical().replace({**NOMINAL, **changes}, weight=70.0)


def concentration(regimen, days):
    """ng/mL at `days`."""
    drug = regimen.split()[0]
    result = tj.simulate(
        healthy(), regimen, days=float(np.ceil(days[-1])), save=days, observables=(f"{drug}.concentration",),
        precision="f64",
    )  # fmt: skip
    assert result.status.tolist() == [0]
    return result.saved[f"{drug}.concentration"][:, 0]


@pytest.mark.parametrize(
    ("regimen", "last", "text"),
    [
        ("lusutrombopag 1 mg oral daily x 14", 13, "70.65229"),
        ("lusutrombopag 3 mg oral daily x 7", 6, "209.48660"),
        ("lusutrombopag 10 mg oral once", 0, "417.97403"),
        ("lusutrombopag 25 mg oral once", 0, "1044.93507"),
        ("lusutrombopag 50 mg oral once", 0, "2089.87013"),
    ],
)
def test_lusutrombopag_peaks_as_in_shimizu_2021(regimen, last, text):
    """science.md M4, nominal doses, largest on a grid of 0.05 days (its printed peak days are multiples of that)."""
    days = np.round(last + 0.05 * np.arange(1, 21), 6)
    assert_printed(concentration(regimen, days).max(), text)


def test_avatrombopag_is_one_compartment_after_a_lag():
    """Bateman's function of section 6's numbers; volunteers peak at 5-8 h with a half-life of 16-18 h (Nomoto 2018)."""
    hours = np.array([0.5, 1.0, 2.0, 4.0, 7.0, 8.0, 9.0, 24.0, 48.0, 72.0])
    found = concentration("avatrombopag 40 mg oral once", hours / 24)
    ka, ke, volume = 0.35, 6.9 / 180, 180.0
    late = np.maximum(hours - 1.0, 0.0)
    exact = 1000 * 40 / volume * ka / (ka - ke) * (np.exp(-ke * late) - np.exp(-ka * late))
    np.testing.assert_allclose(found, exact, rtol=1e-10, atol=1e-10)
    assert 1.0 + np.log(ka / ke) / (ka - ke) == pytest.approx(8.1, abs=0.05)
    assert np.log(2) / ke == pytest.approx(18.1, abs=0.05)


def test_lusutrombopag_s_bioavailability_scales_its_dose():
    one = tj.simulate(healthy(), "lusutrombopag 1.714 mg oral daily x 3", days=10, save_every=1.0, precision="f64")
    two = tj.simulate(
        healthy(**{"lusutrombopag.relative_bioavailability": 0.857}),
        "lusutrombopag 2 mg oral daily x 3", days=10, save_every=1.0, precision="f64",
    )  # fmt: skip
    np.testing.assert_allclose(one.platelets, two.platelets, rtol=1e-13)


@functools.cache
def course(regimen):
    """(days, count relative to the baseline, TPO) of the typical 70 kg volunteer."""
    result = tj.simulate(
        healthy(), regimen, days=42, save_every=0.25, observables=("platelets", "tpo"), backend="reference"
    )
    assert result.status.tolist() == [0]
    counts = result.platelets[:, 0]
    return result.time, counts / counts[0], result.saved["tpo"][:, 0]


# Section 7 of the model's description. The doses are 2 mg x 0.857 and 1 mg x 0.672.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("regimen", "rise", "day", "least_tpo"),
    [
        ("lusutrombopag 1.714 mg oral daily x 14", "2.08", "18", "0.37"),
        ("lusutrombopag 0.672 mg oral daily x 14", "1.50", "17", "0.56"),
        ("avatrombopag 40 mg oral once", "1.19", "11", None),
    ],
)
def test_rises_in_volunteers(regimen, rise, day, least_tpo):
    days, counts, tpo = course(regimen)
    assert_printed(counts.max(), rise, "rise")
    assert_printed(days[np.argmax(counts)], day, "day of the peak")
    if least_tpo:
        assert_printed(tpo.min(), least_tpo, "least TPO")


@pytest.mark.slow
def test_a_single_dose_of_avatrombopag_is_over_on_day_28():
    days, counts, _ = course("avatrombopag 40 mg oral once")
    assert_printed(counts[np.flatnonzero(days == 28.0)[0]], "0.95")
