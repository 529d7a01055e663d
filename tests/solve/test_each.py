"""Timelines of patients' own: irregular doses and observations against SciPy, patient by patient, and against each other."""

import functools

import jax
import numpy as np
import pytest
import spec

from thrombojax.dosing import each
from thrombojax.dosing.timeline import Column, Slots, grid, schedule
from thrombojax.endpoints import Endpoint
from thrombojax.models import registry
from thrombojax.patients.population import prepare
from thrombojax.solve import cuda, engine, places

DAYS = 30.0
SC, IV, FLAT = (
    Column(("romiplostim", "sc"), True),
    Column(("romiplostim", "iv"), True),
    Column(("romiplostim", "sc"), False),
)


class Table:
    """Irregular doses (some infused) and observations of Wang's model; patient 3 goes back to the start on day 17.3."""

    def __init__(self, n: int):
        rng = np.random.default_rng(5)
        self.n = n
        self.weight, self.count = rng.uniform(50, 95, n), rng.uniform(30, 300, n)
        self.doses = []  # (day, column, amount, duration)
        self.observed = []
        self.resets = [[17.3] if k == 3 else [] for k in range(n)]
        for k in range(n):
            days = np.sort(rng.uniform(0, 0.9 * DAYS, rng.integers(0, 5)))
            mine = [(float(t), int(rng.integers(0, 3)), float(rng.uniform(0.5, 3)), 0.0) for t in days]
            mine = [(t, c, a * (self.weight[k] if c == 2 else 1), d) for t, c, a, d in mine]
            if k % 4 == 1:
                mine.append((float(rng.uniform(1, 20)), 1, 1.5, 0.4))
            self.doses.append(sorted(mine))
            self.observed.append(np.sort(rng.uniform(0, DAYS, rng.integers(1, 7))))
        self.patients = registry.build(registry.Source("wang2010")).patients(
            weight=list(self.weight), baseline_platelets=list(self.count)
        )
        self.model = registry.build(self.patients.source)
        self.cohort = prepare(self.patients, self.model)

    def slots(self, k: int) -> Slots:
        time, column, amount, duration = zip(*self.doses[k], strict=True) if self.doses[k] else ((), (), (), ())
        return Slots(np.array(time, float), np.array(amount, float), np.array(duration, float), tuple(column),
                     tuple(d > 0 for d in duration))  # fmt: skip

    def one(self, k: int):
        return jax.tree.map(lambda a: np.float64(a[k]), self.cohort.p)

    @functools.cached_property
    def line(self):
        return each.timelines(self.model, (SC, IV, FLAT), self.one, [self.slots(k) for k in range(self.n)], DAYS,
                              self.observed, self.resets, (0.0, 14.0, DAYS))  # fmt: skip

    def solve(self, backend: str, precision: str = "f64", accuracy: float = 1e-8, rows=slice(None)):
        return engine.solve(
            self.model, self.cohort, self.line, endpoints=ENDPOINTS, save=("platelets",),
            bounds=each.bounds(self.line, self.observed), backend=backend, precision=precision, accuracy=accuracy,
        )  # fmt: skip

    def scipy(self, k: int) -> np.ndarray:
        """Platelets at the observations of patient k, by SciPy."""
        p = spec.typical(spec.WANG) | {"PLT0": self.count[k], "WT": self.weight[k]}
        amount = [a if c == 2 else a * self.weight[k] for _, c, a, _ in self.doses[k]]
        jumps, running = {}, []
        for (t, c, _, duration), given in zip(self.doses[k], amount, strict=True):
            if duration:
                running.append((t, t + duration, given / duration))
                continue
            state, share = (1, 1.0) if c == 1 else (0, p["Fsc"])

            def jump(y, state=state, more=share * given):
                y[state] += more
                return y

            jumps[t] = jump
        for t in self.resets[k]:
            jumps[t] = lambda y: spec.wang_start(p)

        def f(t, y, rate):
            d = spec.wang(y, p)
            d[1] += rate
            return d

        solution = spec.integrate(
            f, spec.wang_start(p), jumps, DAYS, kinks=tuple(t for r in running for t in r[:2]),
            args=lambda t: (sum(rate for a, b, rate in running if a <= t < b),),
        )  # fmt: skip
        return solution(self.observed[k])[13:].sum(0)


