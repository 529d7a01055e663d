"""The folder of compiled kernels stays small: what was not used for longest goes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from thrombojax.codegen import build, nvrtc

REPO = Path(__file__).parents[2]
TEXT = '__attribute__((visibility("default"))) int answer(void) { return NUMBER; }\n'


@pytest.fixture(autouse=True)
def afresh(monkeypatch, tmp_path):
    """A cache of one's own, and nothing remembered of earlier loads."""
    monkeypatch.setenv("THROMBOJAX_CACHE", str(tmp_path / "cache"))
    build._load.cache_clear()
    yield
    build._load.cache_clear()


def answer(number: int) -> int:
    """By a library that is looked for on the disk."""
    build._load.cache_clear()
    return build.load(TEXT.replace("NUMBER", str(number))).answer()


def kept() -> set[Path]:
    return set(build.folder().iterdir())


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_what_was_not_used_for_longest_goes(monkeypatch):
    libraries = {}
    for number in (1, 2):
        before = kept() if libraries else set()
        assert answer(number) == number
        (libraries[number],) = kept() - before
    age(libraries[1], 200)
    age(libraries[2], 100)
    monkeypatch.setattr(build, "MOST", sum(path.stat().st_size for path in kept()) + 100)
    assert answer(1) == 1  # now the second was not used for longer
    assert answer(3) == 3
    assert libraries[1] in kept()
    assert libraries[2] not in kept()
    assert len(kept()) == 2
    assert answer(2) == 2


def test_what_was_just_made_stays_however_large(monkeypatch):
    monkeypatch.setattr(build, "MOST", 0)
    for number in (1, 2):
        assert answer(number) == number
        (only,) = kept()
        assert build._open(only) is not None


def test_cubins_and_what_a_killed_process_left_count_as_well(monkeypatch, tmp_path):
    folder = tmp_path / "kept"
    (folder / "a folder").mkdir(parents=True)
    for k, name in enumerate(("tmpleft", "old.cubin", "used.cubin", "old.so")):
        (folder / name).write_bytes(bytes(1000))
        age(folder / name, 100 - k)
    nvrtc._keep(bytes(1000), folder / "used.cubin")
    age(folder / "used.cubin", 1000)
    assert nvrtc._open(folder / "used.cubin") == bytes(1000)
    monkeypatch.setattr(build, "MOST", 3500)
    nvrtc._keep(bytes(1000), folder / "new.cubin")
    assert {path.name for path in folder.iterdir()} == {"a folder", "used.cubin", "old.so", "new.cubin"}


def test_a_folder_that_vanishes_is_no_error(tmp_path):
    build.make_room(tmp_path / "nowhere" / "new.so")


def test_processes_that_remove_what_others_just_made():
    code = (
        "import sys, time\nfrom thrombojax.codegen import build\n"
        f"build.MOST, T = 0, {TEXT!r}\n"
        "time.sleep(max(0, float(sys.argv[1]) - time.time()))\n"
        "for k in range(12):\n"
        "    assert build.load(T.replace('NUMBER', str(k % 3))).answer() == k % 3\n"
        "    build._load.cache_clear()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    start = str(time.time() + 2)
    running = [subprocess.Popen([sys.executable, "-c", code, start], env=environment) for _ in range(3)]
    assert [process.wait(timeout=120) for process in running] == [0] * 3
    assert len(kept()) <= 3
