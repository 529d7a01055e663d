"""What a run does with an output: starts, refuses, replaces, resumes, reports."""

import json
import shutil
import threading

import numpy as np
import pytest
from small_work import compute, differences, work

import thrombojax.store as store
from thrombojax.errors import InputError, RunError
from thrombojax.execute import execute, prepare


def never(start, stop):
    pytest.fail(f"computed {start}")


def nan(start, stop):
    return {**compute(start, stop), "nadir": compute(start, stop)["nadir"] * np.nan}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def out(tmp_path):
    return tmp_path / "o.h5"


@pytest.fixture
def half(out):
    """Three of seven shards, as after an interruption."""
    assert execute(work(), out, stop_after=0).done == 16
    for _ in range(2):
        outcome = execute(work(), out, resume=True, stop_after=0)
    assert (outcome.interrupted, outcome.reason, outcome.done) == (True, "stop_after", 48)
    return out


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "o.h5"
    execute(work(), path)
    return path


def test_a_run_leaves_one_file_and_says_what_it_did(out):
    seen = []
    outcome = execute(work(), out, progress=seen.append)
    assert names(out.parent) == ["o.h5"]
    assert (outcome.done, outcome.total, outcome.failed) == (100, 100, 60)
    assert (outcome.interrupted, outcome.complete, outcome.virtual) == (False, False, False)
    assert outcome.bytes == out.stat().st_size
    assert [p.done for p in seen] == [16, 32, 48, 64, 80, 96, 100]
    assert seen[-1].failed == 60
    assert seen[-1].eta == 0
    assert all(p.rate > 0 for p in seen)
    assert store.provenance(out)["failed_trajectories"] == 60


def test_shard_size_changes_no_number(out, undisturbed):
    execute(work(shard=100), out)
    with store.open(out) as one, store.open(undisturbed) as other:
        assert one.drop_attrs().identical(other.drop_attrs())


def test_interrupted_and_resumed_gives_the_same_bytes(half, undisturbed):
    assert not half.exists()
    starts = []
    outcome = execute(work(compute=lambda a, b: (starts.append(a), compute(a, b))[1]), half, resume=True)
    assert starts == [48, 64, 80, 96]
    assert (outcome.done, outcome.failed) == (100, 60)
    assert differences(half, undisturbed) == []
    assert names(half.parent) == ["o.h5"]


def test_resume_on_nothing_starts(out, undisturbed):
    execute(work(), out, resume=True)
    assert differences(out, undisturbed) == []


@pytest.mark.parametrize("keep", [False, True])
def test_resume_on_a_finished_file_computes_nothing(out, keep):
    execute(work(), out, keep_shards=keep)
    outcome = execute(work(compute=never), out, resume=True, keep_shards=keep)
    assert outcome.complete
    assert (outcome.done, outcome.failed, outcome.virtual) == (100, 60, keep)


def test_killed_between_the_rename_and_the_tidying_is_finished(half):
    shutil.copytree(half.with_name("o.h5.parts"), half.with_name("saved"))
    execute(work(), half, resume=True)
    shutil.copytree(half.with_name("saved"), half.with_name("o.h5.parts"))
    assert execute(work(compute=never), half, resume=True).complete
    assert names(half.parent) == ["o.h5", "saved"]


def test_an_existing_output_is_refused_before_computing(out):
    out.write_text("mine")
    with pytest.raises(InputError, match=r"--overwrite .*--resume"):
        execute(work(compute=never), out)
    assert out.read_text() == "mine"
    assert names(out.parent) == ["o.h5"]


def test_overwrite_keeps_the_old_file_until_the_new_one_is_whole(out, undisturbed):
    execute(work(compute=nan), out)
    old = out.read_bytes()

    def watched(start, stop):
        assert out.read_bytes() == old
        return compute(start, stop)

    execute(work(compute=watched), out, overwrite=True)
    assert differences(out, undisturbed) == []


def test_an_interrupted_overwrite_leaves_the_old_file_and_resumes(out, undisturbed):
    execute(work(compute=nan), out, keep_shards=True)  # its shards lie in the folder that the new ones use
    assert execute(work(), out, overwrite=True, stop_after=0).interrupted
    assert store.verify(out).ok
    with store.open(out) as ds:
        assert bool(np.isnan(ds.nadir).all())
    outcome = execute(work(), out, resume=True)
    assert not outcome.complete
    assert differences(out, undisturbed) == []
    assert names(out.parent) == ["o.h5"]


