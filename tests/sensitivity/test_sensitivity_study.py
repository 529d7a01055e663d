"""A study of sensitivity from the command line to a file that opens, interrupted and resumed, and what is said of wrong ones."""

import csv
import json
import re
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from sensitivity_studies import STUDY, TITRATED, write

import thrombojax as tj
from thrombojax.cli import main
from thrombojax.sensitivity import analyse, results

KINDS = ("first", "total")
SWEEPS = Path(__file__).parents[2] / "sweeps"


def said(capsys, *words):
    """(exit status, standard output, standard error) of a command."""
    code = main([str(word) for word in words])
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    methods = 'methods = ["sobol", "dgsm", "morris", "prcc", "srrc"]\nsecond_order = true\nbase = 512'
    study = write(folder, ("base = 512", methods))
    found = results.run(study, folder / "s.h5", figure=folder / "s.png")
    return study, folder / "s.h5", found


def test_a_study_ends_with_indices_intervals_and_a_figure(whole):
    _, out, found = whole
    assert not found.interrupted
    assert (out.parent / "s.png").stat().st_size > 20_000
    assert not out.with_name("s.h5.stages").exists()
    assert "bounds by derivatives" in found.summary
    with tj.open(out) as ds:
        assert ds.sobol_total.dims == ("estimator", "arm", "endpoint", "factor")
        assert list(ds.factor.values) == ["dose", "potency", "lifespan"]
        total = ds.sobol_total.sel(estimator="saltelli", arm="fixed", endpoint="drug")
        np.testing.assert_allclose(total[0], 1, atol=0.03)
        np.testing.assert_allclose(total[1:], 0, atol=1e-6)
        assert ds.sobol_second.sel(endpoint="peak", factor="dose", factor_2="potency").size == 1
        assert float(ds.sobol_total_low.sel(estimator="jansen", endpoint="peak", factor="dose").squeeze()) > 0.3
        assert np.isnan(ds.sobol_total_course.sel(time=0)).all()  # the count before any dose is the same
        assert np.isfinite(ds.sobol_total_course.sel(time=[21, 42])).all()
        for name in ("morris_mu_star", "dgsm_bound", "prcc", "srrc"):
            assert np.isfinite(ds[name].sel(endpoint="peak")).all(), name
        assert ds.sobol_missing.sum() == 0
        assert ds.peak.attrs["units"] == "1/nL"


