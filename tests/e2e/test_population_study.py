"""Virtual populations as a user makes and uses them: matched targets, weights that go on, and what cannot be met."""

import csv
import json
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest
import studies
from scipy.special import ndtr

import thrombojax as tj
from thrombojax.store import provenance
from thrombojax.study.virtual import without_targets

WEIGHT = "prevalence_weight"
ARMS = [{"name": "untreated"}, {"name": "romiplostim", "regimen": "romiplostim 3 ug/kg sc weekly x 4"}]
ENDPOINTS = [
    {"name": "day_28", "reducer": "value_on_day", "day": 28},
    {"name": "at_50", "reducer": "response", "threshold": 50, "needed": 1, "from": 20},
]
TARGETS = [
    {"of": "platelets", "distribution": "log-normal", "mean": 18, "sd": 6},
    {"of": "at_50", "arm": "romiplostim", "share": 0.6},
    {"of": "weight", "quantiles": [[0.25, 68], [0.5, 78], [0.75, 90]]},
]
STUDY = {
    "schema": 1,
    "study": {"name": "small", "model": "petrov2024", "seed": 3, "days": 28},
    "patients": {"cohort": "itp-mech-1", "n": 600},
    "population": {"widen": 1.2, "plausible": ["platelets < 60", "romiplostim: day_28 < 1000"], "target": TARGETS},
    "arm": ARMS,
    "endpoint": ENDPOINTS,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The population of STUDY, made once: (what was said, its file)."""
    folder = tmp_path_factory.mktemp("population")
    said = studies.here("population", studies.write(folder, STUDY), "-o", folder / "vp.h5", "--audit", 8)
    assert said.status == 0, said.err
    return said, folder / "vp.h5"


def test_weights_match_every_target(made):
    said, file = made
    found = studies.arrays(file)
    with tj.open(file) as data:
        weights = data[WEIGHT].values
        assert data[WEIGHT].attrs["role"] == "weight"
    assert weights.sum() == pytest.approx(1)
    plausible = weights > 0
    p = {name.removeprefix("parameters/"): values for name, values in found.items() if name.startswith("parameters/")}
    platelets = p["production"] / p["clearance"]  # the steady state in closed form
    assert (platelets[plausible] < 60).all()
    assert (found["day_28"][1][plausible] < 1000).all()
    responds = found["at_50"][1]
    assert np.average(responds, weights=weights) == pytest.approx(0.6, abs=0.002)
    for at, value in ((0.25, 68), (0.5, 78), (0.75, 90)):
        assert weights[p["weight"] <= value].sum() == pytest.approx(at, abs=0.005)
    variance = np.log1p((6 / 18) ** 2)
    order = np.argsort(platelets)
    z = (np.log(platelets[order]) - np.log(18) + variance / 2) / np.sqrt(variance)
    assert np.abs(np.cumsum(weights[order]) - ndtr(z))[plausible[order]].max() < 0.05
    effective = 1 / np.square(weights).sum()
    assert effective > 0.1 * plausible.sum()
    assert f"plausible: {plausible.sum()} of 600 candidates" in said.out
    assert f"effective sample size: {effective:.0f}" in said.out
    assert provenance(file)["population_effective"] == pytest.approx(effective)


def test_the_file_is_whole_and_says_what_it_is_of(made):
    _, file = made
    assert studies.here("verify", file).status == 0
    assert sorted(f.name for f in file.parent.iterdir() if f.name.startswith("vp")) == ["vp.h5"]
    noted = provenance(file)
    assert noted["study"] == studies.toml(STUDY)
    targets = json.loads(noted["population_targets"])
    assert [t["name"] for t in targets] == ["platelets", "at_50", "weight"]
    assert all(t["distance"] < 0.05 for t in targets)


def use(made, patients=None, **sections):
    """A study of the population's patients."""
    _, file = made
    base = {name: section for name, section in STUDY.items() if name != "population"}
    return studies.changed(
        base, patients={"cohort": None, "n": None, "table": str(file), **(patients or {})}, **sections
    )


def test_a_sweep_has_the_same_patients_with_their_weights(made, run):
    said, out = run(use(made))
    assert said.status == 0, said.err
    before, after = studies.arrays(made[1]), studies.arrays(out)
    kept = before[WEIGHT] > 0
    np.testing.assert_array_equal(after["patient"], np.flatnonzero(kept))
    np.testing.assert_array_equal(after["day_28"], before["day_28"][:, kept])
    np.testing.assert_allclose(after[WEIGHT], before[WEIGHT][kept], rtol=1e-12)
    share = 100 * np.average(after["at_50"][1], weights=after[WEIGHT])
    assert f"{share:.3g} [" in said.out
    median = np.quantile(after["day_28"][1], 0.5, weights=after[WEIGHT], method="inverted_cdf")
    assert f"{median:.3g} [" in said.out
    assert "effective sample size" in said.out


def test_weights_are_exported(made, run, tmp_path):
    _, out = run(use(made, patients={"n": 50}))
    assert studies.here("export", out, "-o", tmp_path / "t.csv").status == 0
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert len(rows) == 100
    assert sum(float(row[WEIGHT]) for row in rows if row["arm"] == "untreated") == pytest.approx(1)


def test_a_patient_table_may_have_weights(results):
    table = "id,weight,clearance,prevalence_weight\na,70,5,1\nb,80,4,3\nc,60,6,0\n"
    base = {name: section for name, section in STUDY.items() if name != "population"}
    study = studies.changed(base, patients={"cohort": None, "n": None, "table": "patients.csv"})
    found = results(study, table=table)
    np.testing.assert_allclose(found[WEIGHT], [0.25, 0.75, 0.0])


def test_other_targets_need_no_new_run(tmp_path):
    """What cannot be met is named with the nearest that can; the candidates stay, and --resume weighs them again."""
    out = tmp_path / "vp.h5"
    hard = [{"of": "day_28", "arm": "romiplostim", "share": 0.5, "at_least": 2000}, {"of": "weight", "mean": 200}]
    path = studies.write(tmp_path, studies.changed(STUDY, population={"target": hard}))
    said = studies.here("population", path, "-o", out, "--audit", 0)
    studies.assert_refused(said, "population.target[1]", "the nearest share is 0 %", "population.target[2]",
                           "the nearest mean is", "--resume", lines=3)  # fmt: skip
    assert not out.exists()
    assert (tmp_path / "vp.candidates.h5").exists()
    stamp = (tmp_path / "vp.candidates.h5").stat().st_mtime_ns
    path = studies.write(tmp_path, studies.changed(STUDY, population={"target": TARGETS[1:2]}))
    said = studies.here("population", path, "-o", out, "--audit", 0)
    studies.assert_refused(said, "exists already", lines=1)
    assert (tmp_path / "vp.candidates.h5").stat().st_mtime_ns == stamp
    said = studies.here("population", path, "-o", out, "--audit", 0, "--resume")
    assert said.status == 0, said.err
    assert "patients/s" not in said.err
    assert not (tmp_path / "vp.candidates.h5").exists()


@pytest.mark.parametrize(
    ("population", "words"),
    [
        ({"plausible": ["platelets < 1"]}, ("population.plausible", "leaves 0 of", "platelets < 1 excludes")),
        (
            {"target": [{"of": "platelets", "mean": 25, "sd": 2}, {"of": "clearance", "quantiles": [[0.5, 9]]}]},
            ("contradicts",),
        ),
    ],
)
def test_what_no_candidate_can_be_is_named(tmp_path, population, words):
    path = studies.write(tmp_path, studies.changed(STUDY, population=population, patients={"n": 100}))
    said = studies.here("population", path, "-o", tmp_path / "vp.h5", "--audit", 0)
    studies.assert_refused(said, *words, lines=None)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"population": {"target": [{"of": "plateletes", "mean": 3}]}}, ("target[1].of", "did you mean 'platelets'?")),
        ({"population": {"target": [{"of": "at_50", "arm": "romi", "share": 0.5}]}}, ("arm", "did you mean 'romiplostim'?")),
        ({"population": {"target": [{"of": "at_50", "share": 0.5}]}}, ("target[1].arm: is missing",)),
        ({"population": {"target": [{"of": "weight", "share": 0.5}]}}, ("target[1].at_least: is missing",)),
        ({"population": {"target": [{"of": "weight", "mean": 3, "share": 0.5}]}}, ("exactly one of",)),
        ({"population": {"target": []}}, ("population.target: is missing",)),
        ({"population": {"plausible": ["romiplostim: day_29 < 3"]}}, ("plausible[1]", "unknown endpoint", "day_28")),
        ({"population": {"plausible": ["day_28 < 3"]}}, ("plausible[1]", "unknown observable or parameter")),
        ({"population": {"vary": {"clearance": {"low": 0.001, "high": 5}}}}, ("population.vary.clearance", "plausible")),
        ({"population": {"vary": {"clearence": {"low": 1, "high": 5}}}}, ("did you mean 'clearance'?",)),
        ({"population": {"target": [{"of": "weight", "table": "patients.csv", "column": "wt"}]}}, ("column", "weight")),
        ({"axis": [{"name": "w", "parameter": "weight", "values": [60, 70]}]}, ("axis", "does not go with [population]")),
        ({"population": {"target": [{"of": "weight", "edges": [1, 2, 3], "shares": [0.5]}]}}, ("1 shares for 2 bins",)),
    ],
)  # fmt: skip
def test_wrong_populations_are_refused_before_anything_runs(tmp_path, sections, words):
    path = studies.write(tmp_path, studies.changed(STUDY, **sections))
    said = studies.here("population", path, "-o", tmp_path / "vp.h5")
    studies.assert_refused(said, *words, lines=1)
    assert not list(tmp_path.glob("vp*"))


