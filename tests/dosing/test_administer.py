"""From regimens to slots: columns, units, and what is refused."""

import dataclasses

import numpy as np
import pytest

import thrombojax as tj
from thrombojax.dosing.administer import columns, slots, units
from thrombojax.dosing.timeline import Column
from thrombojax.errors import InputError
from thrombojax.models import registry
from thrombojax.models.protocol import Entry

DRUGS = ("eltrombopag", "romiplostim", "transfusion")


@pytest.fixture
def model():
    return registry.build(registry.Source(), DRUGS)


def given(model, *sentences, days=100.0):
    regimens = [tj.regimen(s) for s in sentences]
    found = columns(model, regimens)
    return found, [slots(model, r, found, days) for r in regimens]


def test_columns_are_the_kinds_of_administration_of_all_arms(model):
    found, (first, second) = given(
        model,
        "romiplostim 1 ug/kg sc weekly x 2 and eltrombopag 50 mg oral once",
        "romiplostim 100 ug sc once and romiplostim 1 ug/kg sc once",
    )
    sc, oral = ("romiplostim", "sc"), ("eltrombopag", "oral")
    assert found == (Column(sc, True), Column(oral, False), Column(sc, False))
    assert first.column == (0, 0, 1)
    assert second.column == (2, 0)


@pytest.mark.parametrize(
    ("sentence", "amount"),
    [
        ("romiplostim 3 ug/kg sc once", 3.0),
        ("romiplostim 0.003 mg/kg sc once", 3.0),
        ("romiplostim 3000 ng/kg sc once", 3.0),
        ("romiplostim 0.25 mg sc once", 250.0),
        ("eltrombopag 75 mg oral once", 75.0),
        ("eltrombopag 0.075 g oral once", 75.0),
        ("eltrombopag 75000 ug oral once", 75.0),
        ("transfusion 40 1/nL iv once", 40.0),
    ],
)
def test_amounts_are_in_the_units_of_the_model(model, sentence, amount):
    _, (s,) = given(model, sentence)
    np.testing.assert_allclose(s.amount, [amount], rtol=1e-14)


def test_times_durations_and_infusions(model):
    _, (s,) = given(model, "romiplostim 1 ug/kg iv over 6 h at days 0 3 7 then 2 ug/kg once from day 8")
    np.testing.assert_array_equal(s.time, [0.0, 3.0, 7.0, 8.0])
    np.testing.assert_array_equal(s.amount, [1.0, 1.0, 1.0, 2.0])
    np.testing.assert_array_equal(s.duration, [0.25] * 4)
    assert s.infused == (True,) * 4
    assert given(model, "romiplostim 1 ug/kg iv once")[1][0].infused == (False,)


def test_weight_scales_what_is_given_per_kg():
    """Twice the weight and half the amount per kg is the same dose; an absolute amount is the same in every weight."""
    m = registry.build(registry.Source("wang2010"))
    patients = m.patients(weight=[50.0, 100.0])
    dose = [tj.Endpoint("given", "cumulative_dose", drug="romiplostim")]
    per_kg = tj.simulate(patients, "romiplostim 2 ug/kg sc weekly x 3", days=21, endpoints=dose, precision="f64")
    np.testing.assert_allclose(per_kg.endpoints["given"], [300.0, 600.0], rtol=1e-14)
    absolute = tj.simulate(patients, "romiplostim 100 ug sc weekly x 3", days=21, endpoints=dose, precision="f64")
    np.testing.assert_allclose(absolute.endpoints["given"], [300.0, 300.0], rtol=1e-14)
    both = "romiplostim 100 ug sc once and romiplostim 2 ug/kg sc weekly x 2 from day 7"
    mixed = tj.simulate(patients, both, days=21, endpoints=dose, precision="f64")
    np.testing.assert_allclose(mixed.endpoints["given"], [300.0, 500.0], rtol=1e-14)
    np.testing.assert_array_equal(mixed.platelets[:8, 0], per_kg.platelets[:8, 0])


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("romiplostin 1 ug/kg sc once", ("romiplostin", "did you mean 'romiplostim'")),
        ("romiplostim 1 ug/kg oral once", ("route of romiplostim", "iv, sc")),
        ("romiplostim 1 U sc once", ("unit of romiplostim sc", "ug/kg")),
        ("transfusion 1 mg iv once", ("unit of transfusion iv", "1/nL")),
        ("eltrombopag 75 mg/m2 oral once", ("unit of eltrombopag oral", "mg")),
        ("romiplostim 1 ug/kg sc over 2 h once", ("not given as an infusion",)),
        ("romiplostim 1 ug/kg sc at days 3 100", ("day 100", "not before the end")),
        ("romiplostim 1 ug/kg sc weekly x 26", ("day 105", "not before the end")),
    ],
)
def test_what_is_refused(model, sentence, words):
    with pytest.raises(InputError) as error:
        given(model, sentence)
    assert all(word in str(error.value) for word in words), error.value


def test_all_problems_at_once(model):
    with pytest.raises(InputError) as error:
        given(model, "romiplostim 1 ug/kg oral once and eltrombopag 1 U oral once", "aspirin 1 mg oral once")
    assert len(error.value.problems) == 3


def test_units_of_an_entry(model):
    def of(unit, model=model):
        return units(model, Entry(unit, {}))

    assert "ug/kg" in of("ug")
    assert "mg" in of("ug")
    assert of("1/nL") == ("1/nL",)
    assert of("mg/m2") == ("mg/m2",)
    assert of("U") == ("U", "U/kg")
    without = dataclasses.replace(model, weight="no such parameter")
    assert of("U", without) == ("U",)
    assert "ug/kg" not in of("ug", without)
