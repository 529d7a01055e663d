"""Hazards of bleeding and thrombosis at the counts of section 2.10 of the model description, through endpoints of a solve."""

import functools

import numpy as np
import pytest
from printed import assert_printed

import thrombojax as tj
from thrombojax.endpoints import Endpoint
from thrombojax.models import registry
from thrombojax.models.feedback import hazards
from thrombojax.models.feedback.assemble import feedback

pytestmark = pytest.mark.xdist_group("flagship")

COUNTS = (3, 5, 10, 20, 30, 50, 81, 250)
RELATIVE = {
    3: "3.4922",
    5: "3.1096",
    10: "2.3907",
    20: "1.6044",
    30: "1.2627",
    50: "1.0496",
    250: "1.0000",
}
DAYS = 10.0
SOLVES = [("native", "f32"), ("native", "f64"), ("xla", "f32"), ("xla", "f64")]
TYPICAL = feedback().defaults.hazards


@functools.cache
def solved(backend, precision):
    """Endpoints by name `[count]` of healthy people at rest whose spleens leave those counts in blood; one has risk factors."""
    spleen = [375 / count - 1 for count in (*COUNTS, 250)]
    patients = registry.build(registry.Source()).patients(
        spleen_ratio=spleen,
        bleeding_multiplier=[1.0] * len(COUNTS) + [1.29],
        thrombosis_multiplier=[1.0] * len(COUNTS) + [2.0],
    )
    asked = [
        Endpoint(f"{of}_{reducer}", reducer, f"{of}_hazard", 2.0, DAYS)
        for of in ("bleeding", "thrombosis")
        for reducer in ("auc", "mean", "peak")
    ]
    done = tj.simulate(
        patients, days=DAYS, save=[DAYS], observables=["platelets", "bleeding_hazard", "thrombosis_hazard"],
        endpoints=asked, backend=backend, precision=precision,
    )  # fmt: skip
    assert not done.status.any()
    np.testing.assert_allclose(done.platelets[-1], (*COUNTS, 250), rtol=1e-5)
    return done


@pytest.mark.parametrize(("backend", "precision"), SOLVES)
@pytest.mark.parametrize("count", RELATIVE)
def test_relative_hazards_of_bleeding_are_those_printed(backend, precision, count):
    found = solved(backend, precision).endpoints["bleeding_mean"][COUNTS.index(count)]
    assert_printed(float(found) / TYPICAL.bleeding_rate, RELATIVE[count])


@pytest.mark.parametrize(("backend", "precision"), SOLVES)
def test_the_area_is_the_hazard_times_the_days(backend, precision):
    done = solved(backend, precision)
    for of, saved in (("bleeding", done.bleeding_hazard), ("thrombosis", done.thrombosis_hazard)):
        for reducer, days in (("auc", DAYS - 2.0), ("mean", 1.0), ("peak", 1.0)):
            np.testing.assert_allclose(done.endpoints[f"{of}_{reducer}"], saved[-1] * days, rtol=1e-5)


@pytest.mark.parametrize(("backend", "precision"), SOLVES)
def test_odds_of_bleeding_at_5_against_81_are_those_of_plado(backend, precision):
    hazard = solved(backend, precision).endpoints["bleeding_mean"].astype(float)
    odds = np.expm1(hazard)  # of bleeding on a day: p / (1 - p), with p = 1 - exp(-hazard)
    assert odds[COUNTS.index(5)] / odds[COUNTS.index(81)] == pytest.approx(3.1, abs=0.05)


@pytest.mark.parametrize(("backend", "precision"), SOLVES)
def test_thrombosis_in_a_year(backend, precision):
    """1.03 % where the count adds nothing; the assumed rise makes it 1.06 % at a healthy count, half of it at 1000."""
    hazard = solved(backend, precision).endpoints["thrombosis_mean"].astype(float)
    assert 365.25 * hazard[COUNTS.index(3)] == pytest.approx(0.0103, abs=5e-5)
    assert hazard[COUNTS.index(250)] / TYPICAL.thrombosis_rate == pytest.approx(1 + 0.5 / 17, rel=1e-5)
    assert hazards.thrombosis(1000.0, 50.0, TYPICAL) == pytest.approx(1.25 * TYPICAL.thrombosis_rate)


@pytest.mark.parametrize(("backend", "precision"), SOLVES)
def test_risk_factors_multiply(backend, precision):
    found = solved(backend, precision).endpoints
    assert found["bleeding_mean"][-1] / found["bleeding_mean"][-2] == pytest.approx(1.29, rel=1e-5)
    assert found["thrombosis_mean"][-1] / found["thrombosis_mean"][-2] == pytest.approx(2.0, rel=1e-5)


def test_the_count_is_no_risk_factor_where_its_gain_is_0():
    p = TYPICAL._replace(thrombosis_gain=0.0)
    assert hazards.thrombosis(1500.0, 50.0, p) == hazards.thrombosis(0.0, 50.0, p) == p.thrombosis_rate


def test_what_no_source_gives_is_marked():
    rows = {row["name"]: row for row in tj.info("parameters", model="feedback") if row["name"].startswith("hazards.")}
    assert len(rows) == 8
    marked = {name.partition(".")[2] for name, row in rows.items() if "convention" in row["flags"]}
    assert marked == {"thrombosis_gain", "thrombosis_count"}
    assert all(row["source"] and row["low"] <= row["value"] <= row["high"] for row in rows.values())
    assert {row["name"] for row in tj.info("observables", model="feedback") if row["unit"] == "1/day"} == {
        "bleeding_hazard",
        "thrombosis_hazard",
    }


def test_the_area_under_a_hazard_has_no_unit():
    assert tj.endpoints.REDUCERS["auc"].unit("1/day") == "1"


def test_age_beyond_60_is_a_risk_factor():
    young, old = (float(hazards.thrombosis(400.0, age, TYPICAL)) for age in (60.0, 61.0))
    assert old == pytest.approx(1.5 * young)
