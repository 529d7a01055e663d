"""The flagship's scenarios R1, R2, R4, R5, R6 and R9 as printed, and the error that fixed steps make in each."""

import functools

import numpy as np
import pytest
from printed import assert_printed
from reference_scenarios import DAYS, SAVE, SCENARIOS, at, error, printed, run

import thrombojax as tj
from thrombojax.dosing.timeline import Column, Slots, grid, schedule
from thrombojax.models import registry
from thrombojax.patients.population import prepare, shared
from thrombojax.solve import engine

pytestmark = [pytest.mark.xdist_group("flagship"), pytest.mark.usefixtures("small_blocks")]


@functools.cache
def exact(name):
    return run(name, padded=True, backend="reference")


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_printed_number(name):
    for (observable, day), text in printed(name).items():
        assert_printed(at(exact(name), observable, day), text, f"{observable} on day {day}")


@pytest.mark.parametrize("name", SCENARIOS)
def test_error_of_fixed_steps(name, record_property):
    """Platelets to 1e-4 at default accuracy, which promises no more (TPO of R2 is at 4e-4); float32 adds 2e-5."""
    double = run(name, precision="f64")
    single = run(name, precision="f32")
    found = {}
    for observable in ("platelets", "tpo", "megakaryocyte_mass"):
        found[observable] = error(double, exact(name), observable)
        rounding = error(single, double, observable)
        print(f"{name} {observable:20s} fixed-step error {found[observable]:.1e}, float32 rounding {rounding:.1e}")
        record_property(f"error {observable}", found[observable])
        assert rounding < 2e-5
    assert found["platelets"] < 1e-4
    assert max(found.values()) < 1e-3


def test_finer_steps_give_the_printed_digits():
    """The same kernel at accuracy 1e-8: nothing but the step separates the two."""
    fine = run("R1", precision="f64", accuracy=1e-8)
    assert error(fine, exact("R1")) < 2e-8


# Scenarios without a drug of their own: what is done to the steady state, and a transfusion (1/nL) on day 0.
OTHERS = {
    "R3": (
        "healthy, rhTPO 1.2 ug/kg IV",
        "287.23646 438.88458 551.07139 544.34425 320.86015 192.70347 265.63233",
        "13.538354 0.41539648 2.9888769",
    ),
    "R8": (
        "healthy, apheresis 25.7 %",
        "210.40679 235.01796 250.2605 253.49791 251.05426 247.02756 250.61586",
        "1.1079551 0.94884699 1.0390777",
    ),
    "R11": (
        "Mpl-/-, sdf 4 and fgf 1.6",
        "42.47567 61.783377 96.911256 117.62176 170.47807 182.38213 175.82649",
        "58.163399 58.08445 0.39454305",
    ),
    "R12": (
        "AA (27), transfusion 40",
        "49.872693 37.095071 30.399965 28.763126 26.858285 26.830708 27.002633",
        "15.351838 16.008767 0.12959067",
    ),
}


@functools.cache
def others():
    """Platelets, TPO and mass of the four, `[scenario]` by (observable, day)."""
    source = registry.Source()
    model = registry.build(source, ("transfusion",))
    lost, none = 1e-9, 1.0
    knocked = {f"mpl_{cell}": [none, none, lost, none] for cell in ("progenitor", "megakaryocyte", "platelet")}
    marrow = {
        "stem_capacity": [1.0, 1.0, 1.0, 0.0438828239536152],
        "cfu_gain_max": [7.1, 7.1, 7.1, 1.2],
        "endomitosis_max": [3.0, 3.0, 3.0, 1.3],
    }
    before = prepare(model.patients(**knocked, **marrow), model)
    y0 = before.y0
    # rhTPO: 1.2 ug/kg x 70 kg, 95 kDa, into 17 L of 1.4 pM; apheresis takes platelets with their receptors.
    kept = np.array([1.0, 1.0 - 0.257, 1.0, 1.0])
    dose = np.array([1.2 * 70 * 1e6 / 95000 / (17 * 1.4), 0.0, 0.0, 0.0])
    y0 = y0._replace(
        platelets=y0.platelets._replace(age=tuple(a * kept for a in y0.platelets.age)),
        receptor=y0.receptor._replace(platelet_mpl=y0.receptor.platelet_mpl * kept),
        thrombopoietin=y0.thrombopoietin._replace(tpo=y0.thrombopoietin.tpo + dose),
    )
    niche = before.p.niche._replace(sdf1=np.array([1.0, 1.0, 4.0, 1.0]), fgf4=np.array([1.0, 1.0, 1.6, 1.0]))
    cohort = engine.Cohort(before.p._replace(niche=niche), y0, before.rate, before.status)
    columns = (Column(("transfusion", "iv"), False),)
    bounds = grid(42.0, SAVE)
    found = []
    for amount in (0.0, 40.0):
        given = Slots(np.zeros(1), np.array([amount]), np.zeros(1), (0,), (False,))
        plan = schedule(model, shared(model, cohort), columns, given, bounds)
        found.append(engine.solve(model, cohort, plan, save=SAVED, days=SAVE, precision="f64", accuracy=1e-9).saved)
    return {
        (name, day): np.append(found[0][name][k, :3], found[1][name][k, 3])
        for name in SAVED
        for k, day in enumerate(SAVE)
    }


SAVED = ("platelets", "tpo", "megakaryocyte_mass")


@pytest.mark.parametrize("name", OTHERS)
def test_scenarios_without_a_drug_of_their_own(name):
    _, counts, rest = OTHERS[name]
    k = list(OTHERS).index(name)
    for day, text in zip(DAYS, counts.split(), strict=True):
        assert_printed(others()["platelets", float(day)][k], text, f"count on day {day}")
    for (observable, day), text in zip((("tpo", 2), ("tpo", 14), ("megakaryocyte_mass", 7)), rest.split(), strict=True):
        assert_printed(others()[observable, float(day)][k], text, f"{observable} on day {day}")


def test_transfusions_into_fast_clearance_do_not_blow_up():
    """The count falls so fast that a step's stages look below zero. Such steps are coarse: percents for a day, not 1e-4."""
    clearance = np.array([20.0, 25.0, 28.0, 30.0, 32.0])
    people = tj.cohort("itp-splenectomised").sample(5, seed=1).replace(immune_clearance=clearance, spleen_ratio=0.02)
    given = tj.regimen("transfusion 40 1/nL iv at days 0 7 14")
    exact, fast = (tj.simulate(people, given, days=21, save_every=1.0, backend=b) for b in ("reference", "auto"))
    assert (fast.status == 0).all()
    assert exact.platelets.min() > 1
    np.testing.assert_allclose(fast.platelets[::7], exact.platelets[::7], rtol=1e-3)
    np.testing.assert_allclose(fast.platelets, exact.platelets, rtol=0.1)