def test_report_and_export_read_it(whole, capsys, tmp_path):
    _, out, _ = whole
    assert said(capsys, "report", out, "-o", tmp_path / "r.svg")[0] == 0
    code, text, _ = said(capsys, "export", out, "-o", tmp_path / "i.csv", "--indices")
    assert code == 0
    with open(tmp_path / "i.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert f"{len(rows)} rows" in text
    with tj.open(out) as ds:
        cell = {"estimator": "janon", "arm": "fixed", "endpoint": "mean", "factor": "potency"}
        row = next(r for r in rows if r["index"] == "sobol_first" and all(r[k] == v for k, v in cell.items()))
        assert float(row["value"]) == float(ds.sobol_first.sel(cell))
        assert float(row["high"]) == float(ds.sobol_first_high.sel(cell))
    assert not any(row["index"].endswith(("_low", "_high")) for row in rows)
    assert said(capsys, "verify", out)[0] == 0


def test_the_same_file_whatever_interrupts_it(whole, tmp_path, capsys, monkeypatch):
    """Stopped after every shard, of smaller blocks."""
    study, out, _ = whole
    monkeypatch.setattr("thrombojax.sensitivity.design.ROWS", 1024)
    code, _, err = said(capsys, "sensitivity", study, "-o", tmp_path / "s.h5", "--stop-after", "0.001s")
    assert code == 1
    assert "interrupted; to go on: thrombojax sensitivity" in err
    times, going = 0, True
    while going and times < 60:
        assert not (tmp_path / "s.h5").exists()
        times += 1
        going = results.run(study, tmp_path / "s.h5", resume=True, stop_after=1e-6).interrupted
    assert 4 < times < 60
    with h5py.File(out) as one, h5py.File(tmp_path / "s.h5") as other:
        for name in one:
            if isinstance(one[name], h5py.Dataset) and one[name].dtype.kind == "f":
                np.testing.assert_allclose(one[name][...], other[name][...], rtol=1e-9, atol=1e-9, err_msg=name)
    code, text, _ = said(capsys, "sensitivity", study, "-o", tmp_path / "s.h5", "--resume")
    assert code == 0
    assert "complete already" in text
    code, _, err = said(capsys, "sensitivity", study, "-o", tmp_path / "s.h5")
    assert (code, "exists already" in err) == (2, True)


def test_shards_of_another_study_are_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("thrombojax.sensitivity.design.ROWS", 64)
    out = tmp_path / "s.h5"
    code, _, _ = said(capsys, "sensitivity", write(tmp_path), "-o", out, "--stop-after", "0.001s")
    assert code == 1
    code, _, err = said(capsys, "sensitivity", write(tmp_path), "-o", out)
    assert (code, "--resume goes on with it" in err) == (2, True)
    other = write(tmp_path, ("high = 4", "high = 5"), name="other.toml")
    code, _, err = said(capsys, "sensitivity", other, "-o", out, "--resume")
    assert code == 2
    assert "Traceback" not in err


def test_chance_is_a_factor_of_a_policy_with_errors(tmp_path):
    found = results.run(write(tmp_path, text=TITRATED), tmp_path / "s.h5")
    assert "others" in found.summary
    with tj.open(tmp_path / "s.h5") as ds:
        assert list(ds.factor.values)[-1] == "others"
        given = ds.sobol_total.sel(estimator="saltelli", arm="rule", endpoint="given")
        assert np.isfinite(given).all()
        assert float(given.sel(factor="others")) > 0.001
        assert np.isnan(ds.factor_value.sel(factor="others")).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([('parameter = "potency"', 'parameter = "potencie"')], ["factor[2].parameter", "potencie", "did you mean"]),
        ([('"range"', '"rang"')], ["factor[3].distribution", "did you mean 'range'"]),
        ([("base = 512", "base = 500")], ["sensitivity.base", "no power of two", "1/sqrt(N)", "512"]),
        ([("replicates = 8", "replicates = 7")], ["sensitivity.base", "no power of two"]),
        ([("cv = 0.4\nlow = 0.015\nhigh = 0.4\n", "cv = 1.5\n")], ["factor[2]", "potency", "plausible: 0.01 to 0.5"]),
        (
            [('distribution = "range"', 'distribution = "uniform"\nlow = 3\nhigh = 30')],
            ["goes from 3 to 30", "7 to 13"],
        ),
        ([("{dose} ug/kg", "1 ug/kg")], ["factor[1]", "in no regimen"]),
        ([('name = "dose"', 'name = "dos"')], ["arm[1].regimen", "dose", "factor"]),
        ([("weekly x 5", "weekly x {dose}")], ["dose", "must be whole"]),
        ([('"log-uniform"', '"whole"')], ["factor[1].low", "0.5", "allowed: a whole number"]),
        ([("cv = 0.4", "cv = 0.4\nsd = 2")], ["factor[2].sd", "does not go with the distribution log-normal"]),
        ([("median = 0.05\n", "")], ["factor[2].median", "is missing"]),
        ([('distribution = "range"', 'distribution = "iiv"')], ["does not say how platelet_lifespan varies"]),
        ([("[patients]", "[patients]\nn = 5")], ["patients.n", "does not go with [sensitivity]"]),
        ([('name = "peak"', 'name = "sobol_first"')], ["endpoint[1].name", "use for themselves"]),
        ([("base = 512", 'methods = ["sobl"]\nbase = 512')], ["sensitivity.methods"]),
        ([("base = 512", 'sampler = "grid"\nbase = 512')], ["sensitivity.sampler", "sobol needs a sample of its own"]),
    ],
)
def test_wrong_input_is_named(changes, words, tmp_path, capsys):
    study = write(tmp_path, *changes)
    code, _, err = said(capsys, "sensitivity", study, "-o", tmp_path / "s.h5", "--stop-after", "0.001s")
    assert code == 2, err
    for word in words:
        assert word in err
    assert "Traceback" not in err
    assert not (tmp_path / "s.h5").exists()


CORRELATED = '\n[[sensitivity.correlation]]\npair = ["potency", "lifespan"]\nr = 0.5\n'


def test_times_are_refused_where_counts_are_followed(tmp_path, capsys):
    arm = '[[arm]]\nname = "fixed"\nregimen = "romiplostim 1 ug/kg sc weekly x 5 from day {start}"\n\n[observation]'
    study = write(tmp_path, ("[observation]", arm), text=TITRATED)
    code, _, err = said(capsys, "sensitivity", study, "-o", tmp_path / "s.h5")
    assert code == 2
    assert "start is more than an amount in the arm 'fixed'" in err


