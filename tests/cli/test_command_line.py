"""The command line: exit status, messages without tracebacks, what is printed where, and a light start."""

import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

import thrombojax
from thrombojax.cli import main
from thrombojax.cli.starting import resume_command
from thrombojax.errors import InputError, Problem, RunError

STUDY = """
schema = 1
[study]
name = "a"
days = 28
precision = "f64"
[patients]
cohort = "itp"
n = 10
[[arm]]
name = "romiplostim"
regimen = "romiplostim 3 ug/kg sc weekly x 4"
[[endpoint]]
name = "low"
reducer = "nadir"
"""


@pytest.fixture
def study(tmp_path) -> str:
    (tmp_path / "my study.toml").write_text(STUDY)
    return str(tmp_path / "my study.toml")


@pytest.fixture
def fake(monkeypatch):
    """Stands for the parts that need JAX: records what they are called with."""
    calls = []
    outcome = types.SimpleNamespace(interrupted=False, summary="out.h5\nlow 12 [5, 30]\naudit 1e-5")

    def run(study_path, out, *, progress, **options):
        calls.append(("run", str(study_path), str(out), options))
        for done in (5, 10):
            progress(types.SimpleNamespace(done=done, total=10, failed=0, rate=100.0, eta=0.05))
        if isinstance(outcome.summary, BaseException):
            raise outcome.summary
        return outcome

    def check(study_path, **options):
        calls.append(("check", str(study_path), options))
        names = ("patients", "arms", "segments", "trajectories", "bytes_on_disk", "peak_memory_bytes", "seconds")
        return dict(zip(names, (10, 1, 56, 10, 12_345, 2e9, 75.0), strict=True))

    def prepare(precision, threads=None):
        calls.append(("prepare", precision))

    for name, module in (
        ("api", types.SimpleNamespace(run=run, check=check)),
        ("process", types.SimpleNamespace(prepare=prepare)),
    ):
        monkeypatch.setitem(sys.modules, f"thrombojax.{name}", module)
        monkeypatch.setattr(thrombojax, name, module, raising=False)
    return types.SimpleNamespace(calls=calls, outcome=outcome)


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-m", "thrombojax", *words],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, **environment},
        timeout=60,
    )


# ---- wrong input, in a process of its own ----


def test_a_bad_study_gives_all_its_messages_and_status_2(study):
    Path(study).write_text(STUDY.replace("weekly", "wekly").replace("days = 28", "dys = 28"))
    done = command("run", study, "-o", "out.h5")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "study.dys: unknown key 'dys'" in done.stderr
    assert "^^^^^" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "none.toml", "-o", "x.h5"], "none.toml: cannot be read: No such file"),
        (["run", "none.toml"], "Missing option '-o'"),
        (["run"], "Missing argument 'STUDY.toml'"),
        (["rn"], "No such command 'rn'"),
        (["run", "s.toml", "-o", "x.h5", "--resume", "--overwrite"], "exclude each other"),
        (["run", "s.toml", "-o", "x.h5", "--stop-after", "3x"], "'3x' is not a duration; allowed: 30s, 20m, 3h"),
        (["run", "s.toml", "-o", "x.h5", "--workers", "many"], "'many' is neither a number nor an address"),
        (
            ["run", "s.toml", "-o", "x.h5", "--backend", "gpu"],
            "'gpu' is not one of 'auto', 'xla', 'native', 'cuda', 'reference'",
        ),
        (["run", "s.toml", "-o", "x.h5", "--patients", "0"], "--patients"),
        (["run", "s.toml", "-o", "x.h5", "--audit", "-1"], "--audit"),
        (["info", "everything"], "'everything' is not one of 'devices', 'models'"),
        (["verify", "none.h5"], "none.h5: no such file"),
        (["export", "none.h5", "-o", "x.csv"], "none.h5"),
        (["consolidate", "none.parts", "-o", "x.h5"], "none.parts"),
        (["report", "none.h5", "-o", "x.png"], "none.h5"),
    ],
)
def test_wrong_words_have_status_2(words, said, capsys):
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in " ".join(printed.err.split())


