"""Every wrong input of the issue through the command line with the real models: a message, an exit status, no file."""

import os
import subprocess

import pytest
import studies
from studies import ITP, WANG, alone, assert_refused, changed

import thrombojax as tj

TREATED = {"name": "treated", "regimen": "romiplostim 3 ug/kg sc weekly x 4"}


def arm(regimen):
    peak = [{"name": "x", "reducer": "peak"}]
    return changed(arm=[{"name": "treated", "regimen": regimen}], axis=None, endpoint=peak)


def axis(**keys):
    return changed(arm=[TREATED], axis=[{"name": "x", "values": [1, 2], **keys}])


def endpoint(**keys):
    return changed(endpoint=[{"name": "x", "reducer": "peak", **keys}])


WRONG = {
    "a section": ({**ITP, "arms": {}}, "arms: unknown section 'arms'; allowed: ", "did you mean 'arm'?"),
    "a key": (changed(study={"dayz": 28}), "study.dayz: unknown key 'dayz'", "did you mean 'days'?"),
    "a cohort": (changed(patients={"cohort": "ipt"}), "patients.cohort: unknown cohort 'ipt'", "did you mean 'itp'?"),
    "a cohort of a model without": (changed(ITP, study={"model": "wang2010"}), "model wang2010 has none"),
    "a model": (changed(study={"model": "fedback"}), "study.model: unknown model", "did you mean 'feedback'?"),
    "a parameter set": (
        changed(study={"parameter_set": "9"}),
        "study.parameter_set: unknown parameter set '9'; allowed: 1, 2, 3",
    ),
    "a drug": (arm("romiplostin 3 ug/kg sc once"), "unknown drug 'romiplostin'", "did you mean 'romiplostim'?"),
    "a drug of another model": (
        changed(WANG, arm=[{"name": "e", "regimen": "eltrombopag 50 mg oral once"}]),
        "unknown drug 'eltrombopag'; allowed: romiplostim",
    ),
    "a route": (arm("romiplostim 3 ug/kg oral once"), "arm[1].regimen", "unknown route", "'oral'; allowed: iv, sc"),
    "a route that nobody has": (
        arm("romiplostim 3 ug/kg im once"),
        "romiplostim 3 ug/kg im once",
        " ^^ expected a route: sc, iv or oral; did you mean 'iv'?",
    ),
    "a unit": (arm("romiplostim 3 mL sc once"), "unknown unit 'mL'"),
    "a unit of another drug": (arm("eltrombopag 3 U oral once"), "unknown unit of eltrombopag oral 'U'; allowed: "),
    "an infusion under the skin": (arm("romiplostim 3 ug/kg sc over 2 h once"), "not given as an infusion"),
    "an endpoint": (endpoint(reducer="peek"), "endpoint[1].reducer: unknown reducer 'peek'", "did you mean 'peak'?"),
    "an endpoint's observable": (endpoint(observable="platlets"), "did you mean 'platelets'?"),
    "an endpoint's drug": (endpoint(reducer="cumulative_dose", drug="eltrombopag"), "is given in no arm"),
    "an observable of a drug not given": (
        changed(output={"observables": ["eltrombopag.concentration"]}),
        "belongs to a drug that no arm gives",
    ),
    "an ambiguous observable": (
        changed(output={"observables": ["concentration"]}),
        "may be any of avatrombopag.concentration, eltrombopag.concentration, hetrombopag.concentration",
    ),
    "one observable twice": (changed(WANG, output={"observables": ["platelets", "platelets"]}), "more than once"),
    "a parameter": (axis(parameter="wieght"), "axis[1].parameter: unknown parameter", "did you mean 'weight'?"),
    "an override": (changed(patients={"overrides": {"lifspan": 9}}), "did you mean 'lifespan'?"),
    "an axis for nothing": (axis(), "is given no parameter, and {x} is in no regimen"),
    "an axis named as a parameter of the results": (
        changed(WANG, axis=[{"name": "weight", "parameter": "weight", "values": [1, 2], "scale": True}]),
        "axis[1].name: given 'weight', which is the name of a parameter in the results",
    ),
    "the count of a cohort without one": (
        changed(
            patients={"cohort": "healthy"}, axis=[{"name": "c", "parameter": "count", "values": [9]}], arm=[TREATED]
        ),
        "axis[1].parameter: 'count' is what some cohorts are drawn by; the cohort 'healthy' is not",
    ),
    "what is solved from the count": (
        axis(parameter="immune_clearance", scale=True),
        "platelets.immune_clearance is solved from each patient's count, so it cannot be scaled",
    ),
    "a negative dose": (
        arm("romiplostim -3 ug/kg sc once"),
        " ^^ expected an amount; it must not be negative",
    ),
    "a negative dose on an axis": (
        changed(axis=[{"name": "dose", "values": [1, -1]}]),
        "must not be negative",
        "(at dose = -1",
    ),
    "a dose after the horizon": (arm("romiplostim 3 ug/kg sc weekly x 6"), "has a dose on day 35", "28 days"),
    "a dose at the horizon": (arm("romiplostim 3 ug/kg sc once from day 28"), "has a dose on day 28, at or after"),
    "a sentence": (arm("romiplostim 3 ug/kg sc wekly x 4"), "arm[1].regimen: does not parse", "did you mean 'weekly'?"),
    "an empty sentence": (arm(""), "arm[1].regimen"),
    "a file that is not TOML": ("schema = 1\n[study\n", "is not TOML: line 2"),
    "an empty file": ("", "schema: is missing"),
    "days": (changed(study={"days": 0}), "study.days: given 0; allowed: a number of days more than 0"),
    "patients": (changed(patients={"n": 10**9}), "patients.n: given 1000000000; allowed: a whole number from 1 to"),
    "cells": (
        changed(
            axis=[
                {"name": "dose", "from": 1, "to": 9, "count": 10_000},
                {"name": "b", "parameter": "weight", "from": 1, "to": 9, "count": 10_000},
            ]
        ),
        "arms x axes are 200000000 cells; allowed: at most 100000",
    ),
    "trajectories that nothing is asked of": (changed(time={"save": None}), "output.trajectories"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_study(run, wrong):
    study, *words = WRONG[wrong]
    said, out = run(study)
    assert_refused(said, *words, lines=None)
    assert "study.toml: " in said.err
    assert sorted(path.name for path in out.parent.iterdir()) == ["patients.csv", "study.toml"]


def test_the_message_points_at_the_word(run):
    said, _ = run(arm("romiplostim 3 ug/kg sc wekly x 4"))
    _, sentence, pointer = said.messages
    at = pointer.index("^")
    assert sentence[at : at + pointer.count("^")] == "wekly"


def test_every_error_of_a_file_is_said_at_once(run):
    study = changed(
        study={"dayz": 28, "precision": "f16"}, patients={"n": 0}, endpoint=[{"name": "x", "reducer": "nadirr"}]
    )
    said, _ = run(study)
    assert said.status == 2
    for where in ("study.dayz", "study.precision", "patients.n", "endpoint[1].reducer"):
        assert sum(where in line for line in said.messages) == 1
    names, _ = run(changed(patients={"cohort": "ipt"}, endpoint=[{"name": "x", "reducer": "peak", "observable": "y"}]))
    assert len(names.messages) == 2


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("weight,baseline_platelets\n70,\n", ["row 2, column 'baseline_platelets': is missing; needed: a finite"]),
        ("weight,baseline_platelets\n70,NA\n80,n/a\n", ["row 2", "row 3", "is missing"]),
        ("weight,baseline_platelets\nheavy,250\n", ["row 2, column 'weight': given 'heavy'; needed: a finite number"]),
        ("weight,baseline_platelets\n70\n", ["row 2: has 1 cells; the header has 2"]),
        ("weight,baseline_platlets\n70,1\n", ["row 1, column 2: unknown column", "did you mean 'baseline_platelets'?"]),
        ("weight,weight\n70,1\n", ["repeats the column"]),
        ("weight;baseline_platelets\n70;250\n", ["has no commas"]),
        ("id,weight\n1,70\n1,80\n", ["row 3, column 'id': '1' is the id of row 2 already"]),
        ("weight\ninf\n", ["given 'inf'; needed: a finite number"]),
        ("weight\n", ["has a header but no patients"]),
        ("", ["is empty"]),
        ("count\n20\n", ["unknown column 'count'"]),
        (None, ["patients.table: there is no file"]),
    ],
)
def test_a_wrong_patient_table(run, table, words):
    said, out = run(WANG, table=table)
    assert_refused(said, *words, lines=None)
    assert not out.exists()


