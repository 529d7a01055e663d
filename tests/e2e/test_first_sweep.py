"""A small study from the study file to every file that can be made of its results, each command a process of its own."""

import csv
import io
import json
import shutil
import subprocess
import tomllib
import xml.etree.ElementTree

import numpy as np
import pytest
import studies
from studies import alone, changed

import thrombojax as tj

N = 300
STUDY = changed(patients={"n": N})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("first sweep")


@pytest.fixture(scope="module")
def study(folder):
    return studies.write(folder, STUDY)


@pytest.fixture(scope="module")
def ran(folder, study):
    return alone("run", study, "-o", "out.h5", "--audit", 0, cwd=folder)


@pytest.fixture(scope="module")
def out(folder, ran):
    assert ran.status == 0, ran.err
    return folder / "out.h5"


def test_the_run_ends_well_and_says_where_its_results_are(ran, out):
    assert "Traceback" not in ran.err
    assert "300/300 patients (100 %)" in ran.err
    assert ran.out.startswith("results: out.h5\n")
    assert "0 of 1200 trajectories failed" in ran.out
    assert not (out.parent / "out.h5.parts").exists()


def test_xarray_opens_it_with_names_coordinates_and_units(out):
    import xarray

    with xarray.open_dataset(out, engine="h5netcdf") as data:
        assert dict(data.sizes) == {"dose": 2, "arm": 2, "time": studies.DAYS + 1, "patient": N}
        assert data["dose"].values.tolist() == [1.0, 5.0]
        assert data["dose"].attrs["units"] == "ug/kg"
        assert data["arm"].values.tolist() == ["untreated", "romiplostim"]
        assert data["time"].values.tolist() == list(range(studies.DAYS + 1))
        assert data["time"].attrs["units"] == "day"
        assert data["platelets"].dims == ("dose", "arm", "time", "patient")
        assert data["platelets"].attrs["units"] == "1/nL"
        assert data["tpo"].attrs["units"]
        for name in (e["reducer"] for e in studies.ENDPOINTS):
            endpoint = data[f"the_{name}"]
            assert endpoint.dims == ("dose", "arm", "patient")
            assert endpoint.attrs["units"]
            assert endpoint.attrs["long_name"]
        assert data["the_cumulative_dose"].attrs["units"] == "ug"
        assert data["the_peak_day"].attrs["units"] == "day"
        assert data["status"].attrs["flag_meanings"].split()[0] == "ok"
        assert data.attrs["Conventions"].startswith("CF-")
        treated = data.sel(arm="romiplostim", dose=5)
        assert float(treated["the_peak"].median()) > 2 * float(data.sel(arm="untreated", dose=5)["the_peak"].median())


def test_what_is_reduced_is_what_is_saved(out):
    with tj.open(out) as data:
        saved = data["platelets"].values
        assert np.allclose(data["the_value_on_day"], saved[:, :, 14], rtol=1e-6)
        assert np.all(data["the_peak"].values >= saved.max(2) * (1 - 1e-6))
        assert np.all(data["the_nadir"].values <= saved.min(2) * (1 + 1e-6))
        visits = saved[:, :, ::7]
        assert np.array_equal(data["the_weeks_of_response"], (visits >= 50).sum(2))
        assert np.allclose(data["the_response_share"], (visits >= 50).mean(2), rtol=1e-6)
        assert np.allclose(data["the_auc"] / studies.DAYS, data["the_mean"], rtol=1e-6)
        trapezoid = (saved[:, :, 1:] + saved[:, :, :-1]).sum(2) / 2
        assert np.allclose(data["the_auc"], trapezoid, rtol=0.02)
        first = data["the_first_day_at_or_above"].values
        assert np.array_equal(np.isnan(first), data["the_peak"].values < 50)
        band = data["the_fraction_in_band"].values
        assert np.all((band >= 0) & (band <= 1))
        dose = data["the_cumulative_dose"].sel(arm="romiplostim")
        with tj.open(out, group="parameters") as parameters:
            weight = parameters["body.weight"].values
        assert np.allclose(dose, 4 * np.outer(data["dose"], weight), rtol=1e-5)
        assert not data["the_cumulative_dose"].sel(arm="untreated").any()


def test_an_audit_is_made_up_for_and_its_tree_holds_parameters_and_provenance(folder, out, study):
    """A run that is killed while it audits is complete but for that."""
    import xarray

    before = studies.chunks(out)
    said = alone("run", study, "-o", "out.h5", "--audit", 8, "--resume", cwd=folder)
    assert said.status == 0, said.err
    assert said.out.startswith("results: out.h5 (was complete already)\n")
    assert "audit: 8 trajectories solved again" in said.out
    assert studies.chunks(out) == before

    with xarray.open_datatree(out, engine="h5netcdf") as tree:
        assert set(tree.children) == {"parameters", "provenance"}
        parameters = tree["parameters"]
        assert parameters["body.weight"].dims == ("patient",)
        assert parameters["body.weight"].attrs["units"] == "kg"
        noted = tree["provenance"].attrs
    assert tomllib.loads(noted["study"])["arm"][1]["name"] == "romiplostim"
    for name in ("seed", "model", "precision", "backend", "device", "versions", "kernel_hash", "commit", "wall_time_s"):
        assert name in noted
    assert noted["audit_patients"] == 8
    assert 0 < noted["audit_max_relative_error"] < 1e-3


