"""Doses that follow counts, inside the kernels: backends agree, and a clinic written in plain NumPy does the same."""

import dataclasses
import functools

import numpy as np
import pytest
from policy_cases import DAYS, VISITS, Case, case

import thrombojax as tj
from thrombojax.dosing import care as cares
from thrombojax.dosing import policy
from thrombojax.dosing.titration import titration
from thrombojax.dosing.treatment import Treatment
from thrombojax.models import struct
from thrombojax.patients import clinic as clinics
from thrombojax.patients.population import prepare
from thrombojax.solve import cuda, engine, native, places


@functools.cache
def solved(name: str, backend: str):
    return case(name).solve(backend)


def assert_same(a, b, tolerance):
    assert np.array_equal(a.status, b.status)
    for name in a.endpoints:
        np.testing.assert_allclose(a.endpoints[name], b.endpoints[name], rtol=tolerance, err_msg=name)
    for name in a.ledger:
        np.testing.assert_allclose(a.ledger[name], b.ledger[name], rtol=tolerance, err_msg=name)


@pytest.mark.parametrize(
    "name", ["with misses", *(pytest.param(n, marks=pytest.mark.slow) for n in ("levels", "windows"))]
)
def test_native_is_xla(name):
    assert_same(solved(name, "native"), solved(name, "xla"), 1e-10)


@pytest.mark.parametrize("name", ["levels", "windows"])
def test_the_text_for_gpus_is_native(name, monkeypatch):
    monkeypatch.setattr(engine, "choose", lambda backend, model: backend)
    monkeypatch.setattr(cuda, "run", functools.partial(cuda.run, on=(places.Host(),)))
    assert_same(case(name).solve("cuda"), solved(name, "native"), 1e-10)


@pytest.mark.slow
def test_the_reference_decides_alike():
    ours, reference = solved("with misses", "native"), case("with misses").solve("reference")
    assert (ours.ledger["decision"] == reference.ledger["decision"]).mean() > 0.99
    np.testing.assert_allclose(ours.ledger["count"][:3], reference.ledger["count"][:3], rtol=2e-4)


def test_single_precision_decides_alike():
    single, double = case("titrated").solve("native", "f32"), solved("titrated", "native")
    same = single.ledger["decision"] == double.ledger["decision"]
    assert same.mean() > 0.97
    np.testing.assert_allclose(single.ledger["count"][:3], double.ledger["count"][:3], rtol=1e-4)


def test_what_is_seen_is_the_count_with_its_error():
    out, given = solved("with misses", "native"), case("with misses").care
    factor = given.factor[given.visit[np.flatnonzero(given.acts >= 0)]]
    assert (factor == 0).any()
    assert np.array_equal(np.isnan(out.ledger["seen"]), factor == 0)
    here = factor > 0
    np.testing.assert_allclose(out.ledger["seen"][here], (out.ledger["count"] * factor)[here], rtol=1e-12)
    np.testing.assert_allclose(out.ledger["count"], out.saved["platelets"], rtol=1e-12)


@pytest.mark.parametrize("name", ["titrated", "with misses", "levels", "windows", "beside a fixed regimen"])
def test_a_ledger_replayed_as_a_fixed_regimen_gives_the_same_trajectory(name):
    c, out = case(name), solved(name, "native")
    clinic, line, care = clinics.replayed(c.model, c.clinic, c.line, c.care, c.cohort, out.ledger)
    assert clinic.policy == policy.Policy()
    keep = [e for e in c.endpoints if e.name in ("peak", "dose")]
    again = engine.solve(c.model, c.cohort, line, endpoints=keep, clinic=clinic, care=care, save=("platelets",),
                         days=c.treatment.acts(DAYS), backend="native", precision="f64")  # fmt: skip
    np.testing.assert_allclose(again.saved["platelets"], out.saved["platelets"], rtol=1e-10)
    for e in keep:
        np.testing.assert_allclose(again.endpoints[e.name], out.endpoints[e.name], rtol=1e-10)


