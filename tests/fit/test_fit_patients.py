"""Individual fits on Wang 2010: against SciPy on a posterior written here, against differences, and against the truth."""

import numpy as np
import pytest
import table
from scipy.optimize import minimize

import thrombojax as tj
from thrombojax.cli import main
from thrombojax.fit import patients, problem
from thrombojax.solve import sensitivities
from thrombojax.study import plan as plans
from thrombojax.study.schema import load

N = 12
MEDIANS = np.array([0.052, 250.0, 253 / 24])[:, None]
WIDTHS = np.array([table.sd(cv) for cv in table.CV.values()])[:, None]


@pytest.fixture(scope="module")
def data():
    return table.counts(N)


@pytest.fixture(scope="module")
def study(tmp_path_factory, data):
    return table.write(tmp_path_factory.mktemp("fit"), data)


@pytest.fixture(scope="module")
def fits(study):
    return tj.fit.individual(study)


def posterior(z, seen):
    """Minus the log posterior of one patient, from the simulator's counts."""
    f = table.simulated(MEDIANS * np.exp(WIDTHS * z[:, None]))[:, 0]
    return 0.5 * np.sum((np.log(seen / f) / table.sd(0.1)) ** 2) + 0.5 * np.sum(z**2)


def test_scipy_finds_the_same_minimum_of_the_same_posterior(fits, data):
    for k in (5,):
        found = minimize(
            posterior, np.zeros(3), (data[:, k],), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-7}
        )
        np.testing.assert_allclose(fits.z[:, k], found.x, atol=3e-3)
        assert fits.objective[k] == pytest.approx(found.fun, abs=1e-4)


def test_what_is_predicted_is_what_the_simulator_says_of_the_estimates(fits):
    np.testing.assert_allclose(fits.predicted, table.simulated(fits.estimate), rtol=1e-7)


def test_tangents_are_those_of_differences(study):
    of = problem.make(plans.make(load(study)))
    rows, z = np.arange(N), 0.3 * np.random.default_rng(1).normal(size=(3, N))
    found = problem.predict(of, z, rows, np.zeros(N))
    for j in range(3):
        h = 1e-4 * np.eye(3)[j][:, None]
        up, down = (table.simulated(MEDIANS * np.exp(WIDTHS * (z + s * h))) for s in (1, -1))
        np.testing.assert_allclose(found.tangents[:, j], (up - down) / 2e-4, rtol=1e-4, atol=1e-3)


def test_without_a_kernel_that_has_tangents_differences_find_the_same(fits, study, monkeypatch):
    monkeypatch.setattr(sensitivities, "machine", lambda *_: None)
    again = tj.fit.individual(study)
    np.testing.assert_allclose(again.z, fits.z, atol=2e-3)
    np.testing.assert_allclose(again.se, fits.se, rtol=1e-3)


def test_everyone_converges_and_the_truth_is_where_intervals_say(fits):
    assert (fits.status == patients.OK).all()
    inside = (fits.low <= table.truth(N)) & (table.truth(N) <= fits.high)
    assert 0.75 <= inside.mean() <= 1.0  # of 36; benchmarks/refit.py measures 2000


def test_a_covariance_is_the_inverse_of_information_and_prior(fits, data):
    k, h = 3, 1e-3
    f = [
        table.simulated(MEDIANS * np.exp(WIDTHS * (fits.z[:, [k]] + s)))
        for s in (h * np.eye(3)[j][:, None] for j in range(3))
    ]
    base = table.simulated(fits.estimate[:, [k]])
    j = np.concatenate([np.log(x / base) / h for x in f], axis=1) / table.sd(0.1)
    np.testing.assert_allclose(fits.covariance[k], np.linalg.inv(j.T @ j + np.eye(3)), rtol=0.02, atol=1e-4)


def test_samples_have_the_posteriors_mean_and_spread(fits):
    drawn = np.log(tj.fit.samples(fits, 4000) / MEDIANS) / WIDTHS
    np.testing.assert_allclose(drawn.mean(0), fits.z, atol=0.06)
    np.testing.assert_allclose(np.cov(drawn[:, :, 2].T), fits.covariance[2], atol=0.05)
    assert np.array_equal(tj.fit.samples(fits, 10), tj.fit.samples(fits, 10))


def test_a_patient_alone_is_fitted_as_among_others(fits, tmp_path, data):
    one = tj.fit.individual(table.write(tmp_path, data[:, [4]]))
    np.testing.assert_allclose(one.z[:, 0], fits.z[:, 4], atol=1e-9)


def test_a_covariate_that_changes_is_followed(tmp_path, data):
    """A weight that does not change after all, written so that it counts as one that does."""
    path = table.write(tmp_path, data[:, :2])
    lines = (tmp_path / "counts.csv").read_text().splitlines()
    heavier = [f"{line},{'70' if not line.startswith('2,40') else '70.001'}" for line in lines[1:]]
    (tmp_path / "counts.csv").write_text("\n".join([lines[0] + ",weight", *heavier]) + "\n")
    changed = tj.fit.individual(path)
    assert changed.posterior.course.clinic is not None
    plain = tj.fit.individual(table.write(tmp_path, data[:, :2]))
    np.testing.assert_allclose(changed.z, plain.z, atol=2e-3)


def test_the_command_writes_a_file_that_opens_and_exports(study, fits, tmp_path, capsys):
    out = tmp_path / "fit.h5"
    assert main(["fit", str(study), "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert "shrinkage" in said
    assert f"{N} patients, {N * len(table.DAYS)} counts" in said
    with tj.open(out) as found:
        np.testing.assert_allclose(found.estimate.sel(parameter="potency"), fits.estimate[0], rtol=1e-9)
        np.testing.assert_allclose(found.shrinkage, fits.shrinkage)
    with tj.open(out, group="posterior") as found:
        np.testing.assert_allclose(np.moveaxis(found.covariance.values, -1, 0), fits.covariance)
    assert main(["export", str(out), "-o", str(tmp_path / "o.csv"), "--observed"]) == 0
    assert len((tmp_path / "o.csv").read_text().splitlines()) == 1 + N * len(table.DAYS)


@pytest.mark.slow
def test_components_of_a_mixture_are_told_apart_and_intervals_cover(tmp_path):
    from benchmarks import refit

    record = refit.measure(tmp_path, 500, 2, seed=2)
    assert 0.85 <= record["coverage_of_90_percent"]["all"] <= 0.95
    study = (tmp_path / "study.toml").read_text().replace("mixtures = []", 'mixtures = ["marrow response"]')
    (tmp_path / "study.toml").write_text(study)
    found = tj.fit.individual(tmp_path / "study.toml", patients=100)
    assert (found.component == 0).mean() > 0.8  # all were made as normal responders
