"""A run that is killed, interrupted or stopped, and goes on: the same bytes in every dataset as an undisturbed one.

Shards are made small by a `thrombojax` of our own that is first on the PATH; all else is the real command in a process
of its own.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import studies
from studies import Said, alone, assert_refused, assert_same_bytes, changed

import thrombojax as tj
from thrombojax.store import parts_folder, read_manifest
from thrombojax.study import file_layout

SHARD, N = 64, 500
TABLE = "weight,baseline_platelets\n" + "".join(f"{50 + i % 60},{100 + i % 300}\n" for i in range(N))
STUDY = changed(studies.WANG)
LAUNCHER = f"""#!{sys.executable}
import sys
from thrombojax.cli import main
from thrombojax.study import file_layout
file_layout.SHARD_PATIENTS = {SHARD}
sys.exit(main())
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A PATH whose `thrombojax` computes shards of SHARD patients."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "thrombojax").write_text(LAUNCHER)
    (folder / "thrombojax").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def sh(path, tmp_path):
    """sh(command) -> how it ended: a line executed by a shell, in the folder of the test."""

    def call(line: str, **environment: str) -> Said:
        done = subprocess.run(
            ["sh", "-c", line],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=studies.environ(PATH=path, **environment),
            timeout=300,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def begin(path, tmp_path):
    """begin(shards, *options) -> a run of study.toml into out.h5 of which at least that many shards are written."""
    running = []

    def call(shards: int, *options: str) -> subprocess.Popen:
        process = subprocess.Popen(
            ["thrombojax", "run", "study.toml", "-o", "out.h5", "--audit", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=studies.environ(PATH=path),
        )
        running.append(process)
        while process.poll() is None and len(written(tmp_path / "out.h5")) < shards:
            time.sleep(0.005)
        assert process.poll() is None, process.communicate()
        return process

    yield call
    for process in running:
        process.kill()
        process.communicate()


def written(out) -> list[int]:
    """Which shards the manifest lists."""
    parts = parts_folder(out)
    manifest = read_manifest(parts) if parts.is_dir() else None
    return [shard.index for shard in manifest.shards] if manifest else []


@pytest.fixture(scope="module")
def undisturbed(path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    studies.write(folder, STUDY, TABLE)
    line = "thrombojax run study.toml -o out.h5 --audit 0"
    subprocess.run(["sh", "-c", line], check=True, cwd=folder, env=studies.environ(PATH=path), capture_output=True)
    return folder / "out.h5"


@pytest.fixture
def study(tmp_path):
    return studies.write(tmp_path, STUDY, TABLE)


@pytest.fixture
def small_shards(monkeypatch):
    """In this process too."""
    monkeypatch.setattr(file_layout, "SHARD_PATIENTS", SHARD)


def resume_command(err: str) -> str:
    (line,) = (line for line in err.splitlines() if line.startswith("interrupted; to go on: "))
    return line.removeprefix("interrupted; to go on: ")


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.usefixtures("small_shards")
def test_killed_again_and_again_it_goes_on_to_the_same_bytes(tmp_path, study, begin, undisturbed):
    out = tmp_path / "out.h5"
    for shards in (1, 4):
        kill(begin(shards, "--resume"))
        assert not out.exists()
        done = written(out)
        assert shards <= len(done) < 8
        assert_refused(studies.here("verify", out), "go on with --resume")
    words = ("run", study, "-o", out, "--audit", 0)
    assert_refused(
        studies.here(*words), f"holds {len(done)} finished shards of an earlier run", "--resume goes on with it"
    )
    said = studies.here(*words, "--resume")
    assert said.status == 0, said.err
    assert_same_bytes(out, undisturbed)
    assert tj.verify(out).ok
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.h5", "patients.csv", "study.toml"]


def test_a_sweep_of_the_feedback_model_is_killed_and_resumed(tmp_path, begin, sh):
    """Patients are drawn, their baselines solved: the same whatever the shard in which it is done again."""
    studies.write(tmp_path, changed(patients={"n": 4 * SHARD - 3}, axis=[{"name": "dose", "values": [3]}]))
    assert sh("thrombojax run study.toml -o undisturbed.h5 --audit 0").status == 0
    kill(begin(1))
    assert sh("thrombojax run study.toml -o out.h5 --audit 0 --resume").status == 0
    assert_same_bytes(tmp_path / "out.h5", tmp_path / "undisturbed.h5")


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_finishes_the_shard_and_prints_what_resumes(tmp_path, study, begin, sh, undisturbed, number):
    out = tmp_path / "out.h5"
    process = begin(1)
    process.send_signal(number)
    said, complained = process.communicate(timeout=120)
    assert (process.returncode, said) == (1, "")
    assert f"{number.name}: finishing what is in hand; once more stops at once" in complained
    assert "Traceback" not in complained
    assert not out.exists()
    assert 1 <= len(written(out)) < 8
    gone_on = sh(resume_command(complained))
    assert gone_on.status == 0, gone_on.err
    assert_same_bytes(out, undisturbed)


def test_stop_after_a_while_and_go_on_until_it_is_done(tmp_path, sh, undisturbed):
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    studies.write(folder, STUDY, TABLE)
    study, out = "'it'\"'\"'s a folder/study.toml'", folder / "out.h5"
    said = sh(f'thrombojax run {study} -o "it\'s a folder/out.h5" --audit 0 --stop-after 0.001s')
    assert (said.status, said.out) == (1, "")
    assert written(out) == [0]
    command = resume_command(said.err)
    assert "--stop-after 0.001s" in command
    said = sh(command)
    assert said.status == 1
    assert written(out) == [0, 1]
    said = sh(command.replace(" --stop-after 0.001s", ""))
    assert said.status == 0, said.err
    assert_same_bytes(out, undisturbed)


@pytest.mark.usefixtures("small_shards")
def test_what_is_complete_is_not_run_again(tmp_path, study, undisturbed):
    out = tmp_path / "out.h5"
    shutil.copy(undisturbed, out)
    before = out.stat()
    assert_refused(studies.here("run", study, "-o", out), "exists already", "--overwrite")
    said = studies.here("run", study, "-o", out, "--audit", 0, "--resume")
    assert said.status == 0, said.err
    assert "was complete already" in said.out
    assert (out.stat().st_mtime_ns, out.stat().st_size) == (before.st_mtime_ns, before.st_size)


@pytest.mark.parametrize(
    ("change", "options", "table", "said"),
    [
        ({"study": {"seed": 2}}, (), TABLE, "was: study.seed = 1; now: study.seed = 2"),
        ({"study": {"days": 29}}, (), TABLE, "was: study.days = 28"),
        ({"endpoint": None}, (), TABLE, "now: nothing"),
        ({}, ("--precision", "f64"), TABLE, "was: study.precision = f32; now: study.precision = f64"),
        ({}, ("--patients", N - 1), TABLE, f"now: patients.n = {N - 1}"),
        ({}, (), TABLE.replace("\n51,", "\n52,", 1), "patients.csv"),
    ],
)
def test_another_study_is_not_resumed(tmp_path, undisturbed, change, options, table, said):
    study, out = studies.write(tmp_path, changed(STUDY, **change), table), tmp_path / "out.h5"
    shutil.copy(undisturbed, out)
    words = ("run", study, "-o", out, "--audit", 0, "--resume", *options)
    assert_refused(studies.here(*words), "out.h5: is of another study", said, "--overwrite starts afresh")
    assert_same_bytes(out, undisturbed)


@pytest.mark.usefixtures("small_shards")
def test_another_kernel_is_refused_unless_mixing_is_allowed(tmp_path, study, sh, undisturbed):
    out = tmp_path / "out.h5"
    sh("thrombojax run study.toml -o out.h5 --audit 0 --stop-after 0.001s")
    assert written(out) == [0]
    shutil.copytree(studies.REPO / "thrombojax", tmp_path / "new" / "thrombojax")
    with open(tmp_path / "new" / "thrombojax" / "solve" / "xla.py", "a") as file:
        file.write("# another kernel, though it computes the same\n")
    resumed = "thrombojax run study.toml -o out.h5 --audit 0 --resume"
    newer = {"PYTHONPATH": str(tmp_path / "new")}
    assert_refused(sh(resumed, **newer), "was computed by kernel", "--allow-mixed goes on all the same")
    assert written(out) == [0]
    said = sh(f"{resumed} --allow-mixed", **newer)
    assert said.status == 0, said.err
    noted = tj.store.provenance(out)
    assert noted["mixed_kernels"]
    assert len(noted["kernel_hash"].split()) == 2
    assert_same_bytes(out, undisturbed)
    refused = studies.here("run", study, "-o", out, "--resume")
    assert_refused(refused, "was computed by kernel", "--allow-mixed keeps it all the same")


@pytest.mark.slow
def test_a_study_large_enough_for_shards_of_its_own(tmp_path):
    """No launcher: as many saved days as make the shards small."""
    table = "weight,baseline_platelets\n" + "".join(f"{50 + i % 60},{100 + i % 300}\n" for i in range(2500))
    arms = [{"name": f"{dose} ug/kg", "regimen": f"romiplostim {dose} ug/kg sc once"} for dose in (1, 2, 3)]
    studies.write(tmp_path, changed(STUDY, study={"days": 56}, arm=arms, time={"save": 0.025}), table)
    words = ("run", "study.toml", "--audit", 0)
    assert alone(*words, "-o", "undisturbed.h5", cwd=tmp_path).status == 0
    out = tmp_path / "out.h5"
    process = subprocess.Popen(
        studies.command(*words, "-o", "out.h5"), cwd=tmp_path, env=studies.environ(), stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not written(out):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert json.loads((parts_folder(out) / "manifest.jsonl").read_text().splitlines()[1])["stop"] == 1024
    assert alone(*words, "-o", "out.h5", "--resume", cwd=tmp_path).status == 0
    assert_same_bytes(out, tmp_path / "undisturbed.h5")
