"""Calibration: against SciPy's least squares on residuals made here, known extremes, and what is refused."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import least_squares

import thrombojax as tj
from thrombojax.cli import main
from thrombojax.fit import calibration, calibration_file, calibration_report, scenarios
from thrombojax.fit.calibration_file import Target

ROOT = Path(__file__).parents[2]
FILE = """
schema = 1
[calibration]
name = "small"
title = "A small one"
base = "2"
starts = 3
[[parameter]]
name = "thrombopoietin.tpo_nonspecific"
[[parameter]]
name = "thrombopoietin.tpo_platelet_share"
scale = "logit"
[[parameter]]
name = "megakaryocytes.stem_tpo_floor"
scale = "linear"
[[parameter]]
name = "megakaryocytes.stem_tpo_max"
[[target]]
name = "aplastic anaemia"
source = "here"
cohort = "aplastic-anaemia"
observable = "tpo"
low = 14
high = 29
[[target]]
name = "ITP"
source = "here"
cohort = "itp"
observable = "tpo"
value = 1.2
sd = 0.1
[[target]]
name = "no TPO"
source = "here"
set = { thrombopoietin.tpo_dose = 1e-9 }
value = 30
sd = 3
"""
FREE = ("thrombopoietin.tpo_nonspecific", "thrombopoietin.tpo_platelet_share", "megakaryocytes.stem_tpo_floor")
RANGES = {"thrombopoietin.tpo_nonspecific": (0.005, 0.06), "thrombopoietin.tpo_platelet_share": (0.4, 0.7),
          "megakaryocytes.stem_tpo_floor": (0.3, 0.8), "megakaryocytes.stem_tpo_max": (1.05, 2.0)}  # fmt: skip


pytestmark = pytest.mark.xdist_group("calibration")  # its fixture takes 40 s: once is enough


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("calibration") / "small.toml"
    path.write_text(FILE)
    return path


@pytest.fixture(scope="module")
def found(file):
    return calibration.calibrate(calibration_file.load(file))


def scales(name):
    forward, back = {
        "thrombopoietin.tpo_platelet_share": (lambda x: np.log(x / (1 - x)), lambda u: 1 / (1 + np.exp(-u))),
        "megakaryocytes.stem_tpo_floor": (lambda x: x, lambda u: u),
    }.get(name, (np.log, np.exp))
    low, high = (forward(x) for x in RANGES[name])
    return 0.5 * (low + high), (high - low) / (2 * 1.959964), back


def values(z):
    return {name: float(back(middle + spread * x)) for name, x in zip(RANGES, z, strict=True)
            for middle, spread, back in [scales(name)]}  # fmt: skip


def seen(z):
    """The three targets by the simulator."""
    changes = values(z)

    def start(cohort, observable, **more):
        people = tj.cohort(cohort, parameter_set="2").typical().replace({**changes, **more})
        out = tj.simulate(people, days=1, observables=(observable,), precision="f64")
        return out.saved[observable][0, 0]

    return np.array(
        [
            start("aplastic-anaemia", "tpo"),
            start("itp", "tpo"),
            start("healthy", "platelets", **{"thrombopoietin.tpo_dose": 1e-9}),
        ]
    )


def residuals(z):
    aa = (np.log(14) + np.log(29)) / 2, (np.log(29) - np.log(14)) / (2 * 1.959964)
    centre, sd = np.array([aa[0], np.log(1.2), np.log(30)]), np.array([aa[1], 0.1 / 1.2, 3 / 30])
    return np.append((np.log(seen(z)) - centre) / sd, z)


@pytest.mark.slow
def test_scipy_finds_the_same_minimum(found):
    best = least_squares(residuals, np.zeros(4), xtol=1e-8)
    np.testing.assert_allclose(found.z, best.x, atol=2e-3)
    assert found.objective == pytest.approx(best.cost, rel=1e-5)
    np.testing.assert_allclose(found.values, list(values(best.x).values()), rtol=1e-3)
    assert found.same == found.starts == 3


@pytest.mark.slow
def test_the_jacobian_is_that_of_differences(found):
    for j in range(4):
        h = 1e-4 * np.eye(4)[j]
        slope = (residuals(found.z + h) - residuals(found.z - h))[:3] / 2e-4
        np.testing.assert_allclose(found.jacobian[:, j], slope, rtol=1e-4, atol=1e-5)


def test_a_cohorts_own_value_is_not_moved(file):
    """Aplastic anaemia has its own gain of CFU-Mk; volunteers have the set's."""
    said = calibration_file.load(file)
    for group in scenarios.groups(said, [("megakaryocytes.cfu_gain_max",)]):
        ((_, live),) = group.live["megakaryocytes.cfu_gain_max"]
        names = [said.targets[i].name for i in group.targets]
        assert live.tolist() == [name != "aplastic anaemia" for name in names]