def test_a_count_in_a_table_of_the_feedback_model(run):
    said, _ = run({**ITP, "patients": {"table": "patients.csv"}}, table="weight,count\n70,20\n")
    assert_refused(said, "patients.csv: 'count' is what some cohorts are drawn by; a patient table is not")


def test_more_patients_than_the_table_has(run):
    assert_refused(run(WANG, "--patients", 4)[0], "has 3 patients; the study's n asks for 4")


# ---- outputs ----


def test_an_output_that_exists_is_left_alone(tmp_path):
    study, out = studies.write(tmp_path, WANG), tmp_path / "out.h5"
    out.write_text("precious")
    assert_refused(studies.here("run", study, "-o", out), "out.h5: exists already; --overwrite replaces it")
    assert out.read_text() == "precious"
    assert not (tmp_path / "out.h5.parts").exists()


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("none/out.h5", "cannot be written: there is no folder"),
        (".", "is a folder; name a file in it"),
        ("study.toml/out.h5", "cannot be written"),
    ],
)
def test_an_output_that_cannot_be_written(tmp_path, out, said):
    study = studies.write(tmp_path, WANG)
    assert_refused(studies.here("run", study, "-o", tmp_path / out), said)


@pytest.fixture
def disk(tmp_path):
    """A real disk of 16 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_disk(tmp_path, disk):
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    said = studies.here("run", studies.write(tmp_path, WANG), "-o", disk / "out.h5")
    assert_refused(said, "cannot be written: no permission to write")


def test_a_disk_that_is_too_small_is_known_before(tmp_path, disk):
    study = studies.write(tmp_path, WANG, "weight\n" + "70\n" * 50_000)
    said = studies.here("run", study, "-o", disk / "out.h5")
    assert_refused(said, "out.h5: needs at least", "are free on that disk", status=1)
    assert not list(disk.iterdir())


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (1_000, ["needs at least"]),
        (20_000, ["No space left on device", "no shard was finished"]),
        (50_000, ["go on with --resume"]),
    ],
)
def test_a_disk_that_fills_leaves_no_file_that_looks_whole(tmp_path, disk, left, words):
    """Endpoints are packed, so the check beforehand lets them through; 2000 different patients do not pack."""
    table = "weight\n" + "".join(f"{50 + i % 97 / 7}\n" for i in range(2000))
    study = studies.write(tmp_path, changed(WANG, output=None), table)
    ballast = disk / "ballast"
    stats = os.statvfs(disk)
    ballast.write_bytes(bytes(stats.f_bavail * stats.f_frsize - left))
    said = studies.here("run", study, "-o", disk / "out.h5", "--audit", 0)
    assert_refused(said, *words, status=1)
    assert not (disk / "out.h5").exists()
    assert not list(disk.rglob("*.tmp"))
    ballast.unlink()
    said = studies.here("run", study, "-o", disk / "out.h5", "--audit", 0, "--resume")
    assert said.status == 0, said.err
    assert tj.verify(disk / "out.h5").ok


@pytest.mark.parametrize("verb", ["export", "report"])
def test_what_is_made_of_results_on_a_full_disk(tmp_path, disk, verb):
    study, out = studies.write(tmp_path, WANG), tmp_path / "out.h5"
    assert studies.here("run", study, "-o", out, "--audit", 0).status == 0
    stats = os.statvfs(disk)
    (disk / "ballast").write_bytes(bytes(stats.f_bavail * stats.f_frsize))
    made = disk / ("out.csv" if verb == "export" else "out.png")
    said = studies.here(verb, out, "-o", made)
    assert said.status in (1, 2)
    assert "No space left on device" in said.err
    assert len(said.messages) == 1
    assert [path.name for path in disk.iterdir()] == ["ballast"]


# ---- models and results that do not load ----


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def (", "does not load: SyntaxError"),
        ("import nothing_of_that_name", "does not load: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("1 / 0", "does not load: ZeroDivisionError"),
        ("x = 1", "defines no MODEL that is a thrombojax Model"),
        ("MODEL = 1", "defines no MODEL that is a thrombojax Model"),
        (
            "from thrombojax.models.published.wang2010 import wang2010\nMODEL = wang2010()",
            "unknown model 'mine'; allowed: wang2010",
        ),
        (None, "no such file"),
    ],
)
def test_a_model_file_that_does_not_load(tmp_path, text, said):
    study, file = studies.write(tmp_path, changed(WANG, study={"model": "mine"})), tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    assert_refused(studies.here("run", study, "-o", tmp_path / "out.h5", "--model-file", file), said, lines=None)
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize("verb", [["verify"], ["export", "-o", "x.csv"], ["report", "-o", "x.png"]])
@pytest.mark.parametrize(
    ("content", "said"), [(b"", "is not an HDF5 file"), (b"\x89HDF\r\n\x1a\n" + bytes(64), ""), (None, "no such file")]
)
def test_a_file_that_is_no_results_file(tmp_path, monkeypatch, verb, content, said):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "out.h5").write_bytes(content)
    ended = studies.here(verb[0], "out.h5", *verb[1:])
    assert ended.status == (1 if verb == ["verify"] and content is not None else 2)
    assert said in ended.err + ended.out
    assert "Traceback" not in ended.err
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--precision", "f16"], "'f16' is not one of 'f32', 'f64'"),
        (["--backend", "gpu"], "'gpu' is not one of"),
        (["--patients", "many"], "Invalid value for '--patients'"),
        (["--workers", "2"], "--workers: given 2"),
        (["--stop-after", "soon"], "'soon' is not a duration"),
        (["--resume", "--overwrite"], "exclude each other"),
    ],
)
def test_wrong_options(tmp_path, words, said):
    ended = studies.here("run", studies.write(tmp_path, WANG), "-o", tmp_path / "out.h5", *words)
    assert_refused(ended, lines=None)
    assert said in " ".join(ended.err.split())


def test_a_process_of_its_own_says_the_same(tmp_path):
    """Most of the above in one process; the real thing once, for its exit status and its standard output."""
    study = studies.write(tmp_path, WRONG["a drug"][0])
    said = alone("run", study, "-o", "out.h5", cwd=tmp_path)
    assert_refused(said, "unknown drug 'romiplostin'", "did you mean 'romiplostim'?")
    assert not (tmp_path / "out.h5").exists()