def test_each_command_says_which_is_for_what(tmp_path, made, run):
    said, _ = run(STUDY)
    studies.assert_refused(said, "thrombojax population")
    plain = studies.changed(STUDY, population=None)
    said = studies.here("population", studies.write(tmp_path, plain), "-o", tmp_path / "vp.h5")
    studies.assert_refused(said, "has no [population]")
    said, out = run(plain, "--patients", 10)
    assert said.status == 0, said.err
    said, _ = run({**plain, "patients": {"table": str(out)}})
    studies.assert_refused(said, "is no virtual population")
    said, weighted = run(use(made, patients={"n": 10}))
    assert said.status == 0, said.err
    said, _ = run(use(made, patients={"table": str(weighted.rename(tmp_path / "weighted.h5"))}))
    studies.assert_refused(said, "is no virtual population")
    said, _ = run(use(made, patients={"n": 5000}))
    studies.assert_refused(said, "plausible patients; the study's n asks for 5000")
    said, _ = run(use(made, study={"model": "wang2010"}, arm=ARMS[:1]))
    studies.assert_refused(said, "study.model", "petrov2024")
    said, _ = run(use(made, patients={"trials": 2}))
    studies.assert_refused(said, "does not go with patients who have weights")


def test_patients_who_would_be_others_are_refused(made, run, tmp_path):
    """As after a change of what draws them: the file's parameters are not those that come out now."""
    other = tmp_path / "other.h5"
    other.write_bytes(made[1].read_bytes())
    with h5py.File(other, "r+") as file:
        file["parameters/clearance"][...] *= 1.01
    said, _ = run(use(made, patients={"table": str(other)}))
    studies.assert_refused(said, "other values of clearance", "make it again")


