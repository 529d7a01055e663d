"""The C compiler and the cache of libraries: what is missing, broken, slow or hostile gives no other numbers."""

import os
import shlex
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import thrombojax as tj
from thrombojax.codegen import build, emit_c
from thrombojax.codegen.build import NoCompiler
from thrombojax.codegen.program import build as trace_program
from thrombojax.endpoints import Endpoint
from thrombojax.errors import RunError
from thrombojax.models import registry
from thrombojax.solve import native
from thrombojax.solve.pieces import Plan, Reduction
from thrombojax.store import provenance

REPO = Path(__file__).parents[2]
TEXT = '__attribute__((visibility("default"))) int answer(void) { return NUMBER; }\n'
STUDY = """schema = 1
study = { name = "tiny", model = "wang2010", seed = 1, days = 2 }
patients = { table = "patients.csv" }
arm = [{ name = "one", regimen = "romiplostim 1 ug/kg sc once" }]
time = { save = 1.0, visits = 1.0 }
output = { trajectories = true, observables = ["platelets"] }
"""


def text(number: int) -> str:
    return TEXT.replace("NUMBER", str(number))


@pytest.fixture(autouse=True)
def afresh(monkeypatch, tmp_path):
    """A cache of one's own, and nothing remembered of earlier loads."""
    monkeypatch.setenv("THROMBOJAX_CACHE", str(tmp_path / "cache"))
    for name in ("THROMBOJAX_CC", "THROMBOJAX_MARCH"):
        monkeypatch.delenv(name, raising=False)
    forget()
    yield
    forget()


def forget() -> None:
    for cached in (build._load, build._version, native.kernel, native.unusable):
        cached.cache_clear()


def kept() -> list[Path]:
    return sorted(build.folder().iterdir()) if build.folder().is_dir() else []


def script(folder: Path, lines: str) -> Path:
    """A compiler of our own."""
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return path


# --- the compiler


@pytest.mark.parametrize(
    "asked", ["nonesuch", "", "  ", "cc '", "cc; touch {here}/x", "$(touch {here}/x)", "`touch {here}/x`"]
)
def test_a_command_that_is_not_there_is_said_in_one_line(monkeypatch, tmp_path, asked):
    asked = asked.replace("{here}", str(tmp_path))
    monkeypatch.setenv("THROMBOJAX_CC", asked)
    with pytest.raises(NoCompiler, match="THROMBOJAX_CC: there is no command") as caught:
        build.load(text(1))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("more", ["; touch {here}/x", "$(touch {here}/x)", "| touch {here}/x", "&& touch {here}/x"])
def test_no_shell_reads_the_compilers_arguments(monkeypatch, tmp_path, more):
    monkeypatch.setenv("THROMBOJAX_CC", "cc " + more.replace("{here}", str(tmp_path)))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NoCompiler):
        build.load(text(1))
    monkeypatch.delenv("THROMBOJAX_CC")
    monkeypatch.setenv("THROMBOJAX_MARCH", "native" + more.replace("{here}", str(tmp_path)))
    with pytest.raises(NoCompiler):
        build.load(text(1))
    assert not (tmp_path / "x").exists()


def test_arguments_of_the_compiler_are_kept_and_make_another_library(monkeypatch):
    with_argument = TEXT.replace("NUMBER", "CHOSEN")
    for chosen in (3, 4):
        monkeypatch.setenv("THROMBOJAX_CC", f"cc '-DCHOSEN={chosen} + 0'")
        assert build.load(with_argument).answer() == chosen
    assert len(kept()) == 2


def test_no_compiler_on_the_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoCompiler, match=r"^there is no C compiler \(cc, gcc or clang; THROMBOJAX_CC names another\)$"):
        build.load(text(1))