def test_endpoints_of_visits_count_what_the_ledger_says():
    out = solved("with misses", "native")
    days = np.asarray(case("with misses").treatment.acts(DAYS))
    seen, rescued = out.ledger["seen"], out.ledger["rescue"] > 0
    assert rescued.any()
    since = np.full(seen.shape, np.inf)
    for k in range(1, len(days)):
        last = [np.max(days[:k][rescued[:k, i]], initial=-np.inf) for i in range(seen.shape[1])]
        since[k] = days[k] - np.array(last)
    counts = (seen >= 50) & (since >= 28) & (days > 0)[:, None]
    # the last visit of the endpoint, at the end of the study, is none of the policy's
    assert np.all((out.endpoints["weeks"] - counts.sum(0) >= 0) & (out.endpoints["weeks"] - counts.sum(0) <= 1))
    assert np.array_equal(out.endpoints["rescues"], rescued.sum(0))
    decided = out.ledger["decision"]
    assert np.array_equal(out.endpoints["dose_holds"], (decided == policy.WITHHELD).sum(0))
    assert np.array_equal(out.endpoints["dose_increases"], (decided == policy.RAISED).sum(0))
    assert not np.any((out.endpoints["durable"] > 0) & (out.endpoints["rescues"] > 0))


def test_stable_doses_are_those_of_the_ledger():
    """A visit looks at the dose that the visit before it had left in force."""
    out = solved("titrated", "native")
    days = np.asarray(case("titrated").treatment.acts(DAYS))
    assert days.tolist() == [7.0 * k for k in range(12)]
    dose, seen = out.ledger["dose"], out.ledger["seen"]
    near, stable = [], []
    for patient in range(dose.shape[1]):
        given = dose[:11, patient]
        given = given[given > 0]
        mode = np.bincount(given.astype(int)).argmax()
        near.append(np.mean(np.abs(given - mode) <= 1))
        enough = np.sum(seen[6:12, patient] >= 30) >= 3 and not (out.ledger["rescue"][:11, patient] > 0).any()
        stable.append(enough and np.ptp(dose[5:11, patient]) <= 1)
    np.testing.assert_allclose(out.endpoints["near"], near, rtol=1e-12)
    assert np.array_equal(out.endpoints["stable"], stable)
    assert 0 < np.sum(stable) < len(stable)
    assert 0 < np.min(near) < 1


def test_shares_are_of_the_visits_that_were_kept():
    """Who misses visits or leaves; one leaves before the first, and has no share."""
    out = solved("with misses", "native")
    seen = out.ledger["seen"][1:12]  # weeks 1 to 11; the endpoint `share` looks at ten
    kept = ~np.isnan(seen)
    assert not kept.any(0).all()
    shares, near = [], []
    for patient, here in enumerate(kept.T):
        ten = seen[:10, patient][here[:10]]
        shares.append(np.mean(ten >= 50) if len(ten) else np.nan)
        given = out.ledger["dose"][:11, patient][here]
        given = given[given > 0]
        mode = np.bincount(given.astype(int)).argmax() if len(given) else 0
        near.append(np.mean(np.abs(given - mode) <= 1) if len(given) else np.nan)
    np.testing.assert_allclose(out.endpoints["share"], shares, rtol=1e-12)
    np.testing.assert_allclose(out.endpoints["near"], near, rtol=1e-12)


def test_amounts_are_rounded_and_vials_wasted():
    c, out = case("titrated"), solved("titrated", "native")
    weight = np.asarray(struct.as_dict(c.cohort.p)["body.weight"])
    given = np.round(out.ledger["dose"][:11] * weight / 5) * 5
    np.testing.assert_allclose(out.endpoints["titrated_dose"], given.sum(0), rtol=1e-12)
    np.testing.assert_allclose(out.endpoints["dose"], given.sum(0), rtol=1e-12)
    np.testing.assert_allclose(out.endpoints["wasted_dose"], (np.ceil(given / 125) * 125 - given).sum(0), atol=1e-9)


def test_placebo_takes_no_drug_and_meets_the_same_errors():
    out, drug = solved("placebo", "native"), solved("titrated", "native")
    assert np.all(out.endpoints["titrated_dose"] == 0)
    assert np.all(out.ledger["decision"][~np.isnan(out.ledger["seen"])] == policy.KEPT)
    ratio = [o.ledger["seen"] / o.ledger["count"] for o in (out, drug)]
    np.testing.assert_allclose(ratio[0], ratio[1], rtol=1e-12)
    assert np.array_equal(out.ledger["count"][0], drug.ledger["count"][0])