def test_dependent_factors_are_refused_where_shares_mean_nothing(tmp_path, capsys):
    study = write(tmp_path, text=STUDY + CORRELATED)
    code, _, err = said(capsys, "sensitivity", study, "-o", tmp_path / "s.h5")
    assert code == 2
    assert "potency and lifespan depend on each other" in err
    assert "prcc" in err


def test_dependent_factors_of_one_group_and_given_data(tmp_path):
    text = STUDY.replace('name = "potency"', 'name = "potency"\ngroup = "patient"')
    text = text.replace('name = "lifespan"', 'name = "lifespan"\ngroup = "patient"')
    results.run(write(tmp_path, text=text + CORRELATED), tmp_path / "g.h5")
    with tj.open(tmp_path / "g.h5") as ds:
        total = ds.sobol_total.sel(estimator="saltelli", endpoint="peak").squeeze()
        assert np.isfinite(total.sel(factor=["dose", "patient"])).all()
        assert np.isnan(total.sel(factor=["potency", "lifespan"])).all()
    methods = text.replace("base = 512", 'methods = ["prcc", "pawn"]')
    results.run(write(tmp_path, text=methods + CORRELATED, name="p.toml"), tmp_path / "p.h5")
    with tj.open(tmp_path / "p.h5") as ds:
        x = ds.factor_value.sel(factor=["potency", "lifespan"]).values
        assert np.corrcoef(np.argsort(np.argsort(x, axis=1), axis=1))[0, 1] == pytest.approx(0.48, abs=0.12)
        assert np.isfinite(ds.prcc.sel(endpoint="peak", factor="potency")).all()


def test_a_table_and_a_grid_as_samples(tmp_path):
    rows = "\n".join(
        f"{d},{p},{lifespan}" for d, p, lifespan in np.random.default_rng(1).uniform(1, 2, (40, 3)) * [1, 0.04, 6]
    )
    (tmp_path / "x.csv").write_text("dose,potency,lifespan\n" + rows + "\n", encoding="utf-8")
    study = write(tmp_path, ("base = 512", 'methods = ["srrc"]\nsampler = "table"\ntable = "x.csv"'))
    results.run(study, tmp_path / "t.h5")
    with tj.open(tmp_path / "t.h5") as ds:
        assert ds.sizes["patient"] == 40
        assert float(ds.srrc.sel(endpoint="drug", factor="dose").squeeze()) == pytest.approx(1.0)
    study = write(tmp_path, ("base = 512", 'methods = ["prcc"]\nsampler = "grid"'))
    results.run(study, tmp_path / "g.h5")
    with tj.open(tmp_path / "g.h5") as ds:
        assert ds.sizes["patient"] == 4**3
        assert len(np.unique(ds.factor_value.sel(factor="dose"))) == 4


def test_constant_endpoints_are_named_and_the_rest_is_kept(tmp_path, capsys):
    more = '[[endpoint]]\nname = "before"\nreducer = "value_on_day"\nday = 0\n\n[output]'
    code, out, _ = said(capsys, "sensitivity", write(tmp_path, ("[output]", more)), "-o", tmp_path / "s.h5")
    assert code == 1
    assert "constant" in out
    assert "before in arm 'fixed'" in out
    with tj.open(tmp_path / "s.h5") as ds:
        assert np.isnan(ds.sobol_total.sel(endpoint="before")).all()
        assert np.isfinite(ds.sobol_total.sel(endpoint="peak")).all()


def test_all_runs_failed_is_said(tmp_path, capsys, monkeypatch):
    real = analyse.simulator

    def broken(given):
        def simulate(rows):
            y, status = real(given)(rows)
            return type(real(given)(rows))(np.full_like(y, np.nan), np.ones_like(status))

        return simulate

    monkeypatch.setattr(analyse, "simulator", broken)
    code, _, err = said(capsys, "sensitivity", write(tmp_path), "-o", tmp_path / "s.h5")
    assert code == 1
    assert "all 64 runs of the sample failed (64 not finite)" in err
    assert "Traceback" not in err
    assert (tmp_path / "s.h5.stages" / "sample.h5").exists()