def test_only_what_weighs_is_left_out_of_a_study():
    kept = tomllib.loads(without_targets(studies.toml(STUDY)))
    assert kept == {
        name: section for name, section in tomllib.loads(studies.toml(STUDY)).items() if name != "population"
    }
    wide = studies.toml(STUDY).replace("[[0.25", "[\n[0.25")
    assert tomllib.loads(without_targets(wide)) == kept


def test_a_draw_is_a_run_with_its_factors(results):
    """Dimensions draw and patient; draw k has the numbers of a plain run whose parameters are multiplied by its factors."""
    base = {name: section for name, section in STUDY.items() if name != "population"}
    study = studies.changed(
        base, patients={"n": 12}, uncertainty={"draws": 3, "cv": {"potency": 0.4, "maturation": 0.1}}
    )
    found = results(study)
    assert found["day_28"].shape == (2, 3, 12)
    factors = found["uncertainty/potency.factor"]
    assert len(set(factors)) == 3
    axes = [
        {"name": "a", "parameter": "potency", "scale": True, "values": [float(factors[1])]},
        {
            "name": "b",
            "parameter": "maturation",
            "scale": True,
            "values": [float(found["uncertainty/maturation.factor"][1])],
        },
    ]
    plain = results(studies.changed(base, patients={"n": 12}, axis=axes))
    np.testing.assert_array_equal(found["day_28"][:, 1], plain["day_28"][0, 0])
    np.testing.assert_allclose(found["parameters/potency"], plain["parameters/potency"])


def test_percentiles_of_patients_have_intervals_over_draws(run):
    base = {name: section for name, section in STUDY.items() if name != "population"}
    study = studies.changed(base, patients={"n": 40}, uncertainty={"draws": 9, "cv": {"potency": 0.4}})
    said, out = run(study)
    assert said.status == 0, said.err
    values = studies.arrays(out)["day_28"][1].astype(float)  # [draw, patient]
    for percent in (5, 50, 95):
        low, middle, high = np.percentile(np.percentile(values, percent, axis=1), (5, 50, 95))
        assert f"{middle:.3g} [{low:.3g}, {high:.3g}]" in said.out
    assert studies.here("report", out, "-o", Path(out).with_suffix(".png")).status == 0


