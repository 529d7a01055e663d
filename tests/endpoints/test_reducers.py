"""Every reducer against a dense SciPy solution of Wang 2010 (written in `spec.py`), on both backends."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
import spec

import thrombojax as tj
from thrombojax.endpoints import REDUCERS, Endpoint
from thrombojax.endpoints.reducers import Seen
from thrombojax.models import registry

pytestmark = [pytest.mark.xdist_group("reducers"), pytest.mark.usefixtures("small_blocks")]

COUNTS = (250.0, 22.0, 74.0, 120.0)
WEIGHTS = (70.0, 55.0, 90.0, 80.0)
END = 42.0
REGIMEN = "romiplostim 1 ug/kg sc weekly x 4 and romiplostim 100 ug iv over 12 h once from day 29.5"
BAND = {"low": 80.0, "high": 330.0}
HIGH = {"threshold": 300.0}
VISITS = tuple(np.arange(0.0, 43.0, 7.0))
ENDPOINTS = [
    Endpoint("peak", "peak"),
    Endpoint("peak_day", "peak_day"),
    Endpoint("early_peak", "peak", start=3.0, stop=10.5),
    Endpoint("nadir", "nadir", start=14.0, stop=42.0),
    Endpoint("nadir_day", "nadir_day", start=14.0, stop=42.0),
    Endpoint("auc", "auc"),
    Endpoint("late_auc", "auc", start=20.5, stop=33.25),
    Endpoint("mean", "mean", start=7.0, stop=42.0),
    Endpoint("fraction", "fraction_in_band", numbers=BAND),
    Endpoint("late_fraction", "fraction_in_band", start=10.0, stop=30.0, numbers=BAND),
    Endpoint("first", "first_day_at_or_above", numbers=HIGH),
    Endpoint("first_later", "first_day_at_or_above", start=35.0, numbers={"threshold": 100.0}),
    Endpoint("rises", "rises", numbers=HIGH),
    Endpoint("later_rises", "rises", start=7.0, stop=33.25, numbers={"threshold": 200.0}),
    Endpoint("day_7", "value_on_day", visits=(7.0,)),
    Endpoint("day_0", "value_on_day", visits=(0.0,)),
    Endpoint("day_30.25", "value_on_day", visits=(30.25,)),
    Endpoint("weeks", "weeks_of_response", visits=VISITS, numbers=HIGH),
    Endpoint("moderate", "weeks_of_response", visits=VISITS, numbers={**HIGH, "threshold": 200.0, "below": 330.0}),
    Endpoint("share", "response_share", visits=VISITS, numbers=HIGH),
    Endpoint("responder", "response", visits=VISITS, numbers={**HIGH, "needed": 2}),
    Endpoint("given", "cumulative_dose", drug="romiplostim"),
    Endpoint("given_early", "cumulative_dose", drug="romiplostim", start=0.0, stop=7.0),
    Endpoint("given_late", "cumulative_dose", drug="romiplostim", start=29.75, stop=42.0),
    Endpoint("boluses", "doses_given", drug="romiplostim", start=7.0),
    Endpoint("changes", "dose_changes", drug="romiplostim"),
    Endpoint("trough", "value_on_day", observable="concentration", visits=(7.0,)),
    Endpoint("drug_auc", "auc", observable="concentration"),
    Endpoint("drug_peak", "peak", observable="concentration"),
]
FEW = [e for e in ENDPOINTS if e.name in ("peak_day", "late_auc", "first", "day_7", "weeks", "given")]


@functools.cache
def course(k):
    """The dense solution of patient k."""
    p = spec.typical(spec.WANG) | {"PLT0": COUNTS[k], "WT": WEIGHTS[k]}

    def sc(y):
        y[0] += p["Fsc"] * WEIGHTS[k]
        return y

    def f(t, y, running):
        d = spec.wang(y, p)
        d[1] += 200.0 * running
        return d

    return spec.integrate(
        f,
        spec.wang_start(p),
        {7.0 * w: sc for w in range(4)},
        END,
        kinks=(29.5, 30.0),
        args=lambda t: (29.5 <= t < 30.0,),
    ), p


@functools.cache
def dense(k):
    """Time, platelets and free drug on 2000 points a day (values after a dose of the same instant)."""
    solution, p = course(k)
    time = np.linspace(0.0, END, int(END) * 2000 + 1)
    y = solution(time, after=True)
    return time, y[13:].sum(0), spec.wang_free(y, p)


def crossings(time, v, level):
    """Times at which v crosses the level, by secants between dense points."""
    k = np.flatnonzero((v[:-1] >= level) != (v[1:] >= level))
    return time[k] + (level - v[k]) / (v[k + 1] - v[k]) * (time[k + 1] - time[k])


def expected(e, k):
    solution, p = course(k)
    time, platelets, drug = dense(k)
    v = platelets if e.observable == "platelets" else drug
    stop = e.stop or END
    inside = (time >= e.start) & (time <= stop)
    t, w = time[inside], v[inside]
    if e.reducer in ("peak", "nadir"):
        return w.max() if e.reducer == "peak" else w.min()
    if e.reducer in ("peak_day", "nadir_day"):
        return t[w.argmax() if e.reducer == "peak_day" else w.argmin()]
    if e.reducer in ("auc", "mean"):
        area = np.sum((w[1:] + w[:-1]) / 2 * np.diff(t))
        return area if e.reducer == "auc" else area / (stop - e.start)
    if e.reducer == "fraction_in_band":
        cuts = np.sort(np.concatenate([[e.start, stop], *(crossings(t, w, e.numbers[b]) for b in ("low", "high"))]))
        middle = np.interp((cuts[:-1] + cuts[1:]) / 2, t, w)
        within = (middle >= e.numbers["low"]) & (middle < e.numbers["high"])
        return np.sum(np.diff(cuts) * within) / (stop - e.start)
    if e.reducer == "first_day_at_or_above":
        level = e.numbers["threshold"]
        if w[0] >= level:
            return e.start
        found = crossings(t, w, level)
        return found[0] if len(found) else np.nan
    if e.reducer == "rises":
        up = (v[:-1] < e.numbers["threshold"]) & (v[1:] >= e.numbers["threshold"])
        return np.sum(up & (time[1:] > e.start) & (time[1:] <= stop))
    at = solution(np.array(e.visits))
    seen = at[13:].sum(0) if e.observable == "platelets" else spec.wang_free(at, p)
    if e.reducer == "value_on_day":
        return seen[0]
    count = np.sum((seen >= e.numbers["threshold"]) & (seen < e.numbers.get("below", np.inf)))
    if e.reducer == "response_share":
        return count / len(e.visits)
    return float(count >= e.numbers["needed"]) if e.reducer == "response" else count


def given(e, k):
    stop = e.stop or END
    if e.reducer != "cumulative_dose":
        return 3.0 if e.reducer == "doses_given" else 0.0
    weekly = sum(WEIGHTS[k] for week in range(4) if e.start <= 7 * week < stop)
    infused = 200.0 * max(0.0, min(30.0, stop) - max(29.5, e.start))
    return weekly + infused


@functools.cache
def solved(backend, precision, every):
    patients = registry.build(registry.Source("wang2010")).patients(
        baseline_platelets=list(COUNTS), weight=list(WEIGHTS)
    )
    result = tj.simulate(
        patients,
        REGIMEN,
        days=END,
        save_every=every,
        endpoints=FEW if backend == "reference" else ENDPOINTS,
        backend=backend,
        precision=precision,
        accuracy=1e-7,
    )
    assert not result.status.any()
    return result


def test_every_reducer_is_here():
    """But for what a policy did: that is held to its ledger in tests/solve/test_policies.py."""
    assert {e.reducer for e in ENDPOINTS} == {name for name, r in REDUCERS.items() if r.kind != "ledger"}


def holds(e, ours, true, *, rel, day, first):
    if e.reducer in ("weeks_of_response", "response", "rises"):
        assert ours == true
    elif np.isnan(true):
        assert np.isnan(ours)
    elif e.reducer in ("peak_day", "nadir_day"):
        assert ours == pytest.approx(true, abs=day)
    elif e.reducer == "first_day_at_or_above":
        assert ours == pytest.approx(true, abs=first)
    else:
        assert ours == pytest.approx(true, rel=rel)


@pytest.mark.parametrize("backend", ["xla", "native"])
@pytest.mark.parametrize("e", ENDPOINTS, ids=lambda e: e.name)
def test_with_hourly_bounds(e, backend):
    """What remains is the cubic between the bounds; the area under free drug, which bends within the hour, is hardest."""
    ours = solved(backend, "f64", 1 / 24).endpoints[e.name]
    for k in range(len(COUNTS)):
        if e.drug:
            assert ours[k] == pytest.approx(given(e, k), rel=1e-13)
        elif e.name == "drug_auc":
            assert ours[k] == pytest.approx(expected(e, k), rel=2e-4)
        else:
            holds(e, ours[k], expected(e, k), rel=1e-6, day=2e-3, first=2e-5)


@pytest.mark.parametrize("e", FEW, ids=lambda e: e.name)
def test_on_the_reference_backend(e):
    ours = solved("reference", "f64", 1 / 8).endpoints[e.name]
    for k in range(len(COUNTS)):
        true = given(e, k) if e.drug else expected(e, k)
        holds(e, ours[k], true, rel=1e-6, day=2e-3, first=2e-5)


@pytest.mark.parametrize(("backend", "precision"), [("xla", "f64"), ("native", "f64"), ("native", "f32")])
@pytest.mark.parametrize("e", ENDPOINTS, ids=lambda e: e.name)
def test_as_a_study_runs_it(backend, precision, e):
    """Daily bounds: counts to 1e-4 and their days to minutes; the area under the drug is only good to a tenth."""
    ours = solved(backend, precision, 1.0).endpoints[e.name]
    for k in range(len(COUNTS)):
        if e.drug:
            assert ours[k] == pytest.approx(given(e, k), rel=1e-6)
        elif e.name == "drug_auc":
            assert ours[k] == pytest.approx(expected(e, k), rel=0.1)
        else:
            holds(e, ours[k], expected(e, k), rel=1e-4, day=5e-3, first=5e-4)


@pytest.mark.parametrize(("start", "stop", "rises"), [(0.0, 60.0, 3), (22.0, 60.0, 1), (0.0, 41.0, 2), (5.0, 20.0, 0)])
def test_rises_of_a_wave(start, stop, rises):
    """A sine of 20 days rises through a half on days 1.7, 21.7 and 41.7; then bumps within one segment."""
    reducer, q = REDUCERS["rises"], {"threshold": 0.5}
    phase = jnp.arange(61.0) * 2 * jnp.pi / 20
    wave, slope = jnp.sin(phase), jnp.pi / 10 * jnp.cos(phase)
    carry = reducer.init(wave[0], 0.0, q)
    for t in range(60):
        inside = float(start <= t < stop)
        carry = reducer.update(carry, Seen(t, 1.0, wave[t], slope[t], wave[t + 1], slope[t + 1], inside, 0.0, 0.0), q)
    assert reducer.finish(carry, (start, stop), q) == rises
    low = jnp.asarray(0.4)
    for k in (1, 2):
        carry = reducer.update(carry, Seen(60.0, 1.0, low, 4.0, low, -4.0, 1.0, 0.0, 0.0), q)
        assert reducer.finish(carry, (0.0, 1.0), q) == rises + k


@pytest.mark.parametrize("backend", ["xla", "native"])
def test_changes_are_against_the_last_dose_that_was_given(backend):
    model = registry.build(registry.Source("wang2010"))
    ends = [
        Endpoint("given", "doses_given", stop=END, drug="romiplostim"),
        Endpoint("changes", "dose_changes", stop=END, drug="romiplostim"),
        Endpoint("later", "dose_changes", start=14.0, stop=END, drug="romiplostim"),
    ]
    words = "romiplostim 1 ug/kg sc weekly x 2 then 3 weekly x 1 then 0 weekly x 1 then 3 weekly x 1 then 1 weekly x 1"
    seen = tj.simulate(model.patients(weight=[70.0, 90.0]), words, days=END, endpoints=ends, backend=backend).endpoints
    assert seen["given"].tolist() == [5.0, 5.0]
    assert seen["changes"].tolist() == [2.0, 2.0]
    assert seen["later"].tolist() == [1.0, 1.0]


def test_a_window_that_ends_at_a_dose_does_not_see_it():
    """The value before a dose at the end of a window, and the value after one at its start."""
    model = registry.build(registry.Source("wang2010"))
    drug = {"observable": "concentration"}
    ends = [
        Endpoint("before", "peak", start=6.0, stop=7.0, **drug),
        Endpoint("after", "peak", start=7.0, stop=8.0, **drug),
        Endpoint("trough", "value_on_day", visits=(7.0,), **drug),
    ]
    seen = tj.simulate(
        model.patients(), "romiplostim 10 ug/kg iv once from day 7", days=14, endpoints=ends, precision="f64"
    )
    assert seen.endpoints["before"][0] == 0.0
    assert seen.endpoints["trough"][0] == 0.0
    assert seen.endpoints["after"][0] > 100.0
