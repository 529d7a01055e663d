"""What the machine is and can do: plausible, and nothing that names its owner."""

import getpass
import json
import platform

import pytest

from thrombojax.bench import ceilings, compiler, energy, limits, machine, prototype


def test_the_description_names_no_host_user_or_path():
    said = json.dumps(machine.describe())
    for word in {platform.node(), getpass.getuser()} - {"", "root"}:
        assert f'"{word}"' not in said
    assert "/home" not in said
    assert "/root" not in said
    assert machine.describe()["cores"] >= 1


def test_measured_ceilings_are_within_physical_bounds():
    found = ceilings.measure(seconds=0.1)
    for precision, lanes in (("f64", 1), ("f32", 2)):
        per_core = found.operations[precision] / found.threads
        assert 1e8 < per_core < 5e11 * lanes  # a slow scalar core; far above any vector unit
    assert found.operations["f32"] > 0.8 * found.operations["f64"]
    assert 1e8 < found.bandwidth < 5e13
    assert found.how == ("C" if compiler.command() else "NumPy")


def test_without_a_compiler_the_ceilings_are_estimates_and_say_so(monkeypatch):
    monkeypatch.setenv("THROMBOJAX_CC", "no-such-compiler")
    found = ceilings.measure(seconds=0.05)
    assert found.how == "NumPy"
    assert "no C compiler" in found.notes[0]
    assert min(found.operations.values()) > 1e7
    with pytest.raises(Exception, match="C compiler"):
        limits.ceiling(64, "f64")


def test_a_ceiling_that_does_not_fit_the_processor_is_doubted():
    assert ceilings._doubts({"f64": 1e11}, {"f64": 1e12})
    assert not ceilings._doubts({"f64": 1e11}, {"f64": 0.8e11})
    assert not ceilings._doubts({"f64": 1e11}, {"f64": None})


def test_energy_is_the_difference_of_two_readings_even_past_the_wrap():
    before, after = energy.Reading((10.0, 90.0), (100.0, 100.0)), energy.Reading((30.0, 5.0), (100.0, 100.0))
    assert energy.between(before, after) == pytest.approx(20.0 + 15.0)
    assert energy.between(energy.Reading((), ()), energy.Reading((), ())) is None


def test_packages_are_read_from_powercap(tmp_path, monkeypatch):
    for name, joules in (("intel-rapl:0", 5), ("intel-rapl:0:0", 3), ("intel-rapl:1", 7)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{joules}000000\n")
        (tmp_path / name / "max_energy_range_uj").write_text("262143328850\n")
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    assert energy.read().joules[:2] == (5.0, 7.0)  # not the part of package 0 that it contains


def test_the_frozen_forms_of_the_prototype_agree_with_the_engine():
    import numpy as np

    from thrombojax.solve import engine
    from thrombojax.solve.steppers import CLASSICAL

    days = [7.0, 91.0, 180.0]
    solved = engine.solve(prototype.MODEL, prototype.cohort(16), prototype.line(), save=("platelets",), days=days,
                          backend="xla", precision="f64", tableau=CLASSICAL)  # fmt: skip
    if compiler.command():
        written = limits.ceiling(16, "f64")()
        np.testing.assert_allclose(solved.saved["platelets"], written[[6, 90, 179]], rtol=1e-10)


def test_a_larger_prototype_cohort_begins_with_the_same_patients():
    few, many = prototype.cohort(3), prototype.cohort(9)
    assert (few.p.Kd == many.p.Kd[:3]).all()