def test_an_arm_that_gives_nothing_beside_one_whose_patients_leave():
    """They share a program in which doses are missed, and there are none to miss."""
    c = Case(Treatment(visits=VISITS, dropout=0.5), 6)
    bare = {"endpoints": [e for e in c.endpoints if e.name in ("weeks", "share", "peak")], "save": ("platelets",)}
    found = [
        engine.solve(
            c.model, c.cohort, c.line, clinic=c.clinic, care=c.care, days=VISITS, backend=b, precision="f64", **bare
        )
        for b in ("native", "xla")
    ]
    np.testing.assert_allclose(found[0].saved["platelets"], found[1].saved["platelets"], rtol=1e-10)
    assert np.isfinite(found[0].saved["platelets"]).all()
    assert np.array_equal(found[0].endpoints["share"], found[1].endpoints["share"], equal_nan=True)


def test_a_visit_takes_place_once_in_its_window():
    c, out = case("windows"), solved("windows", "native")
    by_visit = clinics.by_visit(c.treatment, c.patients, DAYS, out.ledger)
    planned = np.asarray(c.treatment.acts(DAYS))[:, None]
    off = by_visit["day"] - planned
    assert set(np.unique(off)) == {-2.0, -1.0, 0.0, 1.0, 2.0}
    assert np.all(off[0] == 0)
    # what was seen, decided and transfused on all days together is what the visits hold
    kept = ~np.isnan(out.ledger["seen"])
    assert kept.sum() == (~np.isnan(by_visit["seen"])).sum()
    for name, code in (("dose_increases", policy.RAISED), ("dose_holds", policy.WITHHELD)):
        assert np.array_equal((by_visit["decision"] == code).sum(0), out.endpoints[name])
    assert np.array_equal((by_visit["rescue"] > 0).sum(0), out.endpoints["rescues"])
    assert np.array_equal((out.ledger["rescue"] > 0).sum(0), out.endpoints["rescues"])


def test_weight_bands_multiply_amounts():
    c = case("titrated")
    light = titration("romiplostim", "US label, adults with ITP", until=77, start=3.0,
                      weights=[{"to": 75, "times": 0.5}, {"from": 75, "times": 1}])  # fmt: skip
    plain = titration("romiplostim", "US label, adults with ITP", until=77, start=3.0)
    weight = np.asarray(struct.as_dict(c.cohort.p)["body.weight"])
    first = [Case(Treatment(titration=t)).care.rule for t in (light, plain)]
    amounts = [
        np.asarray(clinics._amounts(r, np.full((1, c.cohort.n), 3.0), np.ones((1, c.cohort.n)), 1.0, weight))[0]
        for r in first
    ]
    assert (weight < 75).any()
    assert (weight >= 75).any()
    np.testing.assert_allclose(amounts[0], np.where(weight < 75, np.floor(0.3 * weight + 0.5) * 5, amounts[1]))


def test_a_patient_is_the_same_in_any_company():
    whole = solved("with misses", "native")
    c = case("with misses")
    chosen = np.array([7, 2, 11])
    few = Case.__new__(Case)
    few.__dict__.update(c.__dict__)
    few.patients = c.patients.pick(chosen)
    few.cohort = prepare(few.patients, c.model)
    few.care = clinics.care(c.model, c.clinic, c.treatment, c.seen, c.line, few.cohort, few.patients, VISITS)
    out = few.solve("native")
    for name in out.endpoints:
        assert np.array_equal(out.endpoints[name], whole.endpoints[name][chosen], equal_nan=True), name
    for name in out.ledger:
        assert np.array_equal(out.ledger[name], whole.ledger[name][:, chosen], equal_nan=True), name


def test_what_wanders_starts_at_the_baseline_and_stays_within_its_law():
    index, days = np.arange(20_000), [7.0 * k for k in range(30)]
    paths = cares.wandering(1, "x", index, days, 0.5, 28.0, begun=False)
    assert np.all(paths[0] == 0)
    expected = 0.5 * np.sqrt(1 - np.exp(-2 * np.asarray(days) / 28))
    np.testing.assert_allclose(paths.std(axis=1), expected, rtol=0.03, atol=1e-12)
    far = paths[-5:]
    np.testing.assert_allclose(np.corrcoef(far[0], far[4])[0, 1], np.exp(-1), atol=0.02)


