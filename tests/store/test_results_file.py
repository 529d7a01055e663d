"""The finished file as its readers see it: xarray, the HDF5 tools, `verify`."""

import shutil
import subprocess

import h5py
import numpy as np
import pytest
from small_work import ARMS, DAYS, DOSES, compute, plain_layout, work

import thrombojax.store as store
from thrombojax.errors import InputError, RunError
from thrombojax.execute import Work, execute

xarray = pytest.importorskip("xarray")
pytest.importorskip("h5netcdf")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "small.h5"
    execute(work(), out)
    return out


@pytest.fixture
def copied(made, tmp_path):
    return shutil.copy(made, tmp_path / "copy.h5")


def test_plain_xarray_sees_names_coordinates_units_and_numbers(made):
    with xarray.open_dataset(made, engine="h5netcdf") as ds:
        assert dict(ds.sizes) == {"dose": 3, "arm": 2, "time": 30, "patient": 100}
        assert ds.nadir.dims == ("dose", "arm", "patient")
        assert ds.platelets.dims == ("dose", "arm", "time", "patient")
        assert ds.arm.values.tolist() == ARMS.tolist()
        np.testing.assert_array_equal(ds.dose, DOSES)
        np.testing.assert_array_equal(ds.time, DAYS)
        assert ds.time.dtype == np.float64
        assert (ds.dose.attrs["units"], ds.time.attrs["units"]) == ("ug/kg", "day")
        assert ds.nadir.attrs["units"] == "1/nL"
        assert ds.nadir.attrs["display_units"] == "10^9/L"
        assert ds.nadir.attrs["long_name"] == "lowest platelet count"
        assert ds.attrs["Conventions"] == "CF-1.11"
        assert ds.attrs["thrombojax_format"] == 1
        assert list(ds.data_vars) == ["nadir", "weeks", "status", "platelets", "response", "doses"]
        for name, array in compute(0, 100).items():
            if name != "kin":
                assert ds[name].dtype == array.dtype
                np.testing.assert_array_equal(ds[name].values, array)


def test_status_carries_cf_flags_in_its_own_type(made):
    with xarray.open_dataset(made, engine="h5netcdf") as ds:
        assert ds.status.dtype == np.uint8
        assert ds.status.attrs["flag_values"].dtype == np.uint8
        assert ds.status.attrs["flag_meanings"] == "ok not_finite"


def test_groups_open_as_a_tree_with_named_dimensions(made):
    with xarray.open_datatree(made, engine="h5netcdf") as tree:
        np.testing.assert_array_equal(tree["parameters"].kin, compute(0, 100)["kin"])
        assert tree["parameters"].kin.dims == ("patient",)
        assert tree["parameters"].kin.attrs["units"] == "1/day"
        noted = tree["provenance"].attrs
        assert noted["study"] == "[study]\nseed = 1\n"
        assert noted["seed"] == 1
        assert noted["kernel_hash"] == "k" * 64
        assert noted["wall_seconds"] > 0
    with store.open(made, group="parameters") as ds:
        np.testing.assert_array_equal(ds.patient, np.arange(100))


def test_open_is_lazy(made):
    with store.open(made) as ds:
        assert not ds.platelets.variable._in_memory
        assert ds.platelets.isel(patient=[3, 99], time=0).shape == (3, 2, 2)


def test_every_number_is_checksummed_and_every_axis_has_its_scale(made):
    with h5py.File(made) as file:
        for name in ("nadir", "weeks", "status", "platelets", "parameters/kin", "response", "patient", "dose"):
            assert file[name].fletcher32, name
        for name in ("nadir", "platelets", "parameters/kin", "response"):
            assert all(len(dim) == 1 for dim in file[name].dims), name
        assert (file["nadir"].compression, file["nadir"].compression_opts, file["nadir"].shuffle) == ("gzip", 1, True)
        assert file["platelets"].compression is None
        assert np.isnan(file["nadir"].attrs["_FillValue"]).all()
        assert h5py.check_string_dtype(file["arm"].dtype)[:] == ("utf-8", None)


