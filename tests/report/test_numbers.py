"""The numbers of a report: percentiles against numpy's, which cells are shown, and how they are written."""

import h5py
import numpy as np
import pytest
from results_file import DOSES, Axis, write

from thrombojax.report import reading, summary
from thrombojax.report.reading import open_results, sample, values
from thrombojax.report.summary import PERCENTS, bands, endpoint_quantiles, merge, number_text, spread, thin, unit_text

FAILED = (3, 70)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "results.h5"
    return write(path, [DOSES], ("placebo", "weekly"), patients=150, days=15, failed=FAILED)


def test_bands_are_numpys_percentiles_of_the_patients_who_did_not_fail(file):
    with open_results(file) as results, h5py.File(file) as raw:
        found = bands(results, results.trajectories[0], [(2, 1)])[0].quantiles
        kept = np.delete(raw["platelets"][2, 1], FAILED, axis=-1)
    np.testing.assert_allclose(found, np.percentile(kept, PERCENTS, axis=-1), rtol=1e-6)


def test_endpoint_percentiles_are_numpys_and_a_day_that_never_came_is_after_all_others(file):
    with open_results(file) as results, h5py.File(file) as raw:
        found = endpoint_quantiles(results, [(2, 1)])[0].quantiles
        names = [variable.name for variable in results.endpoints]
        peak = np.delete(raw["platelet_peak"][2, 1], FAILED).astype(float)
        first = np.delete(raw["first_day_at_50"][2, 1], FAILED).astype(float)
    np.testing.assert_allclose(found[names.index("platelet_peak")], np.percentile(peak, PERCENTS))
    days = found[names.index("first_day_at_50")]
    never = np.isnan(first).mean()
    assert 0.05 < never < 0.95
    for percent, day in zip(PERCENTS, days, strict=True):
        assert np.isinf(day) == (percent / 100 > 1 - never)
        if np.isfinite(day):
            assert abs((np.nan_to_num(first, nan=np.inf) <= day).mean() - percent / 100) < 0.1


def test_a_sample_is_even_bounded_and_read_from_few_chunks(file, monkeypatch):
    monkeypatch.setattr(reading, "MOST_BLOCKS", 2)
    with open_results(file) as results:
        variable = results.endpoints[0]
        chosen = sample(results, variable, 20)
        width = results.file[variable.name].chunks[-1]
        assert len(chosen) == 20
        assert (np.diff(chosen) > 0).all()
        assert len(set(chosen // width)) == 2
        np.testing.assert_array_equal(chosen[[0, -1]], [0, 149])
        whole = results.file[variable.name][2, 1]
        kept = [patient for patient in chosen if patient not in FAILED]
        np.testing.assert_array_equal(values(results, variable, (2, 1), chosen), whole[kept])
        for most in (64, 65, 100, 140, 150, 1000):  # more than so few chunks hold: then more chunks are read
            assert len(set(sample(results, variable, most))) == min(most, 150)


def test_an_arm_that_an_axis_does_not_touch_is_one_cell(file):
    with open_results(file) as results:
        cells = [(dose, arm) for dose in range(6) for arm in range(2)]
        merged = merge(endpoint_quantiles(results, cells))
        assert [s.index for s in merged] == [(None, 0), *((dose, 1) for dose in range(6))]
        assert summary.cell_names(results, (None, 0)) == ("placebo", "any")
        assert summary.cell_title(results, (2, 1)) == "weekly, dose 3 µg/kg"
        assert summary.cell_title(results, (None, 0)) == "placebo"


def test_counts_and_facts_of_a_file(file):
    with open_results(file) as results:
        assert (results.failed, results.total, results.patients) == (24, 1800, 150)
        assert results.title == "How does the platelet response in ITP depend on the weekly romiplostim dose?"
        text = "; ".join(summary.facts_text(results, drawn=True))
    assert "150 patients per cell; 24 of 1800 trajectories failed; float32" in text
    assert "99 % of relative errors below 2.1e-05 in 256 audited patients" in text


def test_a_sample_is_said(file, monkeypatch):
    monkeypatch.setattr(summary, "TRAJECTORY_SAMPLE", 100)
    with open_results(file) as results:
        assert "bands from 100 evenly chosen patients per cell" in summary.facts_text(results, drawn=True)
        assert "not audited" not in summary.facts_text(results, drawn=False)


@pytest.mark.parametrize(
    ("size", "most", "chosen"),
    [
        (4, 8, (0, 1, 2, 3)),
        (10, 6, (0, 3, 6, 9)),
        (11, 6, (0, 2, 4, 6, 8, 10)),
        (5, 1, (2,)),
        (1, 1, (0,)),
        (3, 2, (0, 2)),
    ],
)
def test_a_selection_is_even(size, most, chosen):
    assert spread(size, most) == chosen


@pytest.mark.parametrize("sizes", [(1,), (50, 2), (30, 30, 3), (1000,), (2,) * 10])
def test_thinning_keeps_within_the_limit(sizes):
    chosen = thin(sizes, 24)
    assert np.prod([len(c) for c in chosen]) <= 24
    assert all(min(c) >= 0 and max(c) < size for c, size in zip(chosen, sizes, strict=True))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.976, "0.976"),
        (12.345, "12.3"),
        (149.6, "150"),
        (14573.2, "14600"),
        (20000000.0, "2.00e+07"),
        (2e-05, "2.00e-05"),
        (-3.14159, "-3.14"),
        (np.inf, "never"),
        (np.nan, "-"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        ("10^9/L", "10⁹/L"),
        ("1/nL", "10⁹/L"),
        ("10^9/L day", "10⁹/L day"),
        ("ug/kg", "µg/kg"),
        ("1", ""),
        ("pg/mL", "pg/mL"),
        ("m^-2", "m⁻²"),
        ("week", "week"),
    ],
)
def test_units_are_printed_as_people_write_them(unit, text):
    assert unit_text(unit) == text


def test_an_axis_of_one_value_is_not_named(tmp_path):
    path = write(tmp_path / "one.h5", [Axis("dose", np.array([3.0]), "ug/kg")], patients=20, days=8)
    with open_results(path) as results:
        assert summary.cell_names(results, (0, 0)) == ("weekly",)
        assert summary.cell_title(results, (0, 0)) == "weekly"