BROKEN = {
    "fails": ("echo 'kernel.c:1: error: no more memory' >&2; exit 1", "failed (status 1): kernel.c:1: error: no more memory"),
    "fails at --version": ("exit 3", "--version ended with status 3"),
    "prints rubbish": (r"printf '\377\376\n\033[31mwhat\n'; exit 1", "failed (status 1)"),
    "does nothing": ("exit 0", "failed (status 0): it made no library"),
    "makes rubbish": ('while [ "$1" != -o ]; do shift; done; echo rubbish > "$2"', "made a library that does not load"),
    "is killed": ("kill -9 $$", "failed (status -9)"),
    "is no program": (None, "Exec format error"),
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
def test_a_compiler_that_does_not_work_is_none(monkeypatch, tmp_path, how):
    lines, words = BROKEN[how]
    if lines is None:
        (tmp_path / "compiler").write_bytes(b"\0\1\2")
        (tmp_path / "compiler").chmod(0o755)
    else:
        asks = "" if "--version" in how else 'case "$1" in --version) exit 0;; esac\n'
        script(tmp_path, asks + lines)
    monkeypatch.setenv("THROMBOJAX_CC", shlex.quote(str(tmp_path / "compiler")))
    with pytest.raises(NoCompiler) as caught:
        build.load(text(1))
    said = str(caught.value)
    assert words in said
    assert said.isprintable()
    assert len(said) < 500
    assert kept() == []


@pytest.mark.parametrize("when", ["--version", "compiling"])
def test_a_compiler_that_hangs_is_ended_with_all_it_started(monkeypatch, tmp_path, when):
    monkeypatch.setattr(build, "SECONDS", 0.5)
    asks = 'case "$1" in --version) exit 0;; esac\n' if when == "compiling" else ""
    path = script(tmp_path, f"{asks}sleep 60 & echo $! > {tmp_path}/started\nwait")
    monkeypatch.setenv("THROMBOJAX_CC", str(path))
    began = time.monotonic()
    with pytest.raises(NoCompiler, match=r"took more than 0\.5 s"):
        build.load(text(1))
    assert time.monotonic() - began < 30
    assert ended(int((tmp_path / "started").read_text()))


def ended(process: int) -> bool:
    """Within five seconds; a dead process may wait for init to take it away."""
    status = Path(f"/proc/{process}/status")
    for _ in range(100):
        try:
            if "State:\tZ" in status.read_text():
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_ctrl_c_while_compiling_ends_the_compiler(tmp_path):
    path = script(tmp_path, f'case "$1" in --version) exit 0;; esac\necho $$ > {tmp_path}/started\nexec sleep 60')
    hears = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # also where the tests ignore it
    code = f"{hears}; from thrombojax.codegen import build; build.load({text(1)!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environ(THROMBOJAX_CC=str(path)), stderr=subprocess.PIPE
    )
    for _ in range(6000):
        if (tmp_path / "started").exists() and (tmp_path / "started").read_text():
            break
        time.sleep(0.01)
    time.sleep(0.3)  # until it waits for the compiler
    process.send_signal(2)
    assert b"KeyboardInterrupt" in process.communicate(timeout=30)[1]
    assert ended(int((tmp_path / "started").read_text()))


def environ(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPO), **more}


# --- what a run makes of it


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """The command line on a tiny study, in a process of its own."""
    (folder / "study.toml").write_text(STUDY)
    (folder / "patients.csv").write_text("weight,baseline_platelets\n70,250\n80,100\n")
    words = ["run", "study.toml", "-o", "out.h5", "--audit", "0", "--overwrite"]
    return subprocess.run(
        [sys.executable, "-m", "thrombojax", *words],
        cwd=folder,
        env=environ(**environment),
        capture_output=True,
        text=True,
    )


def test_without_a_compiler_xla_runs_and_one_line_says_so(tmp_path):
    done = run(tmp_path, THROMBOJAX_CC="nonesuch")
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "backend" in line)
    assert line == "thrombojax: backend native: THROMBOJAX_CC: there is no command 'nonesuch'; xla runs instead"
    assert provenance(tmp_path / "out.h5")["backend"] == "xla"
    patients = tj.model("wang2010").patients(weight=[70.0, 80.0], baseline_platelets=[250.0, 100.0])
    ours = tj.simulate(patients, "romiplostim 1 ug/kg sc once", days=2, backend="native")
    with tj.open(tmp_path / "out.h5") as results:
        found = np.asarray(results.platelets).squeeze()
    np.testing.assert_allclose(np.sort(found.ravel()), np.sort(ours.platelets.ravel()), rtol=3e-6)


