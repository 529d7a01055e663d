"""Arms of every kind in one study: nothing, romiplostim as a bolus and an infusion, eltrombopag, platelets, and both."""

import numpy as np
import pytest
import studies

ARMS = {
    "untreated": None,
    "bolus": "romiplostim 10 ug/kg iv once",
    "infusion": "romiplostim 10 ug/kg iv over 2 days once",
    "eltrombopag": "eltrombopag 50 mg oral daily x 14",
    "platelets": "transfusion 30 1/nL iv once from day 3",
    "both": "eltrombopag 50 mg oral daily x 14 and transfusion 30 1e9/L iv once from day 3",
}
STUDY = studies.changed(
    study={"days": 14},
    arm=[{"name": name, **({"regimen": text} if text else {})} for name, text in ARMS.items()],
    axis=None,
    time={"save": 0.25},
    endpoint=[{"name": drug, "reducer": "cumulative_dose", "drug": drug} for drug in ("romiplostim", "eltrombopag")]
    + [{"name": "platelets_given", "reducer": "cumulative_dose", "drug": "transfusion"}],
    output={"observables": ["platelets", "romiplostim.concentration", "eltrombopag.concentration"]},
)


@pytest.fixture(scope="module")
def got(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arms")
    said = studies.here("run", studies.write(folder, STUDY), "-o", folder / "o.h5", "--audit", 0)
    assert said.status == 0, said.err
    found = studies.arrays(folder / "o.h5")
    assert not found["status"].any()
    assert [name.decode() for name in found["arm"]] == list(ARMS)
    return found


def arm(got, name, variable="platelets"):
    return got[variable][list(ARMS).index(name)]


def test_untreated_patients_stay_where_they_are(got):
    platelets = arm(got, "untreated")
    assert np.allclose(platelets, platelets[0], rtol=1e-4)
    assert np.all((platelets >= 3 * 0.999) & (platelets <= 30 * 1.001))
    assert not arm(got, "untreated", "romiplostim.concentration").any()


def test_what_was_given_is_counted(got):
    weight = got["parameters/body.weight"]
    for name in ARMS:
        expected = 10 * weight if name in ("bolus", "infusion") else 0 * weight
        assert np.allclose(arm(got, name, "romiplostim"), expected, rtol=1e-5)
        assert np.allclose(arm(got, name, "eltrombopag"), 700 if name in ("eltrombopag", "both") else 0, rtol=1e-5)
        assert np.allclose(arm(got, name, "platelets_given"), 30 if name in ("platelets", "both") else 0, rtol=1e-5)


def test_an_infusion_rises_while_it_runs_and_a_bolus_falls(got):
    bolus, infusion = (arm(got, name, "romiplostim.concentration") for name in ("bolus", "infusion"))
    assert not bolus[0].any()  # the value before that day's dose
    assert np.all(bolus[1] > bolus[8])
    assert np.all(np.diff(infusion[:9], axis=0) > 0)
    assert np.all(infusion[9] < infusion[8])
    assert np.all(infusion[1] < bolus[1])
    assert np.all(arm(got, "infusion")[-1] > 1.2 * arm(got, "infusion")[0])


def test_transfused_platelets_appear_at_once_and_are_lost(got):
    platelets, before = arm(got, "platelets"), arm(got, "untreated")
    assert np.allclose(platelets[:13], before[:13], rtol=1e-4)  # day 3 is saved before the transfusion
    rise = platelets[13] - before[13]
    assert np.all((rise > 8) & (rise < 30))
    assert np.all(platelets[-1] - before[-1] < 0.5 * rise)


def test_eltrombopag_acts_and_adds_to_a_transfusion(got):
    alone, both = arm(got, "eltrombopag"), arm(got, "both")
    assert np.all(arm(got, "eltrombopag", "eltrombopag.concentration")[1:] > 0)
    assert np.median(alone[-1] / alone[0]) > 1.2
    assert np.allclose(both[:13], alone[:13], rtol=1e-4)
    assert np.all(both[13] > alone[13] + 5)


def test_the_same_patients_as_in_a_study_of_one_drug(got, results):
    one = results(studies.changed(axis=[{"name": "dose", "values": [3]}]))
    names = {name for name in one if name.startswith("parameters/")}
    assert names < got.keys()
    assert [name for name in names if not np.array_equal(one[name], got[name])] == []