def test_a_pull_is_what_is_left_when_a_target_is_left_out(file, found):
    """By a calibration without it: one step from the minimum tells direction and size."""
    path = file.parent / "without.toml"
    path.write_text(FILE.replace(FILE[FILE.index('[[target]]\nname = "no TPO"') :], ""))
    without = calibration.calibrate(calibration_file.load(path))
    far = np.abs(found.pull[2]) > 0.02
    assert far.any()
    np.testing.assert_allclose(found.pull[2][far], (found.z - without.z)[far], rtol=0.35)


def test_a_flat_direction_stays_at_its_prior_and_profiles_are_normal_there(found):
    said = calibration_report.record(found)
    stayed = {p["name"]: p["stayed_at_prior"] for p in said["parameters"]}
    assert stayed["megakaryocytes.stem_tpo_max"]
    assert not stayed["thrombopoietin.tpo_nonspecific"]
    middle = found.profile[3][1:3]
    np.testing.assert_allclose(middle, 0.5, atol=0.15)
    # What [uncertainty] reads: of the logarithm of each value, whose ends of 95 % are symmetric there where it is the scale.
    whole = said["covariance_of_logarithms"]
    for k, (p, one) in enumerate(zip(found.parameters, said["parameters"], strict=True)):
        assert whole["names"][k] == one["name"]
        if p.scale == "log":
            wanted = np.log(one["high_95"] / one["low_95"]) / (2 * 1.96)
            np.testing.assert_allclose(np.sqrt(whole["values"][k][k]), wanted, rtol=1e-6)


@pytest.mark.parametrize(("reducer", "sign"), [("peak", 1.0), ("nadir", -1.0)])
def test_an_extreme_between_days_is_found_and_moves_as_it_should(reducer, sign):
    days = np.array([0.0, 1.0, 2.0, 2.5, 3.0, 4.0, 5.0])

    def course(top, when):
        return 10 + sign * (top - 0.7 * (days - when) ** 2)

    y = course(3.0, 2.3)[:, None]
    slopes = np.stack([np.full(7, sign), sign * 1.4 * (days - 2.3)], axis=1)[:, :, None]  # in top, in when
    made = {"name": "x", "source": "y", "value": 1.0, "sd": 1.0, "to": 5.0}
    value, moved = scenarios.reduce(Target(**made, reducer=reducer), days, y, slopes)
    assert value[0] == pytest.approx(10 + sign * 3.0)
    np.testing.assert_allclose(moved[:, 0], [sign, 0.0], atol=1e-12)
    day, moved = scenarios.reduce(Target(**made, reducer=f"{reducer}_day"), days, y, slopes)
    assert day[0] == pytest.approx(2.3)
    np.testing.assert_allclose(moved[:, 0], [0.0, 1.0], atol=1e-12)
    first, moved = scenarios.reduce(Target(**made, day=2.5, ratio=True), days, y, slopes)
    assert first[0] == pytest.approx(y[3, 0] / y[0, 0])
    h = 1e-6
    differs = course(3.0, 2.3 + h)[[3, 0]], course(3.0, 2.3 - h)[[3, 0]]
    np.testing.assert_allclose(
        moved[1, 0], (differs[0][0] / differs[0][1] - differs[1][0] / differs[1][1]) / (2 * h), rtol=1e-6
    )