def test_help_and_bad_studies_start_without_jax(study):
    Path(study).write_text("schema = 1")
    code = f"""
import sys
from thrombojax.cli import main
main(["--help"]); main(["run", "--help"]); main(["run", {study!r}, "-o", "x.h5"])
assert "jax" not in sys.modules and "h5py" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_the_reference_is_not_loaded_before_it_is_asked_for():
    code = "import sys, thrombojax.api; assert 'diffrax' not in sys.modules and 'equinox' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_python_m_and_version():
    done = command("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("thrombojax ")
    assert main([]) == 2


def test_a_reader_that_stops_early_is_no_error():
    root = Path(__file__).parents[2]
    words = [sys.executable, "-m", "thrombojax", "info"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True, cwd=root, timeout=60)
    os.close(write)
    assert done.stderr == ""


# ---- failures of a run ----


def test_a_failed_run_is_one_line_and_status_1(study, fake, capsys):
    fake.outcome.summary = RunError("the disk is full")
    assert main(["run", study, "-o", "out.h5"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "thrombojax: the disk is full"


def test_wrong_input_found_by_the_run_has_status_2(study, fake, capsys):
    fake.outcome.summary = InputError(Problem("s.toml: patients.cohort", "unknown cohort 'ipt'"), Problem("b", "c"))
    assert main(["run", study, "-o", "out.h5"]) == 2
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "thrombojax: s.toml: patients.cohort: unknown cohort 'ipt'",
        "thrombojax: b: c",
    ]


def test_what_nobody_expected_is_one_line_too(study, fake, capsys, monkeypatch):
    fake.outcome.summary = KeyError("oops\nsecond line")
    assert main(["run", study, "-o", "out.h5"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("thrombojax: KeyError: ")
    assert "THROMBOJAX_TRACEBACK=1" in last
    monkeypatch.setenv("THROMBOJAX_TRACEBACK", "1")
    with pytest.raises(KeyError):
        main(["run", study, "-o", "out.h5"])


def test_an_interrupted_run_says_how_to_go_on(study, fake, capsys):
    fake.outcome.interrupted = True
    assert main(["run", study, "-o", "my out.h5", "--overwrite", "--patients", "5", "--stop-after", "3h"]) == 1
    printed = capsys.readouterr()
    last = printed.err.splitlines()[-1]
    assert last.endswith(f"thrombojax run '{study}' -o 'my out.h5' --resume --patients 5 --stop-after 3h")
    assert printed.out == ""


def test_the_command_that_resumes_is_quoted():
    given = {"--patients": None, "--audit": 0, "--keep-shards": True, "--allow-mixed": False}
    text = resume_command("run", Path("a b.toml"), Path("o'k.h5"), given)
    assert text == """thrombojax run 'a b.toml' -o 'o'"'"'k.h5' --resume --audit 0 --keep-shards"""


def test_ctrl_c_outside_a_run_is_130(study, fake, monkeypatch, capsys):
    monkeypatch.setattr(thrombojax.api, "check", lambda *a, **k: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which tests in the background ignore
    try:
        assert main(["check", study]) == 130
    finally:
        signal.signal(signal.SIGINT, before)


# ---- what the commands call and print ----


def test_run_passes_its_options_on_and_prints_the_summary(study, fake, capsys):
    words = ["--resume", "--patients", "5", "--precision", "f32", "--backend", "reference", "--workers", "2"]
    words += ["--stop-after", "1.5h", "--audit", "0", "--keep-shards", "--model-file", "m.py"]
    assert main(["run", study, "-o", "out.h5", *words]) == 0
    (prepared, precision), (_, path, out, options) = fake.calls
    assert (prepared, precision, path, out) == ("prepare", "f32", study, "out.h5")
    assert options == {
        "resume": True,
        "overwrite": False,
        "patients": 5,
        "precision": "f32",
        "backend": "reference",
        "workers": 2,
        "stop_after": 5400.0,
        "audit": 0,
        "keep_shards": True,
        "allow_mixed": False,
        "model_file": Path("m.py"),
    }
    printed = capsys.readouterr()
    assert printed.out == fake.outcome.summary + "\n"
    assert "10/10 patients (100 %), 100 patients/s, 0 failed" in printed.err


def test_the_process_is_set_up_for_the_precision_of_the_study(study, fake):
    assert main(["run", study, "-o", "out.h5", "--workers", "tcp://host:8786"]) == 0
    assert fake.calls[0] == ("prepare", "f64")
    options = fake.calls[1][3]
    assert (options["precision"], options["backend"], options["workers"]) == (None, None, "tcp://host:8786")


def test_check_prints_for_people_and_writes_json(study, fake, capsys, tmp_path):
    assert main(["check", study, "--patients", "10", "--json", str(tmp_path / "c.json")]) == 0
    printed = capsys.readouterr().out
    assert "on disk       12.3 kB" in printed
    assert "peak memory   2 GB" in printed
    assert "1 min 15 s" in printed
    assert json.loads((tmp_path / "c.json").read_text())["peak_memory_bytes"] == 2e9


def test_json_on_standard_output_is_all_there_is(study, fake, capsys):
    assert main(["check", study, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["segments"] == 56


def test_info(capsys, tmp_path):
    assert main(["info", "parameters", "--model", "wang2010", "--json", str(tmp_path / "i.json")]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    absorption = next(row for row in rows if row.split()[1] == "absorption")
    assert absorption.split()[:4] == ["wang2010", "absorption", "0.6096", "1/day"]  # Table I of Wang 2010
    written = json.loads((tmp_path / "i.json").read_text())
    assert len(written) == len(rows)
    assert list(written[0]) == header.split()
    assert next(w for w in written if w["name"] == "absorption")["value"] == pytest.approx(0.6096, rel=1e-12)
    assert main(["info"]) == 0
    assert "cohorts" in capsys.readouterr().out


def test_json_that_cannot_be_written(capsys, tmp_path):
    assert main(["info", "drugs", "--json", str(tmp_path / "no" / "i.json")]) == 2
    assert "cannot be written: No such file or directory" in capsys.readouterr().err


@pytest.mark.slow
def test_what_is_solved_again_is_compiled_once(tmp_path):
    """The reference's program stays on disk, so that the audit of a second run starts at once."""
    code = "; ".join((
        "from thrombojax import process", "process.prepare('f64')", "import thrombojax as tj",
        "from thrombojax.models import registry",
        "patients = registry.build(registry.Source('wang2010')).patients(baseline_platelets=[250.0], weight=[70.0])",
        "tj.simulate(patients, 'romiplostim 1 ug/kg sc once', days=2, backend='reference')",
    ))  # fmt: skip
    env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "xla"), "JAX_LOGGING_LEVEL": "DEBUG"}
    env.pop("EQX_ON_ERROR")
    said = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True).stderr
    assert "Writing jit_block to persistent compilation cache" in said
    assert "host callbacks" not in said  # JAX's word for what it does not keep
