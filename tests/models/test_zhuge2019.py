"""Zhuge 2019 against the method of steps (published_b.toml), its steady state and its oscillations (science.md M6, V5)."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from printed import assert_printed
from scipy.optimize import fsolve

import thrombojax as tj
from thrombojax.errors import InputError
from thrombojax.models import struct
from thrombojax.models.protocol import Inputs
from thrombojax.patients import cohort as cohorts

pytestmark = [pytest.mark.xdist_group("zhuge2019"), pytest.mark.usefixtures("small_blocks")]
PRINTED = tomllib.loads(Path(__file__).with_name("published_b.toml").read_text(encoding="utf-8"))["zhuge2019"]
SEEN = ("platelets", "stem_cells", "neutrophils")
# lowest and highest 1e10/kg, days between peaks
OSCILLATIONS = {
    "pattern-1a": (0.9256, 2.6007, 34.9),
    "pattern-1b": (3.298, 6.592, 39.5),
    "pattern-2": (4.588, 19.154, 24.1),
}


def named(*names):
    """Typical patients of several cohorts as one block."""
    model = tj.model("zhuge2019")
    typical = struct.as_dict(model.defaults)
    found = [cohorts.typical(cohorts.load(model.cohorts, name), typical) for name in names]
    return model.patients(**{leaf: [float(f[leaf][0]) for f in found] for leaf in typical})


@pytest.mark.parametrize(
    ("options", "rtol"), [({"precision": "f64", "accuracy": 1e-6}, 1e-6), ({}, 1e-4)], ids=["f64", "f32"]
)
def test_courses_by_the_method_of_steps(options, rtol):
    days = PRINTED["healthy"]["days"]
    found = tj.simulate(named(*PRINTED), days=days[-1], save=days, observables=SEEN, **options)
    assert not found.status.any()
    for patient, (name, columns) in enumerate(PRINTED.items()):
        for seen in SEEN:
            np.testing.assert_allclose(
                found.saved[seen][:, patient], columns[seen], rtol=rtol, err_msg=f"{name}: {seen}"
            )


def test_the_steady_state_to_four_digits():
    model = tj.model("zhuge2019")

    def slope(x):
        y = model.State(*x)
        u = Inputs({}, 0.0, dict.fromkeys(model.delays(model.defaults), y))
        return np.array([float(v) for v in model.rhs(0.0, y, model.defaults, u)])

    rest = fsolve(slope, [1.1, 6.9, 3.1], xtol=1e-13)
    for value, text, what in zip(rest, ("1.309", "6.993", "2.969"), model.State._fields, strict=True):
        assert_printed(value, text, what)


@pytest.mark.slow
def test_three_patterns_of_oscillation():
    run = tj.simulate(named(*OSCILLATIONS), days=1200, save=np.arange(700, 1200.01, 0.25), precision="f64")
    for patient, (name, (low, high, period)) in enumerate(OSCILLATIONS.items()):
        p = run.platelets[:, patient] / 140
        assert p.min() == pytest.approx(low, rel=0.01), name
        assert p.max() == pytest.approx(high, rel=0.01), name
        up = np.flatnonzero((p[:-1] < p.mean()) & (p[1:] >= p.mean()))
        crossed = run.time[up] + 0.25 * (p.mean() - p[up]) / (p[up + 1] - p[up])
        assert np.diff(crossed).mean() == pytest.approx(period, abs=0.5), name


@pytest.mark.slow
def test_both_patients_cycle():
    """Periods are those of this model with the fits' values; the paper's own were not at hand."""
    run = tj.simulate(named("patient-1", "patient-2"), days=600, save=np.arange(300, 600.01, 0.5), precision="f64")
    assert not run.status.any()
    assert (run.platelets.max(axis=0) > 400).all()
    assert (run.platelets.min(axis=0) < 40).all()


@pytest.mark.parametrize("backend", ["native", "cuda", "reference"])
def test_other_backends_refuse_by_name(backend):
    with pytest.raises(InputError, match=f"model zhuge2019 has delays and runs on xla, not on {backend}"):
        tj.simulate(tj.model("zhuge2019").patients(), days=1, backend=backend)


STUDY = """
schema = 1
[study]
name = "swings"
question = "How does the count of pattern 1a begin to swing?"
model = "zhuge2019"
days = 20
[patients]
cohort = "pattern-1a"
n = 2
[[arm]]
name = "untreated"
[time]
save = 10
[output]
trajectories = true
"""


def test_a_sweep_is_audited_by_its_own_method_and_says_so(tmp_path):
    (tmp_path / "s.toml").write_text(STUDY, encoding="utf-8")
    done = tj.run(tmp_path / "s.toml", tmp_path / "out.h5", audit=4)
    assert done.failed == 0
    assert done.audit["audit_against"] == (
        "by the same method in float64 with 10 times the steps, as the reference has no delays"
    )
    assert done.audit["audit_max_relative_error"] < 1e-5
    assert "same method in float64" in done.summary
