"""`thrombojax bench` on a tiny size: the record's schema, its pages and figure, what is wrong input."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from records import record, row

from benchmarks.peers import LIBRARY
from thrombojax.bench import child, compiler, found, measure, peers, roofline
from thrombojax.bench.operations import operations
from thrombojax.bench.record import RATIOS, REQUIRED, build, markdown
from thrombojax.cli import main
from thrombojax.cli.show import write_json
from thrombojax.errors import InputError

TINY = found.Sizes((512,), 512, 64, 512, 256, (100, 200), 0, 2, 0.05)


def test_a_tiny_run_has_the_schema_of_the_contract(tmp_path):
    parts = ("prototype",)
    said = []
    made = measure.bench(sizes=TINY, backend="xla", precision="f64", chosen=parts, say=said.append)
    write_json(made, tmp_path / "bench.json")
    read = json.loads((tmp_path / "bench.json").read_text())
    assert {"machine", "rows", "ratios", "notes"} <= read.keys()
    assert set(RATIOS) <= read["ratios"].keys()
    measured = {(r["workload"], r["backend"]) for r in read["rows"]}
    assert {("prototype", "xla"), ("prototype", "floor")} <= measured
    assert (("prototype", "limit") in measured) == bool(shutil.which("cc"))
    for line in read["rows"]:
        assert set(REQUIRED) | {"achieved_error", "peak_rss_bytes"} <= line.keys()
        assert line["seconds"] > 0
        assert line["patient_years_per_s"] == pytest.approx(line["patients"] * line["days"] / 365.25 / line["seconds"])
        assert 2e7 < line["peak_rss_bytes"] < 2e10
        assert 0 < line["arithmetic_fraction"] < 2
    for name in RATIOS:
        assert read["ratios"][name] is not None or any(name in note for note in read["notes"])
    assert said[-1] == "prototype"
    assert markdown(read).count("| prototype |") == len([r for r in read["rows"] if r["workload"] == "prototype"])
    roofline.write(read, tmp_path / "bench.svg")
    assert (tmp_path / "bench.svg").read_text().startswith("<?xml")


@pytest.mark.slow
def test_every_part_measures_on_a_tiny_size():
    made = measure.bench(sizes=dataclasses.replace(TINY, sample=8), precision="f32")
    measured = {r["workload"] for r in made["rows"]}
    assert {"objective", "gradient", "optimisation step", "results file", "cold start", "warm start"} <= measured
    assert {"linear cost", "prototype", "forward sweep", "titrated sweep"} <= measured
    assert made["ratios"]["gradient/forward"] > 1
    written = next(r for r in made["rows"] if r["workload"] == "results file")
    assert 0 <= written["writing_share"] < 1


def test_ratios_that_were_not_measured_are_null_with_a_note():
    machine = record()["machine"]
    made = build(machine, found.Found([row()], {"native/limit f64": 0.9, "other": None}, ["n", "n"]), {})
    assert made["ratios"] == {**dict.fromkeys(RATIOS), "native/limit f64": 0.9}
    assert made["notes"].count("n") == 1
    assert "ratio native/mrgsolve f64 1e-4: not measured" in made["notes"]


def test_a_worker_that_fails_is_a_note_with_what_it_said():
    wanted = [{"workload": "limit", "backend": "limit", "precision": "f64", "patients": 3}]
    noted = found.rows_of("prototype", wanted, child.interleaved(wanted, 1))
    assert noted.rows == []
    assert "do not fill vectors" in noted.notes[0]


def test_the_least_of_the_times_counts():
    answer = {
        "model": "m",
        "patients": 73050,
        "days": 1.0,
        "times": {"run": [{"seconds": s, "joules": 5.0} for s in (2.0, 1.0)]},
    }
    made = found.row("w", {"backend": "xla", "precision": "f64"}, answer)
    assert (made["seconds"], made["repeats"], made["patient_years_per_s"]) == (1.0, 2, 200.0)


def test_operations_are_counted_through_loops():
    import jax

    def looped(x):
        return jax.lax.fori_loop(0, 4, lambda _, y: y * x + 1.0, x)

    assert operations(looped, 1.0) >= 8


@pytest.mark.parametrize("name", ["nativ", "reference"])
def test_a_backend_that_cannot_be_measured_is_wrong_input(name):
    known = {"backends": ["native", "xla", "reference"], "allowed": ["xla", "reference"], "devices": ["cpu"]}
    with pytest.raises(InputError, match="--backend"):
        measure._backends(known, name)


def test_a_place_that_cannot_be_written_is_known_before_anything_is_measured(tmp_path, capsys):
    assert main(["bench", "--figure", str(tmp_path / "x.pdf")]) == 2
    assert ".png or .svg" in capsys.readouterr().err
    assert main(["bench", "--json", str(tmp_path / "none" / "x.json")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_peers_are_read_from_what_the_checkout_measures(tmp_path, monkeypatch):
    setting = found.Setting(TINY, ("native", "xla"), ("f32", "f64"), 2, str(tmp_path))
    monkeypatch.setattr(peers, "ROOT", tmp_path)
    assert "source checkout" in peers.measure(setting).notes[0]
    (tmp_path / "benchmarks" / "peers").mkdir(parents=True)
    (tmp_path / "benchmarks" / "peers" / "__main__.py").write_text("")
    said = {
        "rows": [row(backend="mrgsolve")],
        "ratios": {"native/mrgsolve f64 1e-4": 40.0},
        "notes": ["deSolve: not installed"],
    }
    monkeypatch.setattr(child, "command", lambda words, _: Path(words[-1]).write_text(json.dumps(said)))
    read = peers.measure(setting)
    assert (read.rows, read.ratios, read.notes) == (said["rows"], said["ratios"], said["notes"])
    monkeypatch.setattr(child, "command", lambda words, _: None)
    assert "peers: not measured" in peers.measure(setting).notes[0]


@pytest.mark.parametrize("limited", [{"backends": ("xla",)}, {"precisions": ("f32",)}])
def test_main_peers_are_left_out_where_native_or_float64_is(limited, tmp_path, monkeypatch):
    monkeypatch.setattr(child, "command", lambda *_: pytest.fail("nothing of it is measured"))
    setting = found.Setting(TINY, ("native", "xla"), ("f32", "f64"), 2, str(tmp_path))
    (note,) = peers.measure(dataclasses.replace(setting, **limited)).notes
    assert note.startswith("peers: not measured, they are compared with backend native in float64")


@pytest.mark.slow
@pytest.mark.skipif(not compiler.command(), reason="no C compiler")
def test_main_peers_are_measured_where_they_are_installed_and_named_where_not():
    made = measure.bench(quick=True, sizes=TINY, chosen=("peers",))
    errors = {(r["backend"], r["target"]): r["achieved_error"] for r in made["rows"]}
    installed = LIBRARY.joinpath("mrgsolve").is_dir() and shutil.which("Rscript")
    expected = {("native", 1e-4), ("native", 1e-6), ("diffrax Tsit5", 1e-4)}
    assert errors.keys() >= expected | ({("mrgsolve", 1e-4), ("mrgsolve", 1e-6)} if installed else set())
    assert all(0 < error <= target for (_, target), error in errors.items())
    assert made["ratios"]["native/diffrax f64"] > 1
    for target in ("1e-4", "1e-6"):
        ratio = made["ratios"][f"native/mrgsolve f64 {target}"]
        assert (ratio is None and any(n.startswith("mrgsolve: not measured") for n in made["notes"])) or ratio > 1
