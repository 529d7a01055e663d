"""The flagship's scenarios R1 to R12 as printed, those of set 2, and the error that fixed steps make in them."""

import functools

import numpy as np
import pytest
from printed import assert_printed
from reference_scenarios import DAYS, SAVE, SCENARIOS, SET_2, at, error, printed, run

import thrombojax as tj
from thrombojax.models import registry
from thrombojax.models.feedback import core

pytestmark = [pytest.mark.xdist_group("flagship"), pytest.mark.usefixtures("small_blocks")]


@functools.cache
def exact(name):
    return run(name, padded=True, backend="reference")


QUICK = ("R1", "R3", "S1", "S4")
"""Of both sets; the others, some ten seconds each, are for `make test-all`."""


EACH = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in SCENARIOS]
)


@EACH
def test_every_printed_number(name):
    for (observable, day), text in printed(name).items():
        assert_printed(at(exact(name), observable, day), text, f"{observable} on day {day}")


@EACH
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


# The others: (patient, what is given, platelets, TPO on days 2 and 14 and mass on day 7). All in one program: whoever is not
# given a drug is given nothing of it.
HELD = {"sdf1.elimination": 0.0, "fgf4.elimination": 0.0}
LOST = dict.fromkeys(("receptor.mpl_progenitor", "receptor.mpl_megakaryocyte", "receptor.mpl_platelet"), 1e-9)
ET = {"receptor.mpl_platelet": 0.25, "receptor.mpl_megakaryocyte": 0.25, "receptor.mpl_constitutive": 0.06,
      "receptor.jak2_gain": 2.0513867637531367}  # fmt: skip
AA = {"megakaryocytes.cfu_gain_max": 1.2, "megakaryocytes.endomitosis_max": 1.3,
      "megakaryocytes.stem_capacity": 0.0438828239536152}  # fmt: skip
CORE_2 = {name: value for name, value in SET_2.items() if hasattr(core.Parameters, name.partition(".")[0])}
OTHERS = {
    "R3": (
        {}, {"recombinant_tpo": "1.2 ug/kg iv"},
        "287.23646 438.88458 551.07139 544.34425 320.86015 192.70347 265.63233", "13.538354 0.41539648 2.9888769",
    ),
    "R7": (
        {}, {"chemotherapy": "1 course iv"},
        "245.64031 201.06546 127.9039 99.643371 145.35144 251.72745 224.85815", "1.0417516 4.7621541 0.22758671",
    ),
    "R8": (
        {}, {"plateletpheresis": "25.7 % procedure"},
        "210.40679 235.01796 250.2605 253.49791 251.05426 247.02756 250.61586", "1.1079551 0.94884699 1.0390777",
    ),
    # 0.9 per day from the first moment: what is in the body at 1200 mg a day, and 1200 mg a day
    "R10": (
        ET, {"hydroxyurea": f"{0.9 / (7.5e-4 * 4.75)!r} mg oral", "hydroxyurea over": "50400 mg oral over 1008 h"},
        "947.75347 874.84414 669.4442 555.48282 365.20033 466.33027 478.16742", "1.2978818 4.3616845 1.5519678",
    ),
    "R11": (
        {**LOST, **HELD}, {"sdf1": "3 fold iv", "fgf4": "0.6 fold iv"},
        "42.47567 61.783377 96.911256 117.62176 170.47807 182.38213 175.82649", "58.163399 58.08445 0.39454305",
    ),
    "R12": (
        AA, {"transfusion": "40 1/nL iv"},
        "49.872693 37.095071 30.399965 28.763126 26.858285 26.830708 27.002633", "15.351838 16.008767 0.12959067",
    ),
    "S3": (
        CORE_2, {"recombinant_tpo": "1.2 ug/kg iv"},
        "287.74093 460.43736 581.87534 574.13209 350.55548 217.57816 255.95693", "20.44143 0.4458235 3.1290459",
    ),
    "S7": (
        CORE_2, {"chemotherapy": "1 course iv"},
        "245.56707 200.41063 125.87512 95.446481 105.67421 224.67216 227.08118", "1.0293625 4.0614861 0.22326049",
    ),
}  # fmt: skip
NOTHING = {
    "recombinant_tpo": "0 ug/kg iv", "chemotherapy": "0 course iv", "plateletpheresis": "0 % procedure",
    "hydroxyurea": "0 mg oral", "hydroxyurea over": "0 mg oral over 1008 h", "sdf1": "0 fold iv", "fgf4": "0 fold iv",
    "transfusion": "0 1/nL iv",
}  # fmt: skip
SAVED = ("platelets", "tpo", "megakaryocyte_mass")


@functools.cache
def other(name):
    """Saved values of one of them, by observable."""
    changes, doses, _, _ = OTHERS[name]
    model = registry.build(registry.Source(parameter_set="1"), tuple(sorted({key.split()[0] for key in NOTHING})))
    given = {**NOTHING, **doses}
    regimen = " and ".join(f"{drug.split()[0]} {dose} once" for drug, dose in given.items())
    return tj.simulate(
        model.patients().replace(changes), regimen, days=42, save=SAVE, observables=SAVED, backend="xla", precision="f64",
        accuracy=1e-9,
    )  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_scenarios(name):
    _, _, counts, rest = OTHERS[name]
    found = other(name)
    for day, text in zip(DAYS, counts.split(), strict=True):
        assert_printed(at(found, "platelets", day), text, f"count on day {day}")
    for (observable, day), text in zip((("tpo", 2), ("tpo", 14), ("megakaryocyte_mass", 7)), rest.split(), strict=True):
        assert_printed(at(found, observable, day), text, f"{observable} on day {day}")


def test_transfusions_into_fast_clearance_do_not_blow_up():
    """The count falls so fast that a step's stages look below zero. Such steps are coarse: percents for a day, not 1e-4."""
    clearance = np.array([20.0, 25.0, 28.0, 30.0, 32.0])
    people = (
        tj.cohort("itp-splenectomised", parameter_set="1")
        .sample(5, seed=1)
        .replace(immune_clearance=clearance, spleen_ratio=0.02)
    )
    given = tj.regimen("transfusion 40 1/nL iv at days 0 7 14")
    exact, fast = (tj.simulate(people, given, days=21, save_every=1.0, backend=b) for b in ("reference", "auto"))
    assert (fast.status == 0).all()
    assert exact.platelets.min() > 1
    np.testing.assert_allclose(fast.platelets[::7], exact.platelets[::7], rtol=1e-3)
    np.testing.assert_allclose(fast.platelets, exact.platelets, rtol=0.1)
