"""The accuracy that is asked for, on virtual patients of the default parameters: steps against the reference."""

import functools

import numpy as np
import pytest

import thrombojax as tj

DAYS = 28
CASES = {
    "romiplostim": "romiplostim 3 ug/kg sc weekly x 4",
    "eltrombopag": "eltrombopag 50 mg po daily x 28",
    "avatrombopag": "avatrombopag 20 mg po daily x 28",
}


def counts(drug, **how):
    patients = tj.cohort("itp").sample(64, seed=1)
    return tj.simulate(patients, CASES[drug], days=DAYS, save_every=1.0, precision="f64", **how).platelets


@functools.cache
def exact(drug):
    return counts(drug, backend="reference")


@pytest.mark.parametrize(
    ("drug", "asked"),
    [
        ("romiplostim", 1e-4),
        ("romiplostim", 1e-6),
        pytest.param("eltrombopag", 1e-4, marks=pytest.mark.slow),
        pytest.param("avatrombopag", 1e-4, marks=pytest.mark.slow),
    ],
)
def test_the_accuracy_asked_for_is_reached(drug, asked):
    error = np.abs(counts(drug, accuracy=asked) / exact(drug) - 1.0).max(axis=0)
    assert np.isfinite(error).all()
    assert asked / 100 < np.quantile(error, 0.99) < asked  # much less would be wasted work
