"""Event tables as studies: predictions against SciPy, shards, exports, and what is refused."""

import functools

import numpy as np
import pytest
import spec
import studies
from studies import assert_refused, assert_same_bytes, changed

from thrombojax.study import file_layout

HOURS = 24.0
# Both are given subcutaneous doses with additional ones; Ann's weight changes, Bob has an infusion and goes back to the start.
TABLE = """\
ID,TIME,AMT,RATE,II,ADDL,EVID,CMT,DV,MDV,weight,baseline_platelets
# hours
ann,0,.,.,.,.,0,1,251,0,70,250
ann,0,70,.,168,2,1,1,.,1,70,250
ann,100,.,.,.,.,0,1,.,1,.,.
ann,260,.,.,.,.,0,1,300,0,110,250
ann,333.3,40,.,.,.,1,2,.,1,50,250
ann,500,.,.,.,.,0,1,310,0,50,.
bob,0,100,25,.,.,1,2,.,1,60,200
bob,96,35,.,120,3,1,1,.,1,60,200
bob,200,.,.,.,.,0,1,222,0,60,200
bob,230,60,.,.,.,4,1,.,1,60,200
bob,420,.,.,.,.,0,1,222,0,60,200
eve,240,.,.,.,.,0,1,118,0,90,120
"""
EVENTS = {
    "table": "d.csv",
    "time_unit": "h",
    "doses": {"1": ["romiplostim", "sc", "ug"], "2": ["romiplostim", "iv", "ug"]},
}
STUDY = changed(
    studies.WANG,
    study={"precision": "f64", "accuracy": 1e-8},
    patients=None,
    arm=None,
    events=EVENTS,
    endpoint=[
        {"name": "highest", "reducer": "peak"},
        {"name": "given", "reducer": "cumulative_dose", "drug": "romiplostim"},
    ],
    output=None,
    time=None,
)
# patient -> weights from an hour on
WEIGHTS = {
    "locf": {"ann": [(0, 70), (260, 110), (333.3, 50)], "bob": [(0, 60)], "eve": [(0, 90)]},
    # The next value holds from the record before it on; a record without one (hour 100) does not count.
    "nocb": {"ann": [(0, 110), (260, 50)], "bob": [(0, 60)], "eve": [(0, 90)]},
}
COUNTS = {"ann": 250, "bob": 200, "eve": 120}
# (hour, route, amount, hours of infusion), by hand: the reset at hour 230 ends what is left of the series of 120 hours
DOSES = {
    "ann": [(0, "sc", 70, 0), (168, "sc", 70, 0), (336, "sc", 70, 0), (333.3, "iv", 40, 0)],
    "bob": [(0, "iv", 100, 4), (96, "sc", 35, 0), (216, "sc", 35, 0), (230, "sc", 60, 0)],
    "eve": [],
}
OBSERVED = {"ann": [0, 100, 260, 500], "bob": [200, 420], "eve": [240]}


@pytest.fixture
def run_events(tmp_path, run):
    """run_events(study, table, *options) -> how it ended, and where the results are."""

    def call(study=STUDY, table=TABLE, *options):
        if table is not None:
            (tmp_path / "d.csv").write_text(table)
        return run(study, *options, table=None)

    return call


def scipy(who: str, interpolation: str) -> np.ndarray:
    """Counts of a patient at its observations: science.md M1, integrated piece by piece."""
    weights = WEIGHTS[interpolation][who]
    p = spec.typical(spec.WANG) | {"PLT0": COUNTS[who], "WT": weights[0][1]}

    def weight(t):
        return [w for hour, w in weights if hour <= t * HOURS + 1e-9][-1]

    running = [(t / HOURS, (t + d) / HOURS, a / d * HOURS) for t, _, a, d in DOSES[who] if d]
    jumps = {230 / HOURS: [lambda y: spec.wang_start(p)]} if who == "bob" else {}
    for t, route, amount, duration in DOSES[who]:
        if not duration:
            more = np.zeros(23)
            more[1 if route == "iv" else 0] = amount * (1 if route == "iv" else p["Fsc"])
            jumps.setdefault(t / HOURS, []).append(lambda y, more=more: y + more)

    def f(t, y, rate, weight):
        d = spec.wang(y, p | {"WT": weight})
        d[1] += rate
        return d

    solution = spec.integrate(
        f,
        spec.wang_start(p),
        {t: lambda y, steps=steps: functools.reduce(lambda y, step: step(y), steps, y) for t, steps in jumps.items()},
        studies.DAYS,
        kinks=[*(hour / HOURS for hour, _ in weights[1:]), *(t for r in running for t in r[:2])],
        args=lambda t: (sum(rate for a, b, rate in running if a <= t < b), weight(t)),
    )
    return solution(np.array(OBSERVED[who]) / HOURS)[13:].sum(0)


@pytest.mark.parametrize("interpolation", ["locf", "nocb"])
def test_predictions_are_those_of_scipy(run_events, interpolation):
    said, out = run_events(changed(STUDY, events={"interpolation": interpolation}))
    assert said.status == 0, said.err
    found = studies.arrays(out)
    predicted = found["observed/predicted"]
    assert predicted.shape == (1, 4, 3)
    for k, who in enumerate(OBSERVED):
        n = len(OBSERVED[who])
        np.testing.assert_allclose(found["observed/day"][:n, k] * HOURS, OBSERVED[who], rtol=1e-15)
        np.testing.assert_allclose(predicted[0, :n, k], scipy(who, interpolation), rtol=1e-6, err_msg=who)
        assert np.isnan(predicted[0, n:, k]).all()
        assert np.isnan(found["observed/day"][n:, k]).all()
    np.testing.assert_array_equal(found["observed/dv"][:, 0], [251, np.nan, 300, 310])
    np.testing.assert_allclose(found["given"][0], [250, 230, 0])


def test_the_two_interpolations_differ():
    assert np.abs(scipy("ann", "locf") / scipy("ann", "nocb") - 1).max() > 0.01


def test_check_counts_the_patients_of_the_table(run_events, tmp_path):
    run_events()
    said = studies.here("check", tmp_path / "study.toml")
    assert said.status == 0 and "patients      3\n" in said.out


def test_shards_do_not_change_a_byte(run_events, tmp_path, monkeypatch):
    study = changed(STUDY, events={"interpolation": "nocb"}, study={"precision": "f32", "accuracy": 1e-4})
    _, out = run_events(study)
    out.rename(tmp_path / "whole.h5")
    monkeypatch.setattr(file_layout, "SHARD_PATIENTS", 2)
    said, out = run_events(study)
    assert said.status == 0, said.err
    assert_same_values(tmp_path / "whole.h5", out)


def assert_same_values(one, other):
    """Chunks may be cut elsewhere; the numbers are the same to the last bit."""
    a, b = studies.arrays(one), studies.arrays(other)
    assert a.keys() == b.keys()
    assert [name for name in a if a[name].tobytes() != b[name].tobytes() and a[name].dtype.kind != "O"] == []
