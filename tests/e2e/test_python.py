"""The Python contract of the design, as it is written there; and that importing and simulating change no setting."""

import inspect
import json
import subprocess
import sys

import numpy as np
import pytest
import studies

import thrombojax as tj

SWEEP = studies.REPO / "sweeps" / "itp-romiplostim-dose-response.toml"


@pytest.fixture(scope="module")
def result():
    patients = tj.cohort("itp").sample(50, seed=1)
    regimen = tj.regimen("romiplostim 3 ug/kg sc weekly x 4")
    return tj.simulate(patients, regimen, days=28, save_every=1.0, backend="auto", precision="f32")


def test_platelets_are_time_by_patient(result):
    assert isinstance(result.platelets, np.ndarray)
    assert result.platelets.shape == (29, 50)
    assert result.platelets.dtype == np.float32
    assert not result.status.any()
    assert np.all((result.platelets[0] >= 2.99) & (result.platelets[0] <= 30.1))
    assert np.median(result.platelets.max(0) / result.platelets[0]) > 2
    assert result.parameters["body.weight"].shape == (50,)
    with pytest.raises(AttributeError, match="saved: platelets"):
        _ = result.tpo


def test_as_xarray(result):
    data = result.to_xarray()
    assert data["platelets"].dims == ("time", "patient")
    assert data["platelets"].attrs["units"] == "1/nL"
    assert data["time"].attrs["units"] == "day"
    assert float(data["platelets"].sel(time=28, patient=7)) == float(result.platelets[28, 7])


def test_as_a_tidy_table(result):
    frame = result.to_dataframe()
    assert len(frame) == 29 * 50
    assert {"patient", "time", "platelets"} <= set(frame.columns)
    row = frame[(frame["patient"] == 7) & (frame["time"] == 28)]
    assert row["platelets"].item() == result.platelets[28, 7]


def test_a_larger_sample_begins_with_the_same_patients(result):
    more = tj.simulate(tj.cohort("itp").sample(60, seed=1), "romiplostim 3 ug/kg sc weekly x 4", days=28)
    assert np.array_equal(more.platelets[:, :50], result.platelets)
    other = tj.simulate(tj.cohort("itp").sample(50, seed=2), "romiplostim 3 ug/kg sc weekly x 4", days=28)
    assert not np.intersect1d(other.parameters["body.weight"], result.parameters["body.weight"]).size


def test_a_published_model_by_covariates():
    model = tj.model("wang2010")
    one = model.patients(weight=[80.0], baseline_platelets=[150.0])
    got = tj.simulate(one, "romiplostim 1 ug/kg sc once", days=28)
    assert got.platelets[0, 0] == pytest.approx(150)
    assert got.parameters["weight"].tolist() == [80]
    assert got.parameters["volume"].tolist() == [0.0683]
    assert 300 < got.platelets.max() < 320


def test_run_open_verify_and_export(tmp_path):
    study, out = studies.write(tmp_path, studies.WANG), tmp_path / "out.h5"
    seen = []
    done = tj.run(study, out, audit=0, progress=seen.append)
    assert (done.path, done.interrupted, done.failed, done.patients) == (out, False, 0, 3)
    assert seen[-1].done == 3
    with tj.open(out) as data:
        assert data["highest"].dims == ("arm", "patient")
    assert tj.verify(out).ok
    assert tj.export(out, tmp_path / "out.csv") == 3
    assert tj.check(study)["trajectories"] == 3
    assert {row["model"] for row in tj.info("models")} >= {"feedback", "wang2010"}
    with pytest.raises(tj.InputError, match="exists already"):
        tj.run(study, out)


def test_run_of_the_shipped_sweep_takes_the_design_s_words():
    assert list(inspect.signature(tj.run).parameters)[:2] == ["study_path", "out"]
    assert tj.check(SWEEP)["trajectories"] == 6000


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: tj.cohort("ipt"), "did you mean 'itp'"),
        (lambda: tj.cohort("itp").sample(0), "at least 1"),
        (lambda: tj.regimen("romiplostim 3 ug/kg sc wekly x 4"), "\\^\\^\\^\\^\\^"),
        (lambda: tj.model("wang2001"), "did you mean 'wang2010'"),
        (lambda: tj.model("wang2010").patients(weight=[1.0, 2.0], volume=[1.0]), "lists of different lengths"),
        (lambda: tj.model("wang2010").patients(weight=[float("nan")]), "must be a finite number"),
        (lambda: short("romiplostim 3 ug/kg sc weekly x 4"), "not before the end of the study"),
        (lambda: short("romiplostim 3 mL sc once"), "unknown unit"),
        (lambda: short("eltrombopag 3 mg oral once"), "unknown drug"),
        (lambda: short(days=0), "must be more than 0"),
        (lambda: short(days=float("inf")), "must be more than 0"),
        (lambda: short(save=[9.0]), "between 0 and 7"),
        (lambda: short(save_every=-1.0), "more than 0 days"),
        (lambda: short(observables=["platlets"]), "did you mean 'platelets'"),
        (lambda: short(precision="f16"), "precision"),
        (lambda: short(backend="gpu"), "backend"),
        (lambda: tj.simulate(tj.model("wang2010").patients(wieght=[1.0]), days=7), "did you mean 'weight'"),
    ],
)
def test_wrong_arguments_are_input_errors(call, said):
    with pytest.raises(tj.InputError, match=said):
        call()


def short(regimen=None, **more):
    return tj.simulate(tj.model("wang2010").patients(), regimen, **{"days": 7, **more})


SETTINGS = """
import json, os, sys
import jax
def settings():
    return {name: repr(value) for name, value in jax.config.values.items()}, os.environ.get("XLA_FLAGS")
before = settings()
import thrombojax as tj
import thrombojax.api, thrombojax.simulation, thrombojax.study.plan, thrombojax.solve.engine
for name in tj.__all__:
    getattr(tj, name)
assert settings() == before, "importing"
patients = tj.model("wang2010").patients(weight=[70.0])
wide = tj.simulate(patients, "romiplostim 1 ug/kg sc once", days=14, precision="f64", accuracy=1e-6)
narrow = tj.simulate(patients, "romiplostim 1 ug/kg sc once", days=14, precision="f32")
assert settings() == before, "simulating"
assert not jax.config.jax_enable_x64
print(json.dumps([str(wide.platelets.dtype), wide.platelets[14, 0].item(),
                  str(narrow.platelets.dtype), narrow.platelets[14, 0].item()]))
"""


def test_importing_and_simulating_change_no_setting_of_jax():
    """And float64 is computed where it is asked for, though x64 is off."""
    done = subprocess.run(
        [sys.executable, "-c", SETTINGS], capture_output=True, text=True, env=studies.environ(), timeout=300
    )
    assert done.returncode == 0, done.stderr
    wide, exact, narrow, near = json.loads(done.stdout)
    assert (wide, narrow) == ("float64", "float32")
    assert exact == pytest.approx(410.214671, rel=1e-6)
    assert near == pytest.approx(exact, rel=1e-4)
    assert near != exact