def test_errors_have_their_cv_and_belong_to_a_day():
    index = np.arange(50_000)
    found = cares.measured(1, index, [0.0, 7.0, 14.0], cares.Error(0.15, 0.2, 14.0))
    np.testing.assert_allclose(np.log(found).std(axis=1), np.hypot(cares.sd(0.15), cares.sd(0.2)), rtol=0.02)
    share = cares.sd(0.2) ** 2 / (cares.sd(0.2) ** 2 + cares.sd(0.15) ** 2)
    np.testing.assert_allclose(np.corrcoef(np.log(found[:2]))[0, 1], share * np.exp(-0.5), atol=0.02)
    alone = cares.measured(1, index[5:9], [7.0], cares.Error(0.15))
    assert np.array_equal(alone[0], cares.measured(1, index, [0.0, 7.0], cares.Error(0.15))[1, 5:9])


def test_numbers_of_a_rule_recompile_nothing():
    c = case("titrated")
    first = c.solve("native")
    before = native.kernel.cache_info().misses
    other = c.solve("native", care=c.care._replace(rule=c.care.rule._replace(start=2.0)))
    assert native.kernel.cache_info().misses == before
    assert np.all(other.ledger["dose"][0] == 2.0)
    assert np.all(first.ledger["dose"][0] == 1.0)


@pytest.mark.parametrize("people", ["typical", "by covariates"])
def test_patients_without_numbers_keep_their_errors_when_some_are_picked(people):
    """Shards, audits and trials pick patients: whose errors they have must not depend on who else is there."""
    typical = dataclasses.replace(tj.cohort("itp").typical(), n=12)
    all_ = typical if people == "typical" else tj.model("wang2010").patients(weight=list(np.linspace(50, 90, 12)))
    for rows in (np.array([7, 2, 11]), slice(6, 12)):
        some = all_.pick(rows)
        assert np.array_equal(some.numbers, all_.numbers[rows])
        assert np.array_equal(some.pick(np.array([1])).numbers, all_.numbers[rows][[1]])
        whole = cares.measured(1, all_.numbers, [7.0], cares.Error(0.15))
        assert np.array_equal(cares.measured(1, some.numbers, [7.0], cares.Error(0.15)), whole[:, rows])


@pytest.mark.parametrize("backend", ["native", pytest.param("xla", marks=pytest.mark.slow)])
def test_endpoints_against_baseline_are_those_of_the_saved_counts(backend):
    """A ratio and a change, over time and on a visit; as the clinic saw both, where it looks."""
    people = tj.cohort("cld-avatrombopag-low").sample(6, seed=3)
    wanted = [
        tj.Endpoint("peak_ratio", "peak", relative="ratio"),
        tj.Endpoint("mean_change", "mean", relative="change"),
        tj.Endpoint("doubled_day", "first_day_at_or_above", numbers={"threshold": 1.5}, relative="ratio"),
        tj.Endpoint("change", "value_on_day", numbers={"day": 12.0}, visits=(12.0,), relative="change"),
    ]
    plain = tj.simulate(people, "avatrombopag 60 mg oral daily x 5", days=20, save_every=1.0, endpoints=wanted,
                        backend=backend, precision="f64")  # fmt: skip
    ratio, change = plain.platelets / plain.platelets[0], plain.platelets - plain.platelets[0]
    np.testing.assert_allclose(plain.endpoints["peak_ratio"], ratio.max(0), rtol=5e-3)
    assert np.all(plain.endpoints["peak_ratio"] >= ratio.max(0) * (1 - 1e-9))
    np.testing.assert_allclose(plain.endpoints["mean_change"], (change[1:] + change[:-1]).mean(0) / 2, rtol=5e-3)
    np.testing.assert_allclose(plain.endpoints["change"], change[12], rtol=1e-12)
    first = np.where((ratio >= 1.5).any(0), (ratio >= 1.5).argmax(0).astype(float), np.nan)
    assert np.all(
        (plain.endpoints["doubled_day"] <= first) & (plain.endpoints["doubled_day"] > first - 1) | np.isnan(first)
    )
    seen = tj.simulate(people, Treatment(tj.regimen("avatrombopag 60 mg oral daily x 5"), visits=(0.0, 12.0)), days=20,
                       save_every=None, endpoints=wanted[3:], backend=backend, precision="f64",
                       observation=clinics.Observation(cares.Error(0.2)))  # fmt: skip
    errors = cares.measured(people.seed, people.numbers, [0.0, 12.0], cares.Error(0.2))
    expected = plain.platelets[12] * errors[1] - plain.platelets[0] * errors[0]
    np.testing.assert_allclose(seen.endpoints["change"], expected, rtol=1e-9)
