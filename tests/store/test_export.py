import numpy as np
import pytest
from small_work import compute, work

import thrombojax.store as store
from thrombojax.errors import InputError, RunError
from thrombojax.execute import execute

pandas = pytest.importorskip("pandas")
pytest.importorskip("xarray")
pytest.importorskip("h5netcdf")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "small.h5"
    execute(work(), out)
    return out


def expected(made, names, keys):
    with store.open(made) as ds:
        return ds[names].to_dataframe().reset_index().sort_values(keys, ignore_index=True)


def same(table, wanted, keys=()):
    table = table.sort_values(list(keys), ignore_index=True) if keys else table
    for name in wanted.columns:
        if wanted[name].dtype.kind in "OU" or name == "arm":
            assert table[name].tolist() == wanted[name].tolist()
        else:  # float32 text read as float64 gives back the same float32
            np.testing.assert_array_equal(table[name].to_numpy(wanted[name].dtype), wanted[name].to_numpy())


def test_endpoints_are_one_row_per_dose_arm_and_patient(made, tmp_path):
    keys = ["dose", "arm", "patient"]
    assert store.export(made, tmp_path / "t.csv", parameters=True) == 600
    table = pandas.read_csv(tmp_path / "t.csv")
    assert list(table.columns) == ["dose", "arm", "patient", "nadir", "weeks", "status", "kin"]
    same(table, expected(made, ["nadir", "weeks", "status"], keys), keys)
    first = table[(table.dose == 3.0) & (table.arm == "placebo")].sort_values("patient")
    np.testing.assert_array_equal(first.kin, compute(0, 100)["kin"])


def test_a_number_that_is_missing_is_an_empty_cell(made, tmp_path):
    store.export(made, tmp_path / "t.csv")
    rows = (tmp_path / "t.csv").read_text().splitlines()
    assert rows[0] == "dose,arm,patient,nadir,weeks,status"
    assert rows[8] == "1.0,placebo,7,,7,1"


def test_trajectories_are_one_row_per_time_too(made, tmp_path):
    keys = ["dose", "arm", "time", "patient"]
    assert store.export(made, tmp_path / "t.csv", what="trajectories") == 600 * 30
    table = pandas.read_csv(tmp_path / "t.csv")
    assert list(table.columns) == [*keys, "platelets", "status"]
    same(table, expected(made, ["platelets"], keys), keys)


@pytest.mark.parametrize("what", ["endpoints", "trajectories"])
def test_parquet_holds_the_same_table_with_units(made, tmp_path, what):
    parquet = pytest.importorskip("pyarrow.parquet")
    store.export(made, tmp_path / "t.csv", what=what)
    store.export(made, tmp_path / "t.parquet", what=what)
    table, text = parquet.read_table(tmp_path / "t.parquet"), pandas.read_csv(tmp_path / "t.csv")
    assert table.column_names == list(text.columns)
    assert table.schema.field(4 if what == "trajectories" else 3).metadata == {b"units": b"1/nL"}
    same(table.to_pandas(), text.astype(dict(table.to_pandas().dtypes)))


def test_without_pyarrow_the_extra_is_named_and_nothing_is_left(made, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(RunError, match=r"thrombojax\[parquet\]"):
        store.export(made, tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_table_is_only_replaced_when_asked(made, tmp_path):
    out = tmp_path / "t.csv"
    out.write_text("mine")
    with pytest.raises(InputError, match="--overwrite"):
        store.export(made, out)
    assert out.read_text() == "mine"
    assert store.export(made, out, overwrite=True) == 600


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("t.xlsx", {}, r"\.csv or \.parquet"),
        ("absent/t.csv", {}, "no folder"),
        ("t.csv", {"what": "endpoint"}, "did you mean 'endpoints'"),
    ],
)
def test_a_wrong_request_is_refused(made, tmp_path, name, options, says):
    with pytest.raises(InputError, match=says):
        store.export(made, tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []
