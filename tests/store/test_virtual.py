"""A master of virtual datasets over kept shards: HDF5 reads NaN where a shard has gone, so reading must refuse."""

import shutil

import h5py
import numpy as np
import pytest
from small_work import compute, differences, work

import thrombojax.store as store
from thrombojax.errors import InputError
from thrombojax.execute import execute

pytest.importorskip("xarray")
pytest.importorskip("h5netcdf")


@pytest.fixture
def master(tmp_path):
    (tmp_path / "here").mkdir()
    out = tmp_path / "here" / "v.h5"
    assert execute(work(), out, keep_shards=True).virtual
    return out


def shards(master):
    return sorted(master.with_name("v.h5.parts").glob("shard-*.h5"))


def test_it_reads_as_one_array(master):
    with h5py.File(master) as file:
        assert file["nadir"].is_virtual
    with store.open(master) as ds:
        for name, array in compute(0, 100).items():
            if name != "kin":
                np.testing.assert_array_equal(ds[name].values, array)
    assert store.verify(master).ok


def test_it_moves_together_with_its_shards(master, tmp_path):
    shutil.move(tmp_path / "here", tmp_path / "there")
    with store.open(tmp_path / "there" / "v.h5") as ds:
        assert int(np.isnan(ds.nadir).sum()) == 60


def test_moved_alone_it_is_refused(master, tmp_path):
    moved = shutil.move(master, tmp_path / "v.h5")
    with pytest.raises(InputError, match="this shard is missing"):
        store.open(moved)
    assert not store.verify(moved).ok


def test_a_shard_of_another_run_is_refused(master, tmp_path):
    execute(
        work(compute=lambda a, b: {**compute(a, b), "weeks": compute(a, b)["weeks"] * 0}),
        tmp_path / "w.h5",
        keep_shards=True,
    )
    other = sorted((tmp_path / "w.h5.parts").glob("shard-*.h5"))[2]
    data = other.read_bytes()
    shards(master)[2].write_bytes(data)
    with pytest.raises(InputError, match=r"not the shard it was|of another run"):
        store.open(master)


def test_verify_finds_a_changed_byte_in_a_shard(master):
    with h5py.File(shards(master)[1]) as file:
        at = file["platelets"].id.get_chunk_info(0).byte_offset
    with open(shards(master)[1], "r+b") as raw:
        raw.seek(at)
        raw.write(b"\xff\xff")
    report = store.verify(master)
    assert any("another checksum" in line for line in report.lines)
    assert any(line.startswith("FAILED platelets") for line in report.lines)


def test_kept_shards_consolidate_into_one_real_file(master, tmp_path):
    execute(work(), tmp_path / "real.h5")
    made = store.consolidate(master.with_name("v.h5.parts"), tmp_path / "later.h5")
    assert not made.virtual
    assert differences(tmp_path / "real.h5", tmp_path / "later.h5") == []
    assert store.verify(master).ok  # its shards were left alone
    with pytest.raises(InputError, match="--overwrite"):
        store.consolidate(master.with_name("v.h5.parts"), tmp_path / "later.h5")


def test_incomplete_or_changed_parts_are_not_consolidated(master, tmp_path):
    parts = master.with_name("v.h5.parts")
    manifest = parts / "manifest.jsonl"
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines[:-2]))
    with pytest.raises(InputError, match="holds 80 of 100 patients"):
        store.consolidate(parts, tmp_path / "later.h5")
    shards(master)[0].write_bytes(b"no")
    with pytest.raises(InputError, match="2 bytes instead of"):
        store.consolidate(parts, tmp_path / "later.h5")
    with pytest.raises(InputError, match="no manifest"):
        store.consolidate(tmp_path, tmp_path / "later.h5")
    assert not (tmp_path / "later.h5").exists()