@pytest.mark.parametrize("tool", [["h5dump", "-H"], ["h5ls", "-r"]])
def test_the_hdf5_tools_list_it(made, tool):
    if shutil.which(tool[0]) is None:
        pytest.skip(f"{tool[0]} is not installed (apt-get install hdf5-tools)")
    listed = subprocess.run([*tool, str(made)], capture_output=True, text=True, check=True).stdout
    for name in ("nadir", "platelets", "parameters", "patient"):
        assert name in listed


@pytest.mark.parametrize("n", [1, 15, 16, 17])
def test_without_study_axes_and_with_few_patients(tmp_path, n):
    values = np.arange(n, dtype="float32") / 7
    execute(Work(n, plain_layout(n), "k", lambda start, stop: {"auc": values[start:stop]}), tmp_path / "o.h5")
    with store.open(tmp_path / "o.h5") as ds:
        assert ds.auc.dims == ("patient",)
        np.testing.assert_array_equal(ds.auc, values)
    assert store.verify(tmp_path / "o.h5").ok


def test_verify_reads_everything_and_counts_the_status(made):
    report = store.verify(made)
    assert report.ok
    assert "status: 540 ok, 60 not_finite" in report.lines


@pytest.mark.parametrize("name", ["nadir", "platelets", "parameters/kin", "patient"])
def test_verify_finds_one_changed_byte(copied, name):
    with h5py.File(copied) as file:
        at = file[name].id.get_chunk_info(0).byte_offset
    with open(copied, "r+b") as raw:
        raw.seek(at + 8)
        byte = raw.read(1)
        raw.seek(at + 8)
        raw.write(bytes([byte[0] ^ 1]))
    report = store.verify(copied)
    assert not report.ok
    assert any(line.startswith("FAILED") and name in line for line in report.lines)


def test_annotate_adds_to_a_finished_file(copied):
    store.annotate(copied, {"audit_patients": 256, "audit_worst": 1e-5, "audit_note": "x" * 100_000, "none": None})
    noted = store.provenance(copied)
    assert (noted["audit_patients"], noted["audit_worst"], len(noted["audit_note"])) == (256, 1e-5, 100_000)
    assert "none" not in noted
    assert store.verify(copied).ok
    with pytest.raises(InputError, match="no such file"):
        store.annotate(copied.with_name("absent.h5"), {"a": 1})


def write(path, data):
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: (path.unlink(), path.mkdir()), "is a folder"),
        (lambda path: write(path, b"ID,TIME\n1,2\n"), "not an HDF5 file"),
        (lambda path: write(path, b""), "not an HDF5 file"),
        (lambda path: write(path, path.read_bytes()[:-5000]), "truncated"),
        (lambda path: h5py.File(path, "w").close(), "no thrombojax results file"),
    ],
)
def test_what_is_no_results_file_gets_one_clear_message(copied, damage, says):
    damage(copied)
    with pytest.raises(InputError, match=says) as caught:
        store.open(copied)
    assert len(caught.value.problems) == 1


def test_another_format_version_is_named(copied):
    with h5py.File(copied, "r+") as file:
        file.attrs["thrombojax_format"] = 2
    with pytest.raises(InputError, match="format 2; this thrombojax reads format 1"):
        store.open(copied)


def test_without_xarray_the_extra_is_named(made, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "xarray", None)
    with pytest.raises(RunError, match=r"thrombojax\[xarray\]"):
        store.open(made)


def test_zstd_needs_its_plugin_and_says_so_before_computing(tmp_path, monkeypatch):
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: False)
    monkeypatch.setitem(__import__("sys").modules, "hdf5plugin", None)
    with pytest.raises(RunError, match=r"thrombojax\[zstd\]"):
        execute(work(compression="zstd", compute=lambda start, stop: pytest.fail("computed")), tmp_path / "o.h5")
    assert list(tmp_path.iterdir()) == []


def test_zstd_is_read_back(tmp_path):
    pytest.importorskip("hdf5plugin")
    execute(work(compression="zstd"), tmp_path / "o.h5", keep_shards=True)
    with store.open(tmp_path / "o.h5") as ds:
        np.testing.assert_array_equal(ds.platelets, compute(0, 100)["platelets"])