@pytest.mark.skipif(shutil.which("h5dump") is None, reason="hdf5-tools are not installed")
def test_h5dump_lists_it(out):
    done = subprocess.run(["h5dump", "-H", str(out)], capture_output=True, text=True, timeout=60, check=True)
    for name in ("platelets", "the_nadir", "status", "dose", "arm", "time", "patient", "body.weight"):
        assert f'DATASET "{name}"' in done.stdout
    assert 'GROUP "provenance"' in done.stdout
    data = subprocess.run(["h5dump", "-d", "/dose", str(out)], capture_output=True, text=True, timeout=60, check=True)
    assert "(0): 1, 5" in data.stdout


def test_verify_reads_all_of_it(folder, out):
    said = alone("verify", out, cwd=folder)
    assert said.status == 0
    assert "FAILED" not in said.out
    assert "status: 1200 ok" in said.out


def test_export_makes_a_table_that_other_tools_read(folder, out):
    said = alone("export", out, "-o", "out.csv", "--parameters", cwd=folder)
    assert (said.status, said.out) == (0, "out.csv: 1200 rows\n")
    rows = list(csv.DictReader(io.StringIO((folder / "out.csv").read_text())))
    with tj.open(out) as data:
        for row in (rows[0], rows[617], rows[-1]):
            cell = data.sel(dose=float(row["dose"]), arm=row["arm"], patient=int(row["patient"]))
            for name in (e["reducer"] for e in studies.ENDPOINTS):
                said_here, there = row[f"the_{name}"], float(cell[f"the_{name}"])
                assert said_here == "" if np.isnan(there) else np.float32(said_here) == np.float32(there)
    assert all(float(row["body.weight"]) >= 40 for row in rows)
    pandas = pytest.importorskip("pandas")
    assert len(pandas.read_csv(folder / "out.csv")) == 1200


def test_trajectories_are_exported_too(folder, out):
    said = alone("export", out, "-o", "long.csv", "--trajectories", cwd=folder)
    assert (said.status, said.out) == (0, f"long.csv: {1200 * (studies.DAYS + 1)} rows\n")


def test_export_to_parquet(folder, out):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert alone("export", out, "-o", "out.parquet", cwd=folder).status == 0
    table = parquet.read_table(folder / "out.parquet")
    assert table.num_rows == 1200
    assert table.column("arm").to_pylist()[0] == "untreated"


def test_parquet_without_pyarrow_says_what_to_install(folder, out):
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        said = alone("export", out, "-o", "none.parquet", cwd=folder)
        studies.assert_refused(said, "pip install 'thrombojax[parquet]'", status=1)
        assert not (folder / "none.parquet").exists()


@pytest.mark.parametrize("suffix", ["png", pytest.param("svg", marks=pytest.mark.slow)])
def test_report_draws_it(folder, out, suffix):
    pytest.importorskip("matplotlib")
    picture = folder / f"report.{suffix}"
    said = alone("report", out, "-o", picture, cwd=folder)
    assert (said.status, said.out) == (0, f"{picture}\n")
    if suffix == "svg":
        root = xml.etree.ElementTree.parse(picture).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert len(root.findall(".//{http://www.w3.org/2000/svg}path")) > 20
        return
    from PIL import Image

    with Image.open(picture) as image:
        image.load()
        colours = image.convert("RGB").getcolors(2**24)
        assert min(image.size) > 300
        assert len(colours) > 20


def test_check_agrees_with_what_the_run_did(folder, study, out):
    said = alone("check", study, "--json", "check.json", cwd=folder)
    assert said.status == 0
    assert "trajectories  1200" in said.out
    planned = json.loads((folder / "check.json").read_text())
    assert list(planned) == [
        *("patients", "arms", "segments", "trajectories", "bytes_on_disk", "peak_memory_bytes", "seconds")
    ]
    with tj.open(out) as data:
        assert planned["patients"] == data.sizes["patient"]
        assert planned["arms"] == data.sizes["arm"] * data.sizes["dose"]
        assert planned["trajectories"] == data["status"].size
        assert planned["segments"] >= data.sizes["time"] - 1
        bytes_of_arrays = sum(variable.nbytes for variable in data.data_vars.values())
    # Trajectories are stored as they are; axes, parameters and what HDF5 needs come on top, endpoints are packed.
    assert bytes_of_arrays <= planned["bytes_on_disk"] <= 1.1 * bytes_of_arrays
    assert 0.5 * planned["bytes_on_disk"] < out.stat().st_size < 1.5 * planned["bytes_on_disk"]
    assert 2**28 < planned["peak_memory_bytes"] < 2**32
    assert planned["seconds"] > 0


@pytest.mark.parametrize(
    ("topic", "keys"),
    [
        ("parameters", {"model", "name", "value", "unit", "low", "high", "source", "flags"}),
        ("models", {"model", "title", "states", "parameters"}),
        ("cohorts", {"cohort", "model"}),
        ("drugs", {"drug", "route", "unit", "model"}),
        ("endpoints", {"reducer", "numbers", "meaning"}),
        ("observables", {"model", "name", "unit"}),
        ("devices", {"device", "platform"}),
    ],
)
def test_info_lists_what_there_is(tmp_path, topic, keys):
    file = tmp_path / "info.json"
    said = studies.here("info", topic, "--json", file)
    rows = json.loads(file.read_text())
    assert said.status == 0
    assert rows
    assert all(keys <= row.keys() for row in rows)
    assert len(said.out.splitlines()) == len(rows) + 1


def test_info_of_one_model(tmp_path):
    rows = json.loads(studies.here("info", "parameters", "--model", "wang2010", "--json", "-").out)
    assert {row["model"] for row in rows} == {"wang2010"}
    assert {"weight", "baseline_platelets"} <= {row["name"] for row in rows}
    studies.assert_refused(studies.here("info", "parameters", "--model", "wang2011"), "did you mean 'wang2010'")
