"""Tables and pictures of results files, and what a report refuses."""

import importlib.util
import xml.etree.ElementTree as xml

import h5py
import numpy as np
import pytest
from results_file import DOSES, Axis, write

from thrombojax.errors import InputError, RunError
from thrombojax.report import figure, panels, render, table
from thrombojax.report.reading import open_results

WEIGHTS = Axis("weight", np.array([50.0, 70.0, 90.0]), "kg")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write(tmp_path_factory.mktemp("report") / "results.h5", [DOSES], patients=60, days=29)


def test_the_table_of_a_study(file):
    text = table(file)
    lines = text.split("\n")
    assert lines[0].split() == ["dose", "platelet_nadir", "platelet_peak", "first_day_at_50", "time_above_50"]
    assert lines[1].split() == ["µg/kg", "10⁹/L", "10⁹/L", "day"]
    assert [line.split()[0] for line in lines[3:9]] == ["0", "1", "3", "5", "7", "10"]
    assert "never" in lines[3]
    assert "Median [5 %, 95 %] over patients. never: not within the study." in text
    assert "60 patients per cell; 0 of 360 trajectories failed; float32" in text
    assert max(map(len, lines)) <= 100
    with h5py.File(file) as raw:
        peak = np.percentile(raw["platelet_peak"][2, 0].astype(float), (50, 5, 95))
    assert "{:.3g} [{:.3g}, {:.3g}]".format(*peak) in lines[5]


def test_a_wide_table_is_cut_into_blocks_that_name_their_rows(tmp_path):
    path = write(tmp_path / "wide.h5", [DOSES, WEIGHTS], ("placebo", "weekly"), patients=20, days=8)
    text = table(path)
    assert text.count("Difference from placebo") == 1  # a title is above the first block alone
    lines = text.partition("Difference from placebo")[0].split("\n")
    heads = [line for line in lines if line.startswith("arm")]
    assert len(heads) >= 2
    assert all(line.split()[:3] == ["arm", "dose", "weight"] for line in heads)
    assert max(map(len, text.split("\n"))) <= 100
    assert sum(line.startswith("placebo") for line in lines) == len(heads)


def test_a_long_table_says_that_cells_are_left_out(tmp_path):
    doses = Axis("dose", np.linspace(0, 10, 201), "ug/kg")
    path = write(tmp_path / "long.h5", [doses], patients=4, days=3, observables=())
    text = table(path)
    assert "51 of 201 cells are listed" in text


def test_a_cell_where_all_failed_has_no_numbers(tmp_path):
    path = write(tmp_path / "failed.h5", patients=5, days=4, failed=range(5))
    assert table(path).split("\n")[3].split()[1:3] == ["-", "-"]
    render(path, tmp_path / "failed.png")


CASES = {
    "a panel a dose": {"axes": [DOSES], "arms": ("weekly",)},
    "an arm without doses": {"axes": [DOSES], "arms": ("placebo", "weekly"), "observables": ("platelets", "tpo")},
    "a curve a dose": {"axes": [DOSES, WEIGHTS], "arms": ("placebo", "weekly")},
    "many arms": {"arms": tuple(f"arm {i}" for i in range(12))},
    "endpoints against dose": {"axes": [DOSES, WEIGHTS], "observables": ()},
    "endpoints by arm": {"arms": ("placebo", "romiplostim 3 ug/kg"), "observables": ()},
    "trajectories alone": {"axes": [DOSES], "endpoints": False},
    "more observables than fit": {"observables": ("platelets", *(f"observable{i}" for i in range(5)))},
}


@pytest.mark.parametrize("case", CASES)
def test_a_picture_is_drawn(case, tmp_path, monkeypatch):
    monkeypatch.setattr(figure, "DPI", 50)
    path = write(tmp_path / "results.h5", patients=30, days=15, **CASES[case])
    assert render(path, tmp_path / "picture.png") == tmp_path / "picture.png"
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["picture.png", "results.h5"]


def test_an_svg_is_whole_and_the_same_each_time(file, tmp_path):
    for name in ("a.svg", "b.SVG"):
        render(file, tmp_path / name)
    assert xml.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.SVG").read_bytes()


