"""Axes over parameters and regimens, overrides and patient tables: each cell is what it says it is."""

import numpy as np
import studies
from studies import changed

import thrombojax as tj

DOSE = {"name": "dose", "values": [3], "unit": "ug/kg"}


def axes(*others):
    """The base study at one dose, with more axes."""
    return changed(axis=[DOSE, *others])


def test_an_axis_sets_a_parameter_by_its_short_name(results):
    got = results(axes({"name": "kilograms", "parameter": "weight", "values": [50, 100], "unit": "kg"}))
    assert got["kilograms"].tolist() == [50, 100]
    assert got["the_cumulative_dose"].shape == (1, 2, 2, 20)
    assert np.allclose(got["the_cumulative_dose"][0, :, 1], [[4 * 3 * 50], [4 * 3 * 100]], rtol=1e-6)
    assert np.array_equal(got["platelets"][0, 0, 0], got["platelets"][0, 1, 0])


def test_an_axis_scales_what_was_drawn(results):
    got = results(axes({"name": "factor", "parameter": "body.weight", "values": [0.5, 1, 2], "scale": True}))
    dose = got["the_cumulative_dose"][0, :, 1]
    assert np.allclose(dose[1], 12 * got["parameters/body.weight"], rtol=1e-6)
    assert np.array_equal(2 * dose[0], dose[1])
    assert np.array_equal(2 * dose[1], dose[2])


def test_an_axis_over_the_count_that_a_cohort_is_drawn_by(results):
    got = results(axes({"name": "start", "parameter": "count", "values": [8, 25], "unit": "1/nL"}))
    assert not got["status"].any()
    for k, count in enumerate((8, 25)):
        assert np.allclose(got["platelets"][0, k, 0], count, rtol=1e-4)
    assert np.all(got["the_peak"][0, 1, 1] > got["the_peak"][0, 0, 1])


def test_two_axes_are_a_grid(results):
    dose = {**DOSE, "values": [1, 5]}
    got = results(changed(axis=[dose, {"name": "factor", "parameter": "weight", "values": [1, 2], "scale": True}]))
    single = results(changed())
    assert got["the_peak"].shape == (2, 2, 2, 20)
    assert np.array_equal(got["platelets"][:, 0], single["platelets"])
    assert np.array_equal(got["the_cumulative_dose"][:, 1], 2 * got["the_cumulative_dose"][:, 0])


def test_an_override_holds_for_all_and_an_axis_scales_it(results):
    scaled = {"name": "factor", "parameter": "weight", "values": [1, 1.5], "scale": True}
    got = results({**axes(scaled), "patients": {"cohort": "itp", "n": 20, "overrides": {"body.weight": 80}}})
    assert np.all(got["parameters/body.weight"] == 80)
    assert np.allclose(got["the_cumulative_dose"][0, :, 1], [[12 * 80], [12 * 120]], rtol=1e-6)


def test_one_axis_sets_what_another_scales(results):
    sets = {"name": "kilograms", "parameter": "weight", "values": [60, 90]}
    scales = {"name": "factor", "parameter": "weight", "values": [1, 2], "scale": True}
    for order in ((sets, scales), (scales, sets)):
        dose = results(axes(*order))["the_cumulative_dose"][0, ..., 1, 0] / 12
        assert np.allclose(dose if order[0] is sets else dose.T, [[60, 120], [90, 180]], rtol=1e-6)


def test_the_typical_patient(results):
    got = results(changed(patients={"sampler": "typical", "n": 3}))
    assert np.ptp(got["platelets"], axis=-1).max() == 0
    one = tj.simulate(tj.cohort("itp").typical(), "romiplostim 5 ug/kg sc weekly x 4", days=28, precision="f64")
    assert np.allclose(got["platelets"][1, 1, :, 0], one.platelets[:, 0], rtol=1e-3)


def test_an_axis_over_the_interval_of_a_regimen(results):
    def arms(text):
        return [{"name": "repeated", "regimen": text}]

    gaps = {"name": "gap", "values": [3, 7.5], "unit": "day"}
    got = results(changed(studies.WANG, arm=arms("romiplostim 1 ug/kg sc every {gap} days x 3"), axis=[gaps]))
    for k, gap in enumerate((3, 7.5)):
        alone = results(changed(studies.WANG, arm=arms(f"romiplostim 1 ug/kg sc every {gap} days x 3")))
        assert np.allclose(got["platelets"][k], alone["platelets"], rtol=1e-4)
        assert np.allclose(got["highest"][k], alone["highest"], rtol=1e-4)
    assert not np.allclose(got["highest"][0], got["highest"][1], rtol=0.01)


def test_an_axis_written_as_a_range(results):
    dose = {"name": "dose", "from": 0.5, "to": 8, "count": 5, "spacing": "log", "unit": "ug/kg"}
    arm = {"name": "sc", "regimen": "romiplostim {dose} ug/kg sc once"}
    got = results(changed(studies.WANG, arm=[arm], axis=[dose]))
    assert np.allclose(got["dose"], [0.5, 1, 2, 4, 8])
    assert np.all(np.diff(got["highest"][:, 0], axis=0) > 0)


def test_a_patient_table_of_the_feedback_model(results):
    table = "id,weight,immune_clearance,spleen_ratio\np1,60,0,0.5\np2,90,2.0,0.5\np3,75,0,0.02\n"
    got = results(
        {**axes(), "patients": {"table": "patients.csv"}, "study": {**studies.ITP["study"], "accuracy": 1e-5}},
        table=table,
    )
    assert got["patient"].tolist() == [b"p1", b"p2", b"p3"]
    assert not got["status"].any()
    assert got["parameters/platelets.immune_clearance"].tolist() == [0, 2, 0]
    untreated = got["platelets"][0, 0]
    assert np.allclose(untreated, untreated[0], rtol=1e-4)
    healthy, immune, no_spleen = untreated[0]
    assert immune < 0.5 * healthy
    assert no_spleen > 1.2 * healthy
    assert np.allclose(got["the_cumulative_dose"][0, 1], 12 * np.array([60, 90, 75]), rtol=1e-6)
    people = tj.model("feedback").patients(
        **{"body.weight": [60.0, 90.0, 75.0], "spleen_ratio": [0.5, 0.5, 0.02], "immune_clearance": [0.0, 2.0, 0.0]}
    )
    one = tj.simulate(people, "romiplostim 3 ug/kg sc weekly x 4", days=28, precision="f64")
    assert np.allclose(got["platelets"][0, 1], one.platelets, rtol=1e-3)


def test_a_table_is_cut_to_the_patients_that_are_asked_for(results):
    got = results(changed(studies.WANG), "--patients", 2)
    assert got["patient"].tolist() == [b"a", b"b"]
    numbered = results(changed(studies.WANG), table="id,weight\n7,70\n3,80\n")
    assert numbered["patient"].tolist() == [7, 3]
    padded = results(changed(studies.WANG), table="id,weight\n007,70\n7,80\n")
    assert padded["patient"].tolist() == [b"007", b"7"]
    unnamed = results(changed(studies.WANG), table="weight\n70\n80\n")
    assert unnamed["patient"].tolist() == [1, 2]