def test_a_cache_that_others_can_write_ends_the_run(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    done = run(tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert str(tmp_path / "cache") in line
    assert not (tmp_path / "out.h5").exists()


def test_native_without_a_compiler_is_xla_with_a_warning(monkeypatch):
    monkeypatch.setenv("THROMBOJAX_CC", "nonesuch")
    with pytest.warns(RuntimeWarning, match="xla runs instead"):
        tj.simulate(tj.model("wang2010").patients(weight=[70.0]), None, days=1, backend="native")


# --- the cache


def test_what_is_kept_is_for_the_user_alone_whatever_the_mask(tmp_path):
    before = os.umask(0)
    try:
        assert build.load(text(1)).answer() == 1
    finally:
        os.umask(before)
    for path in (tmp_path / "cache", tmp_path / "cache" / "native"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    (library,) = kept()
    assert stat.S_IMODE(library.stat().st_mode) == 0o600


def test_the_same_text_is_compiled_once(monkeypatch):
    assert build.load(text(7)).answer() == 7
    (library,) = kept()
    forget()
    monkeypatch.setattr(build, "_compile", lambda *_: pytest.fail("compiled again"))
    assert build.load(text(7)).answer() == 7
    assert kept() == [library]


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]


DAMAGE = {
    "truncated": truncated,
    "one bit": flipped,
    "empty": lambda data: b"",
    "without its end": lambda data: data[:-1],
    "another file": lambda data: b"#!/bin/sh\n",
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_library_is_made_again(how):
    build.load(text(8))
    (library,) = kept()
    whole = library.read_bytes()
    library.unlink()  # not written over: it is mapped
    library.write_bytes(DAMAGE[how](whole))
    forget()
    assert build.load(text(8)).answer() == 8
    assert kept() == [library]
    assert build._open(library) is not None


@pytest.mark.parametrize("place", ["cache", "cache/native"])
@pytest.mark.parametrize("how", ["group", "others", "symlink", "other owner"])
def test_an_unsafe_cache_is_refused_and_named(monkeypatch, tmp_path, place, how):
    build.load(text(1))
    path = tmp_path / place
    forget()
    if how == "symlink":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    elif how == "other owner":
        monkeypatch.setattr(os, "getuid", lambda: path.stat().st_uid + 1)
        path = tmp_path / "cache"  # the first that is not ours
    else:
        path.chmod({"group": 0o770, "others": 0o707}[how])
    with pytest.raises(RunError, match=f"^{path}: kernels are kept and run from there") as caught:
        build.load(text(1))
    assert not isinstance(caught.value, NoCompiler)


def test_a_folder_above_that_everybody_can_rename_in_is_refused(monkeypatch, tmp_path):
    (tmp_path / "open" / "mine").mkdir(parents=True)
    (tmp_path / "open").chmod(0o777)
    monkeypatch.setenv("THROMBOJAX_CACHE", str(tmp_path / "open" / "mine"))
    with pytest.raises(RunError, match=f"^{tmp_path / 'open'}: "):
        build.load(text(1))
    (tmp_path / "open").chmod(0o1777)  # as /tmp
    assert build.load(text(1)).answer() == 1


def a_file(tmp_path):
    (tmp_path / "cache").write_text("")
    return tmp_path / "cache"


def a_file_inside(tmp_path):
    (tmp_path / "cache").mkdir(mode=0o700)
    (tmp_path / "cache" / "native").write_text("")
    return tmp_path / "cache"


def read_only(tmp_path):
    if os.getuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "cache").mkdir(mode=0o500)
    return tmp_path / "cache"


@pytest.mark.parametrize("where", [a_file, a_file_inside, read_only, lambda tmp_path: Path("/proc/thrombojax")])
def test_without_a_cache_it_compiles_each_time(monkeypatch, tmp_path, where):
    monkeypatch.setenv("THROMBOJAX_CACHE", str(where(tmp_path)))
    assert build.load(text(9)).answer() == 9


def test_a_full_disk_leaves_nothing_behind(monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert build.load(text(10)).answer() == 10
    assert kept() == []


def test_many_processes_at_once(tmp_path):
    """Real processes that want the same libraries at the same time: all get them, and only whole libraries stay."""
    code = (
        "import sys, time\nfrom thrombojax.codegen import build\n"
        f"T = {TEXT!r}\n"
        "time.sleep(max(0, float(sys.argv[1]) - time.time()))\n"
        "for k in range(8):\n    assert build.load(T.replace('NUMBER', str(k))).answer() == k\n"
    )
    start = str(time.time() + 4)
    running = [subprocess.Popen([sys.executable, "-c", code, start], env=environ()) for _ in range(4)]
    assert [process.wait(timeout=120) for process in running] == [0] * 4
    assert len(kept()) == 8
    assert all(path.suffix == ".so" and build._open(path) is not None for path in kept())


def test_no_temporary_files_stay(monkeypatch, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    build.load(text(11))
    with pytest.raises(NoCompiler):
        build.load("this is not C")
    assert list(scratch.iterdir()) == []
    assert [path.suffix for path in kept()] == [".so"]


# --- what reaches the compiler

HOSTILE = 'a"b\'c\n*/ system("touch x"); /* \\ @slope@ %s $(x) `x` ??/'


def test_names_of_a_study_reach_neither_the_text_nor_the_command_line(monkeypatch):
    model = registry.build(registry.Source("wang2010"))

    def source(name: str) -> str:
        plan = Plan((), (Reduction(name, "peak", "platelets", ()),), ("platelets",), (), False)
        return emit_c.source(trace_program(model, plan), "f32")

    assert source(HOSTILE) == source("plain")
    called = []
    true = build._call
    monkeypatch.setattr(build, "_call", lambda words: (called.append(list(words)), true(words))[1])
    patients = tj.model("wang2010").patients(weight=[70.0])
    peak = Endpoint(HOSTILE, "peak")
    result = tj.simulate(patients, None, days=1, endpoints=[peak], backend="native")
    assert result.endpoints[HOSTILE] == pytest.approx(250, rel=1e-5)
    assert called
    assert not [word for words in called for word in words if "system" in word or "\n" in word]
    assert not [path for path in kept() if path.stem.strip("0123456789abcdef")]