def _texts(path):
    with open_results(path) as results:
        drawn = figure.draw(results)
    axes = [text for ax in drawn.axes for text in (ax.get_title(loc="left"), ax.get_xlabel())]
    return [*(text.get_text() for text in drawn.texts), *axes]


def test_a_picture_says_what_it_shows(file):
    texts = _texts(file)
    assert "How does the platelet response in ITP depend on the weekly romiplostim dose?" in texts
    assert {"platelet count (10⁹/L)", "time (days)", "dose 3 µg/kg", "platelet nadir"} <= set(texts)
    caption = " ".join(texts)
    for part in (
        "60 patients per cell",
        "0 of 360 trajectories failed",
        "float32",
        "99 % of relative errors below 2.1e-05",
    ):
        assert part in caption


def test_many_cells_are_curves_in_one_panel_an_arm(tmp_path):
    doses = Axis("dose", np.arange(1.0, 11.0), "ug/kg")
    path = write(tmp_path / "many.h5", [doses], ("placebo", "weekly"), patients=20, days=8)
    notes = []
    with open_results(path) as results:
        row = panels.trajectory_rows(results, notes)[0]
    assert [panel.title for panel in row.panels] == ["placebo", "weekly"]
    assert [curve.name for curve in row.panels[1].curves] == ["1", "4", "7", "10"]
    assert row.legend == "dose (µg/kg)"
    assert notes == ["a selection of the 20 cells is drawn"]


def test_endpoints_of_a_file_without_trajectories_are_drawn_against_the_dose(tmp_path):
    path = write(tmp_path / "endpoints.h5", [DOSES, WEIGHTS], patients=20, days=8, observables=())
    with open_results(path) as results:
        row = panels.endpoint_rows(results, [])[0]
    assert row.x_label == "dose (µg/kg)"
    assert [panel.title for panel in row.panels][:2] == ["platelet nadir (10⁹/L)", "platelet peak (10⁹/L)"]
    assert [curve.name for curve in row.panels[0].curves] == ["weight 50 kg", "weight 70 kg", "weight 90 kg"]
    np.testing.assert_array_equal(row.panels[0].curves[0].x, DOSES.values)
    assert row.panels[0].curves[0].quantiles.shape == (5, 6)


@pytest.mark.parametrize(("name", "given"), [("out.html", "got '.html'"), ("out", "got no suffix")])
def test_another_suffix_is_refused(file, tmp_path, name, given):
    with pytest.raises(InputError, match=rf"a picture is written as \.png or \.svg, {given}"):
        render(file, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_missing_matplotlib_is_named(file, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"pip install 'thrombojax\[plots\]'"):
        render(file, tmp_path / "out.png")


def test_a_place_that_cannot_be_written_is_refused(file, tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        render(file, tmp_path / "nowhere" / "out.png")
    (tmp_path / "out.png").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        render(file, tmp_path / "out.png")
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]


def test_what_is_no_results_file_is_refused(tmp_path):
    text = tmp_path / "text.h5"
    text.write_text("not HDF5")
    other = tmp_path / "other.h5"
    h5py.File(other, "w").close()
    empty = write(tmp_path / "empty.h5", patients=3, days=3, endpoints=False, observables=())
    for path, message in (
        (tmp_path / "none.h5", "no such file"),
        (text, "is not an HDF5 file"),
        (other, "no thrombojax results file"),
        (empty, "nothing to report"),
    ):
        for report in (table, lambda p: render(p, tmp_path / "out.png")):
            with pytest.raises(InputError, match=message):
                report(path)


def test_a_table_needs_endpoints(tmp_path):
    path = write(tmp_path / "curves.h5", patients=3, days=3, endpoints=False)
    with pytest.raises(InputError, match="holds no endpoints"):
        table(path)


def test_a_damaged_value_is_a_message(tmp_path):
    path = write(tmp_path / "damaged.h5", patients=200, days=20, observables=())
    with h5py.File(path) as file:
        chunk = file["auc"].id.get_chunk_info(0)
    with open(path, "r+b") as raw:
        raw.seek(chunk.byte_offset + chunk.size // 2)
        byte = raw.read(1)
        raw.seek(-1, 1)
        raw.write(bytes([byte[0] ^ 0xFF]))
    with pytest.raises(InputError, match="is damaged"):
        table(path)