@pytest.mark.slow
def test_the_command_writes_a_set_that_reads_back(file, tmp_path, capsys):
    out = tmp_path / "9.toml"
    assert main(["calibrate", str(file), "-o", str(out), "--json", str(tmp_path / "r.json")]) == 0
    said = capsys.readouterr().out
    for word in (
        "aplastic anaemia",
        "stayed at the prior: megakaryocytes.stem_tpo_max",
        "3 of 3 starts end here",
        "profiles",
    ):
        assert word in said
    made = tomllib.loads(out.read_text())
    assert made["set"] == {"name": "9", "base": "2", "title": "A small one"}
    entry = made["thrombopoietin"]["tpo_nonspecific"]
    assert entry["kind"] == "FIT"
    assert "calibration small" in entry["source"]
    first = out.read_text()
    assert main(["calibrate", str(file), "-o", str(out)]) == 2  # is there already
    assert main(["calibrate", str(file), "-o", str(out), "--overwrite"]) == 0
    assert out.read_text() == first


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("value = 1.2\nsd = 0.1", "value = 1.2", ["target[2]", "'ITP' has no interval"]),
        ('source = "here"\ncohort = "itp"', 'cohort = "itp"', ["target[2].source", "is missing"]),
        ("low = 14\nhigh = 29", "low = 14", ["'aplastic anaemia' has no interval"]),
        ("low = 14", "low = 34", ["target[1].high"]),
        ("value = 30\nsd", "value = -30\nsd", ["'no TPO' is not more than 0"]),
        ('"thrombopoietin.tpo_nonspecific"', '"tpo_nonspecfic"', ["parameter[1].name", "tpo_nonspecific"]),
        ('cohort = "itp"', 'cohort = "ipt"', ["target[2].cohort", "did you mean 'itp'"]),
        ('observable = "tpo"\nvalue', 'observable = "tpoo"\nvalue', ["target[2].observable", "did you mean 'tpo'"]),
        ('base = "2"', 'base = "7"', ["calibration.base", "unknown parameter set '7'"]),
        ("thrombopoietin.tpo_dose", "thrombopoietin.tpo_doze", ["target[3].set", "tpo_dose"]),
        ('scale = "linear"', 'scale = "linear"\nhigh = 0.4', ["is 0.46 in set 2, outside of 0.3 to 0.4"]),
        ('name = "megakaryocytes.stem_tpo_max"', 'name = "thrombopoietin.ashwell_morell"', ["scale 'log'", "allowed: another"]),
        ("[[target]]\nname = \"ITP\"", "[[target]]\nregimen = \"eltrombopg 3 mg oral once\"\nname = \"ITP\"", ["eltrombopg"]),
    ],
)  # fmt: skip
def test_a_wrong_file_is_named_with_its_key(tmp_path, capsys, old, new, words):
    assert old in FILE
    path = tmp_path / "c.toml"
    path.write_text(FILE.replace(old, new, 1))
    assert main(["calibrate", str(path), "-o", str(tmp_path / "o.toml")]) == 2
    said = capsys.readouterr().err
    for word in words:
        assert word in said, said
    assert not (tmp_path / "o.toml").exists()


def test_a_parameter_that_walks_to_a_bound_is_named(tmp_path, capsys):
    path = tmp_path / "c.toml"
    path.write_text(FILE.replace("value = 1.2\nsd = 0.1", "value = 4.0\nsd = 0.02"))
    assert main(["calibrate", str(path), "-o", str(tmp_path / "o.toml")]) == 1
    said = capsys.readouterr().err
    assert "is held by a bound" in said
    assert "thrombopoietin." in said
    assert not (tmp_path / "o.toml").exists()


def test_a_calibration_that_does_not_converge_says_so(file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(calibration, "MOST", 1)
    assert main(["calibrate", str(file), "-o", str(tmp_path / "o.toml")]) == 1
    assert "did not converge in 1 steps" in capsys.readouterr().err


@pytest.mark.slow
def test_the_shipped_set_comes_out_again(tmp_path):
    out = tmp_path / "3.toml"
    assert main(["calibrate", str(ROOT / "sweeps" / "calibration" / "flagship.toml"), "-o", str(out)]) == 0
    shipped, again = (
        tomllib.loads(path.read_text())
        for path in (ROOT / "thrombojax" / "models" / "feedback" / "sets" / "3.toml", out)
    )
    for group in (name for name in shipped if name != "set"):
        for leaf, entry in shipped[group].items():
            assert again[group][leaf]["value"] == pytest.approx(entry["value"], rel=1e-4)
