"""A patient whose steps were too long gets more of them, and never a number that they made up."""

import dataclasses

import numpy as np
import pytest

import thrombojax as tj
from thrombojax.dosing.administer import columns, slots
from thrombojax.dosing.timeline import grid, schedule
from thrombojax.models import registry
from thrombojax.patients.population import prepare, shared
from thrombojax.solve import engine

DAYS = tuple(float(t) for t in range(29))


def solved(backend, rate, accuracy=1e-4):
    """Fast turnover of TPO, and a sink that grows sixfold; rate: what the bound of the fastest rate is said to be."""
    patients = tj.cohort("healthy").sample(12, seed=1).replace(tpo_turnover=np.linspace(0.5, 3.5, 12))
    regimen = tj.regimen("romiplostim 10 ug/kg iv once")
    model = registry.build(patients.source, regimen.drugs)
    cohort = prepare(patients, model)
    if rate is not None:
        cohort = dataclasses.replace(cohort, rate=np.full(cohort.n, rate))
    cols = columns(model, [regimen])
    line = schedule(model, shared(model, cohort), cols, slots(model, regimen, cols, 28.0), grid(28.0, DAYS))
    return engine.solve(
        model, cohort, line, save=("platelets", "tpo"), days=DAYS, backend=backend, precision="f64", accuracy=accuracy
    )


@pytest.mark.xdist_group("again")
@pytest.mark.parametrize("backend", ["native", "xla"])
def test_steps_too_long_are_noticed_and_shortened(backend, monkeypatch):
    exact = solved("native", None, 1e-6).saved["platelets"]
    np.testing.assert_allclose(solved(backend, None).saved["platelets"], exact, rtol=2e-3)
    monkeypatch.setattr(engine, "AGAIN", 1.0)
    once = solved(backend, 2.0)
    assert once.status.any(), "the bound is not low enough for this test"
    assert np.isnan(once.saved["platelets"][:, once.status != engine.OK]).all()
    monkeypatch.undo()
    twice = solved(backend, 2.0)
    assert not twice.status.any()
    mended = once.status != engine.OK
    np.testing.assert_allclose(twice.saved["platelets"][:, mended], exact[:, mended], rtol=2e-3)
    assert np.array_equal(twice.saved["platelets"][:, ~mended], once.saved["platelets"][:, ~mended])