ENDPOINTS = [
    Endpoint("peak", "peak", stop=DAYS),
    Endpoint("day_14", "value_on_day", stop=DAYS, visits=(14.0,)),
    Endpoint("given", "cumulative_dose", stop=DAYS, drug="romiplostim"),
]


@functools.cache
def table(n: int = 24) -> Table:
    return Table(n)


@functools.cache
def solved(backend: str):
    return table().solve(backend)


def _is_scipy(t: Table, out) -> None:
    assert not out.status.any()
    for k in range(t.n):
        found = out.saved["platelets"][:, k]
        assert np.isnan(found[len(t.observed[k]) :]).all()
        np.testing.assert_allclose(found[: len(t.observed[k])], t.scipy(k), rtol=1e-6, err_msg=f"patient {k}")


def test_irregular_times_are_those_of_scipy():
    _is_scipy(table(), solved("native"))


@pytest.mark.slow
def test_a_thousand_patients_are_those_of_scipy():
    t = table(1000)
    _is_scipy(t, t.solve("native"))


@pytest.mark.parametrize("backend", [pytest.param("xla", marks=pytest.mark.slow), "cuda"])
def test_backends_agree(backend, monkeypatch):
    monkeypatch.setattr(engine, "choose", lambda backend, model: backend)
    monkeypatch.setattr(cuda, "run", functools.partial(cuda.run, on=(places.Host(),)))
    ours, other = solved("native"), table().solve(backend)
    np.testing.assert_allclose(other.saved["platelets"], ours.saved["platelets"], rtol=1e-10)
    for name, values in ours.endpoints.items():
        np.testing.assert_allclose(other.endpoints[name], values, rtol=1e-10, err_msg=name)


def test_a_timeline_is_that_of_the_patient_alone():
    """To the last bit of what one shared timeline gives: neither block-mates nor padding change a number."""
    t, ours = table(), solved("native")
    for k in (0, 1, 5):
        cohort = prepare(t.patients.pick(np.array([k])), t.model)
        line = schedule(t.model, t.one(k), (SC, IV, FLAT), t.slots(k), grid(DAYS, t.observed[k], [0.0, 14.0, DAYS]))
        alone = engine.solve(t.model, cohort, line, endpoints=ENDPOINTS, save=("platelets",), days=t.observed[k].tolist(),
                             backend="native", precision="f64", accuracy=1e-8)  # fmt: skip
        assert np.array_equal(alone.saved["platelets"][:, 0], ours.saved["platelets"][: len(t.observed[k]), k])
        assert alone.endpoints["peak"][0] == ours.endpoints["peak"][k]


def test_amounts_are_those_of_the_table():
    t, out = table(), solved("native")
    for k in range(t.n):
        total = sum(a * (1 if c == 2 else t.weight[k]) for _, c, a, _ in t.doses[k])
        assert out.endpoints["given"][k] == pytest.approx(total, rel=1e-12)


def test_single_precision():
    ours, single = solved("native"), table().solve("native", "f32", 1e-5)
    np.testing.assert_allclose(single.saved["platelets"], ours.saved["platelets"], rtol=1e-4)


def test_values_that_change_hold_from_their_days_on():
    t = table()
    knots = [np.array([0.0, 10.0]) for _ in range(t.n)]
    held = [np.array([1.0, 2.0]) for _ in range(t.n)]
    found = each.values(t.line, knots, held)
    assert np.array_equal(found, np.where(t.line.timeline.start >= 10.0 - 1e-9, 2.0, 1.0))
