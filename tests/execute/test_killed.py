"""A real process, killed, interrupted or without room on its disk; what it leaves is resumed or says what is wrong."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small_work
from small_work import differences, work

import thrombojax.store as store
from thrombojax.execute import execute

REPO = Path(__file__).parents[2]


def command(*arguments) -> list[str]:
    return [sys.executable, small_work.__file__, *map(str, arguments)]


def start(*arguments) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": f"{REPO}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command(*arguments), env=environment, **pipes)


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    said, complained = process.communicate(timeout=60)
    return process.returncode, said, complained


def wait_for(process: subprocess.Popen, line: str) -> None:
    while said := process.stdout.readline():
        if said.strip() == line:
            return
    pytest.fail(f"ended without saying {line!r}: {process.stderr.read()}")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "o.h5"
    execute(work(), path)
    return path


def test_sigkill_after_shards_then_resume_gives_the_same_bytes(tmp_path, undisturbed):
    out = tmp_path / "o.h5"
    for line in ("computing 32", "computing 64"):
        process = start(out, "--resume", "--delay", 0.1)
        wait_for(process, line)
        process.kill()
        process.communicate()
        assert not out.exists()
    code, said, _ = finish(start(out, "--resume"))
    assert code == 0
    # The shard before the one in hand may have been on its way to the disk: at worst it is computed again.
    assert said.splitlines()[0] in ("computing 48", "computing 32")
    assert differences(out, undisturbed) == []
    assert [path.name for path in tmp_path.iterdir()] == ["o.h5"]


def test_sigkill_at_any_moment_then_resume_gives_the_same_bytes(tmp_path, undisturbed):
    out = tmp_path / "o.h5"
    for attempt in range(6):
        process = start(out, "--resume")
        if not process.stdout.readline().startswith("computing"):
            break  # finished before it could be killed
        time.sleep(0.004 * attempt)
        process.kill()
        process.communicate()
    code, _, complained = finish(start(out, "--resume"))
    assert (code, complained) == (0, "")
    assert differences(out, undisturbed) == []
    assert store.verify(out).ok


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_shard_in_hand(tmp_path, undisturbed, number):
    out = tmp_path / "o.h5"
    process = start(out, "--delay", 0.3)
    wait_for(process, "computing 16")
    process.send_signal(number)
    code, said, complained = finish(process)
    outcome = json.loads(said.splitlines()[-1])
    assert code == 0
    assert (outcome["interrupted"], outcome["reason"], outcome["done"]) == (True, number.name, 32)
    assert f"{number.name}: finishing what is in hand; once more stops at once" in complained
    assert not out.exists()
    assert finish(start(out, "--resume"))[0] == 0
    assert differences(out, undisturbed) == []


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    process = start(tmp_path / "o.h5", "--delay", 30)
    wait_for(process, "computing 0")
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 130
    assert time.monotonic() - began < 10


def test_handlers_are_put_back(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    execute(work(), tmp_path / "o.h5")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def fill(ballast: Path, leave: int) -> None:
    """Fills the disk up to `leave` bytes."""
    stats = os.statvfs(ballast.parent)
    ballast.write_bytes(bytes(stats.f_bavail * stats.f_frsize - leave))


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_keeps_the_finished_shards(small_disk, undisturbed):
    out, ballast = small_disk / "o.h5", small_disk / "ballast"
    process = start(out, "--delay", 0.1)
    wait_for(process, "computing 48")  # two shards are written, the third may be
    fill(ballast, leave=20_000)
    code, _, complained = finish(process)
    assert code == 1
    assert re.search(r"/shard-.*\.h5: cannot be written: No space left on device \(.* free on that disk\)", complained)
    assert re.search(r"finished shards are kept \([23]\): free some space and go on with --resume", complained)
    assert len(complained.splitlines()) == 1
    assert not out.exists()
    ballast.unlink()
    code, said, complained = finish(start(out, "--resume"))
    assert (code, complained) == (0, "")
    assert "computing 0" not in said
    assert differences(out, undisturbed) == []


def test_a_disk_too_small_for_the_final_file_keeps_every_shard(small_disk, undisturbed):
    out, ballast = small_disk / "o.h5", small_disk / "ballast"
    process = start(out, "--delay", 0.2)
    wait_for(process, "computing 96")
    fill(ballast, leave=200_000)
    code, _, complained = finish(process)
    assert code == 1
    assert "no room to put the finished shards together" in complained
    assert not out.exists()
    ballast.unlink()
    code, said, _ = finish(start(out, "--resume"))
    assert code == 0
    assert "computing" not in said
    assert differences(out, undisturbed) == []


def test_an_unwritable_folder_is_refused_before_computing(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    code, said, complained = finish(start(small_disk / "o.h5"))
    assert (code, said) == (2, "")
    assert "no permission to write" in complained
    assert "Traceback" not in complained


@pytest.mark.parametrize("limit", [2000, 40_000, 120_000])
def test_a_write_that_fails_for_real_gives_one_message(tmp_path, limit):
    """Limits on the size of a file fail in the manifest, in a shard, or in the final file."""
    code, _, complained = finish(start(tmp_path / "o.h5", "--limit", limit))
    assert code == 1
    assert "File too large" in complained
    assert len(complained.splitlines()) == 1
    assert not (tmp_path / "o.h5").exists()
    assert not list(tmp_path.rglob("*.tmp"))
    code, _, complained = finish(start(tmp_path / "o.h5", "--resume"))
    assert (code, complained) == (0, "")