PLAIN = {name: section for name, section in STUDY.items() if name != "population"}
OMEGA = "eta.cl,eta.k\neta.cl,0.09,-0.03\neta.k,-0.03,0.04\n".replace("eta.cl,eta.k", ",eta.cl,eta.k", 1)


def test_variation_of_a_fit_takes_the_cohorts_place(results):
    """The file of patients.csv is nlmixr2's omega: 4000 patients have its covariance, whatever the cohort says."""
    omega = {"table": "patients.csv", "names": {"eta.k": "maturation", "eta.cl": "clearance"}}
    found = results(studies.changed(PLAIN, patients={"n": 4000}, omega=omega, arm=ARMS[:1]), table=OMEGA)
    logs = np.log([found["parameters/clearance"], found["parameters/maturation"]])
    np.testing.assert_allclose(np.cov(logs), [[0.09, -0.03], [-0.03, 0.04]], atol=0.006)
    np.testing.assert_allclose(np.exp(logs[0].mean()), 4.8, rtol=0.02)


def test_uncertainty_of_a_fit_has_its_covariance(results, tmp_path):
    """NONMEM's covariance of estimates, made relative by its estimates: 200 draws."""
    (tmp_path / "run.ext").write_text(" ITERATION THETA1 THETA2 OBJ\n -1000000000 4.0 2.0 99.5\n")
    uncertainty = {
        "draws": 200, "covariance": "patients.csv", "estimates": "run.ext",
        "names": {"THETA2": "maturation", "THETA1": "clearance"},
    }  # fmt: skip
    table = "TABLE NO. 1: a method\n NAME THETA1 THETA2\n THETA1 0.16 0.04\n THETA2 0.04 0.04\n"
    found = results(studies.changed(PLAIN, patients={"n": 2}, uncertainty=uncertainty, arm=ARMS[:1]), table=table)
    logs = np.log([found["uncertainty/clearance.factor"], found["uncertainty/maturation.factor"]])
    np.testing.assert_allclose(np.cov(logs), [[0.01, 0.005], [0.005, 0.01]], atol=0.003)
    assert found["day_28"].shape == (1, 200, 2)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"omega": {"table": "patients.csv", "names": {"eta.ka": "clearance"}}}, ("no random effect 'eta.ka'", "did you mean")),
        ({"omega": {"table": "patients.csv", "names": {"eta.k": "clearence"}}}, ("omega.names.eta.k", "'clearance'?")),
        ({"omega": {"table": "omega.csv", "names": {"eta.k": "clearance"}}}, ("omega.table", "there is no file")),
        ({"omega": {"table": "patients.csv", "names": {"eta.k": "clearance", "eta.cl": "clearance"}}}, ("given twice",)),
        ({"uncertainty": {"draws": 3}}, ("needed: cv or covariance",)),
        ({"uncertainty": {"draws": 1, "cv": {"clearance": 0.2}}}, ("uncertainty.draws: given 1",)),
        ({"uncertainty": {"draws": 50, "cv": {"clearance": 4.0}}}, ("draws outside of what is plausible",)),
        ({"uncertainty": {"draws": 3, "cv": {"clearance": 0.2}}, "patients": {"trials": 2}}, ("patients.trials",)),
        ({"uncertainty": {"draws": 3, "covariance": "patients.csv", "names": {"eta.q": "clearance"}}}, ("no estimate 'eta.q'",)),
    ],
)  # fmt: skip
def test_wrong_variation_and_uncertainty_are_refused(run, sections, words):
    said, out = run(studies.changed(PLAIN, **sections), table=OMEGA)
    studies.assert_refused(said, *words)
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cld-procedure", "itp"])
def test_the_shipped_population_matches_its_trials(name, tmp_path):
    """With a fifth of its candidates: every distance below 0.05, more than a tenth of the plausible patients effective."""
    study = studies.REPO / "sweeps" / f"{name}-virtual-population.toml"
    said = studies.here("population", study, "-o", tmp_path / "vp.h5", "--patients", 4000, "--audit", 0)
    assert said.status == 0, said.err
    noted = provenance(tmp_path / "vp.h5")
    assert all(t["distance"] < 0.05 for t in json.loads(noted["population_targets"]))
    assert noted["population_effective"] > 0.1 * noted["population_plausible"]