def test_omega_blocks_are_correlated_log_normals(tmp_path):
    block = '\n[[sensitivity.omega]]\nfactors = ["potency", "fast"]\nlower = [0.09, 0.03, 0.04]\n'
    more = (
        '\n[[sensitivity.factor]]\nname = "fast"\nparameter = "absorption"\ndistribution = "log-normal"\nmedian = 0.6\n'
    )
    text = (
        STUDY.replace("cv = 0.4\n", "")
        .replace("base = 512", 'methods = ["prcc"]\nsample = 4096')
        .replace("sample = 64\n", "")
    )
    results.run(write(tmp_path, text=text + more + block), tmp_path / "o.h5")
    with tj.open(tmp_path / "o.h5") as ds:
        logs = np.log(ds.factor_value.sel(factor=["potency", "fast"]).values)
        np.testing.assert_allclose(np.cov(logs), [[0.09, 0.03], [0.03, 0.04]], rtol=0.06)


@pytest.mark.parametrize("options", [(), ("--patients", "8")])
def test_a_run_says_what_runs_it(tmp_path, capsys, options):
    code, _, err = said(capsys, "run", write(tmp_path), "-o", tmp_path / "r.h5", *options)
    assert code == 2
    assert "thrombojax sensitivity" in err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["healthy-loop", "itp-response"])
def test_bounds_hold_on_the_studies_that_are_shipped(name, tmp_path):
    """No total is above its bound but for what their intervals allow, and both find the same five factors of an endpoint."""
    text = (SWEEPS / f"{name}-sensitivity.toml").read_text(encoding="utf-8")
    text = re.sub(r"^base = .*$", "base = 4096", text, flags=re.MULTILINE)
    study = tmp_path / "study.toml"
    study.write_text(text, encoding="utf-8")
    results.run(study, tmp_path / "s.h5")
    with tj.open(tmp_path / "s.h5") as ds:
        low, high = (ds[f"sobol_total_{end}"].sel(estimator="saltelli") for end in ("low", "high"))
        bound = ds.dgsm_bound_high
        assert ((low <= bound + 1e-6) | bound.isnull()).all()
        total = ds.sobol_total.sel(estimator="saltelli")
        for end in ds.endpoint.values:
            mine, theirs = (a.sel(endpoint=end).values.ravel() for a in (ds.dgsm_bound, total))
            if np.isfinite(mine).all():
                fifth = np.argsort(-theirs)[4]
                kept = high.sel(endpoint=end).values.ravel()[np.argsort(-mine)[:5]]
                assert np.all(kept >= low.sel(endpoint=end).values.ravel()[fifth]), end


def test_the_rule_for_stopping_in_a_study(tmp_path):
    study = write(tmp_path, ("base = 512", "base = 8192\nwidth = 0.3"))
    results.run(study, tmp_path / "s.h5")
    facts = tj.sensitivity.results.store.provenance(tmp_path / "s.h5")
    assert facts["sensitivity_stopped"] == 1
    assert facts["sensitivity_base"] < 8192
    with tj.open(tmp_path / "s.h5") as ds:
        wide = max(float((ds[f"sobol_{k}_high"] - ds[f"sobol_{k}_low"]).sel(estimator="saltelli").max()) for k in KINDS)
    assert wide <= 0.3


def test_what_would_run_is_said(tmp_path, capsys):
    code, out, _ = said(capsys, "check", write(tmp_path), "--json", "-")
    assert code == 0
    assert json.loads(out)["trajectories"] == 64 + 512 * 5


def test_salib_is_asked_for_by_name_where_it_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "SALib", None)
    study = write(tmp_path, ("base = 512", 'methods = ["pawn"]\nbase = 512'))
    code, _, err = said(capsys, "sensitivity", study, "-o", tmp_path / "s.h5")
    assert code == 1
    assert "pip install 'thrombojax[sensitivity]'" in err


def test_methods_without_sobol_indices(tmp_path, capsys):
    """With errors of measurement, which each method's runs have: effects, ranks, FAST and the figure."""
    methods = 'methods = ["morris", "prcc", "pawn", "rbd-fast", "fast"]\nfrequencies = 65\ntrajectories = 8\nbase = 128'
    study = write(tmp_path, ("base = 128", methods), text=TITRATED)
    code, out, _ = said(capsys, "sensitivity", study, "-o", tmp_path / "s.h5")
    assert code == 0
    assert (tmp_path / "s.png").stat().st_size > 10_000
    assert "morris mu star" in out
    with tj.open(tmp_path / "s.h5") as ds:
        own = ds.sel(factor=["start", "step", "aim"], endpoint="given").squeeze()
        for name in ("morris_mu_star", "prcc", "pawn", "fast_total"):
            assert np.isfinite(own[name]).all(), name