def test_leftover_shards_need_a_decision(half):
    with pytest.raises(InputError, match=r"3 finished shards.*--resume.*--overwrite"):
        execute(work(compute=never), half)
    starts = []
    execute(work(compute=lambda a, b: (starts.append(a), compute(a, b))[1]), half, overwrite=True)
    assert starts[0] == 0
    assert names(half.parent) == ["o.h5"]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (work(study="[study]\nseed = 2\n"), r"another study \(was: seed = 1; now: seed = 2\)"),
        (work(n=101), "its patients, arms, axes"),
        (work(shard=32), "its patients, arms, axes"),
        (work(kernel_hash="n" * 64), "computed by kernel kkkkkkkkkkkk, this one is nnnnnnnnnnnn"),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_resume_refuses_another_study_or_kernel(out, changed, says, finished):
    execute(work(), out, stop_after=None if finished else 0)
    with pytest.raises(InputError, match=says) as caught:
        execute(changed, out, resume=True)
    assert len(caught.value.problems) == 1


def test_mixed_kernels_are_noted(half):
    execute(work(kernel_hash="n" * 64), half, resume=True, allow_mixed=True)
    noted = store.provenance(half)
    assert noted["kernel_hash"] == "k" * 64 + " " + "n" * 64
    assert noted["mixed_kernels"] == 1


def test_a_missing_or_changed_shard_is_computed_again(half, undisturbed):
    parts = half.with_name("o.h5.parts")
    shards = sorted(parts.glob("shard-*.h5"))
    shards[0].unlink()
    data = bytearray(shards[1].read_bytes())
    data[len(data) // 2] ^= 1
    shards[1].write_bytes(data)
    starts = []
    execute(work(compute=lambda a, b: (starts.append(a), compute(a, b))[1]), half, resume=True)
    assert starts == [0, 16, 48, 64, 80, 96]
    assert differences(half, undisturbed) == []


@pytest.mark.parametrize("torn", ['{"index": 3, "start": 48, "st', "\0\0\0\0", '{"index": 2\n'])
def test_a_torn_last_line_is_dropped(half, undisturbed, torn):
    manifest = half.with_name("o.h5.parts") / "manifest.jsonl"
    with open(manifest, "a") as file:
        file.write(torn)
    assert execute(work(), half, resume=True, stop_after=0).done == 64
    assert [json.loads(line).get("index") for line in manifest.read_text().splitlines()] == [None, 0, 1, 2, 3]
    execute(work(), half, resume=True)
    assert differences(half, undisturbed) == []


def test_a_manifest_of_another_format_is_refused(half):
    manifest = half.with_name("o.h5.parts") / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(InputError, match="format 2; this thrombojax reads 1"):
        execute(work(compute=never), half, resume=True)


@pytest.mark.parametrize(
    ("prepare_at", "says"),
    [
        (lambda folder: folder / "absent" / "o.h5", "no folder"),
        (lambda folder: folder, "is a folder"),
        (lambda folder: (folder / "o.h5.parts").write_text("") or folder / "o.h5", "in the way"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_computing(tmp_path, prepare_at, says):
    where = prepare_at(tmp_path)
    before = names(tmp_path)
    with pytest.raises(InputError, match=says):
        execute(work(compute=never), where)
    assert names(tmp_path) == before


def test_resume_and_overwrite_exclude_each_other(out):
    with pytest.raises(InputError, match="exclude"):
        execute(work(compute=never), out, resume=True, overwrite=True)


def test_two_runs_do_not_write_the_same_output(out):
    def meddle(start, stop):
        with pytest.raises(InputError, match="another run is writing"):
            execute(work(compute=never), out, resume=True)
        return compute(start, stop)

    execute(work(compute=meddle), out)


def test_a_disk_that_clearly_cannot_hold_it_is_refused_before_computing(out, monkeypatch):
    usage = shutil.disk_usage(out.parent)
    monkeypatch.setattr(prepare.shutil, "disk_usage", lambda path: usage._replace(free=60_000))
    with pytest.raises(RunError, match=r"needs at least .* 60 kB are free"):
        execute(work(compute=never), out)
    assert names(out.parent) == []


def test_a_failing_computation_keeps_what_was_finished(out, undisturbed):
    def failing(start, stop):
        if start == 48:
            raise RunError("no memory on the device")
        return compute(start, stop)

    with pytest.raises(RunError, match="no memory"):
        execute(work(compute=failing), out)
    manifest = store.read_manifest(store.parts_folder(out))
    assert [shard.index for shard in manifest.shards] == [0, 1, 2]
    execute(work(), out, resume=True)
    assert differences(out, undisturbed) == []


def test_failing_at_once_leaves_nothing(out):
    def failing(start, stop):
        raise RunError("no memory on the device")

    with pytest.raises(RunError):
        execute(work(compute=failing), out)
    assert names(out.parent) == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda a, b: {k: v for k, v in compute(a, b).items() if k != "kin"}, "the layout has"),
        (lambda a, b: {**compute(a, b), "kin": np.zeros(3)}, r"kin of shape \(3,\)"),
    ],
)
def test_a_broken_compute_is_a_programming_error(out, wrong, says):
    with pytest.raises(ValueError, match=says):
        execute(work(compute=wrong), out)


def test_it_runs_in_any_thread(out, undisturbed):
    thread = threading.Thread(target=execute, args=(work(), out))
    thread.start()
    thread.join()
    assert differences(out, undisturbed) == []
