"""Generated kernels: the numbers of XLA, and the same bits whatever the neighbours, the order, the number and the threads."""

import dataclasses
import functools
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import thrombojax as tj
from thrombojax import dosing
from thrombojax.codegen import build
from thrombojax.dosing.administer import columns, slots
from thrombojax.dosing.regimen import Regimen
from thrombojax.dosing.timeline import Schedule, grid, schedule
from thrombojax.endpoints import REDUCERS, Endpoint, times
from thrombojax.models import registry, struct
from thrombojax.models.protocol import Model
from thrombojax.patients.population import prepare, shared
from thrombojax.solve import engine, native
from thrombojax.solve.turns import TURN

TESTS = Path(__file__).parents[1]
MINE = TESTS / "user_models" / "one_compartment.py"
EXAMPLE = TESTS.parent / "docs" / "examples" / "one_compartment.py"
DAYS = 14.0
WINDOWS = ((3.3, 9.1), (0.0, DAYS))
SAVE = (0.0, 0.37, 1.0, 6.5, 7.0, 13.25, 14.0)
NUMBERS = {
    "low": 60.0,
    "high": 90.0,
    "threshold": 70.0,
    "day": 7.0,
    "needed": 2.0,
    "below": 1e9,
    "rescue_weeks": 1.0,
    "allow_rescue": 0.0,
}


def endpoints(names, drug: str | None) -> tuple[Endpoint, ...]:
    """Reducers over the platelet count, by turns over all days and in a window; those of a dose where there is a drug."""
    found = []
    for name in names:
        reducer = REDUCERS[name]
        if (reducer.kind == "dose" and drug is None) or reducer.kind == "ledger":
            continue  # what a policy did is asked of plans that have one
        start, stop = WINDOWS[len(found) % 2]
        told = {k: NUMBERS[k] for k in reversed(reducer.numbers)}
        visits = {
            "value_on_day": (7.0,),
            **dict.fromkeys(("weeks_of_response", "response_share", "response"), (0.0, 7.0, DAYS)),
        }.get(name, ())
        given_ = drug if reducer.kind == "dose" else None
        found.append(Endpoint(f"the {name}", name, "platelets", start, stop, told, given_, visits))
    return tuple(found)


class Given(NamedTuple):
    """All that a solve needs."""

    model: Model
    cohort: engine.Cohort
    line: Schedule
    endpoints: tuple[Endpoint, ...]
    save: tuple[str, ...]

    def solve(
        self, backend: str = "native", precision: str = "f32", rows: Any = None, **changes: Any
    ) -> engine.Solution:
        cohort = self.cohort if rows is None else picked(self.cohort, rows)
        asked = {"endpoints": self.endpoints, "save": self.save, "days": SAVE if self.save else (), **changes}
        return engine.solve(self.model, cohort, self.line, backend=backend, precision=precision, **asked)


def picked(cohort: engine.Cohort, rows: Any) -> engine.Cohort:
    """The cohort of some rows, C-ordered as the whole."""
    p, y0 = jax.tree.map(lambda a: np.ascontiguousarray(np.asarray(a)[rows]), (cohort.p, cohort.y0))
    return dataclasses.replace(cohort, p=p, y0=y0, rate=cohort.rate[rows], status=cohort.status[rows])


def given(patients: Any, regimen: str | None, asked: tuple[Endpoint, ...], save: tuple[str, ...]) -> Given:
    told = dosing.regimen(regimen) if regimen else Regimen()
    model = registry.build(patients.source, told.drugs)
    cohort = prepare(patients, model)
    typical = shared(model, cohort)
    cols = columns(model, [told])
    fixed = grid(DAYS, SAVE, times(asked))
    line = schedule(model, typical, cols, slots(model, told, cols, DAYS), fixed)
    return Given(model, cohort, line, asked, save)


def user(path: Path, **changes: Any) -> Any:
    return registry.build(registry.Source("one-compartment", file=str(path))).patients(**changes)


ROMIPLOSTIM = "romiplostim 3 ug/kg sc weekly x 2"
ELTROMBOPAG = "eltrombopag 50 mg oral daily x 5"
TRANSFUSION = "transfusion 40 1/nL iv once from day 2.2"
FEW = ("peak", "first_day_at_or_above", "value_on_day", "cumulative_dose")
MODELS = {
    "untreated": lambda: (tj.cohort("itp").sample(11), None, ("nadir",), None, ("platelets", "tpo")),
    "romiplostim": lambda: (
        tj.cohort("itp").sample(11),
        f"{ROMIPLOSTIM} and romiplostim 70 ug iv over 0.5 days once from day 3.1",
        FEW, "romiplostim", ("platelets", "ploidy"),
    ),
    "eltrombopag": lambda: (tj.cohort("healthy").sample(11), ELTROMBOPAG, FEW[:2], "eltrombopag", ("platelets",)),
    "all drugs": lambda: (
        tj.cohort("itp").sample(11), f"{ROMIPLOSTIM} and {ELTROMBOPAG} and {TRANSFUSION}",
        FEW[-2:], "transfusion", ("platelets", "mean_age"),
    ),
    "wang2010": lambda: (
        tj.model("wang2010").patients(weight=np.linspace(50, 110, 11), baseline_platelets=np.linspace(50, 400, 11)),
        "romiplostim 1 ug/kg sc once and romiplostim 10 ug iv once from day 5.3",
        FEW, "romiplostim", ("platelets", "concentration"),
    ),
    "example": lambda: (
        user(EXAMPLE, weight=np.linspace(50, 110, 11)), "mydrug 10 mg oral daily x 9",
        FEW, "mydrug", ("platelets", "concentration"),
    ),
    "one compartment": lambda: (
        user(MINE, count=np.linspace(40, 100, 11)),
        "drug 0.1 mg/kg oral daily x 5 and drug 6 mg iv over 2 days once from day 2.2 and drug 3 mg iv once from day 8",
        tuple(REDUCERS), "drug", ("platelets", "concentration"),
    ),
}  # fmt: skip


@functools.cache
def case(name: str) -> Given:
    patients, regimen, names, drug, save = MODELS[name]()
    return given(patients, regimen, endpoints(names, drug), save)


def numbers(solution: engine.Solution) -> dict[str, np.ndarray]:
    return {**solution.endpoints, **solution.saved}


def assert_near(ours: engine.Solution, theirs: engine.Solution, rtol: float, days: float) -> None:
    """days: how far two days of an extreme or a crossing may lie apart."""
    np.testing.assert_array_equal(ours.status, theirs.status)
    assert not ours.status.any()
    a, b = numbers(ours), numbers(theirs)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].shape == b[name].shape
        far = days if "_day" in name and "value" not in name else rtol * np.nanmax(np.abs(b[name]), initial=0.0)
        np.testing.assert_allclose(a[name], b[name], rtol=rtol, atol=far, err_msg=name)


def same(one: engine.Solution, other: engine.Solution, rows: Any = slice(None), others: Any = slice(None)) -> None:
    """Equal to the bit: rows of one and others of the other."""
    a, b = numbers(one), numbers(other)
    for name in a:
        np.testing.assert_array_equal(a[name][..., rows], b[name][..., others], err_msg=name)
    np.testing.assert_array_equal(one.status[rows], other.status[others])


# --- the numbers of XLA


PARTS = ("untreated", "eltrombopag")
"""Of "all drugs"."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in PARTS)) for n in MODELS])
def test_numbers_are_those_of_xla(name):
    problem = case(name)
    exact = problem.solve("native", "f64")
    assert_near(exact, problem.solve("xla", "f64"), 1e-11, 1e-9)
    assert exact.saved["platelets"].dtype == np.float64
    rough = problem.solve("native", "f32")
    assert rough.saved["platelets"].dtype == np.float32
    for what, values in rough.saved.items():
        np.testing.assert_allclose(values, exact.saved[what], rtol=1e-4, atol=1e-5 * np.abs(exact.saved[what]).max())
    for e in problem.endpoints:
        if e.reducer in ("nadir", "peak", "auc", "mean", "value_on_day", "cumulative_dose"):
            np.testing.assert_allclose(rough.endpoints[e.name], exact.endpoints[e.name], rtol=1e-4)


@pytest.mark.parametrize("what", ["nothing", "saved only", "endpoints only", "one observable", "no saved days"])
def test_what_else_is_asked_changes_no_number(what):
    problem = case("one compartment")
    whole = problem.solve(precision="f64")
    asked = {
        "nothing": {"endpoints": (), "save": ()},
        "saved only": {"endpoints": ()},
        "endpoints only": {"save": ()},
        "one observable": {"save": ("concentration",), "endpoints": problem.endpoints[4:7]},
        "no saved days": {"days": ()},
    }[what]
    part = problem.solve(precision="f64", **asked)
    assert not part.status.any()
    found = numbers(part)
    assert set(found) == {
        *(e.name for e in asked.get("endpoints", problem.endpoints)), *asked.get("save", problem.save)
    }  # fmt: skip
    for name, values in found.items():
        expected = numbers(whole)[name]
        if name in part.saved and "days" in asked:
            expected = expected[:0]
        np.testing.assert_allclose(values, expected, rtol=1e-13, atol=1e-13, err_msg=name)


def test_days_that_share_a_bound_share_its_values():
    problem = case("one compartment")
    whole = problem.solve()
    part = problem.solve(days=(7.0, 0.0, 7.0, 7.0 + 1e-10))
    at = SAVE.index(7.0)
    np.testing.assert_array_equal(part.saved["platelets"], whole.saved["platelets"][[at, 0, at, at]])


def test_numbers_of_an_endpoint_may_come_in_any_order():
    patients, regimen = user(MINE, count=[70.0]), "drug 1 mg oral daily x 5"
    bands = [
        Endpoint("band", "fraction_in_band", numbers=n) for n in ({"low": 60, "high": 70.2}, {"high": 70.2, "low": 60})
    ]
    one, other = (tj.simulate(patients, regimen, days=7, endpoints=[e], backend="native") for e in bands)
    np.testing.assert_array_equal(one.endpoints["band"], other.endpoints["band"])
    assert 0 < one.endpoints["band"][0] < 1


# --- the same bits

MANY = 1000


@functools.cache
def crowd() -> Given:
    asked = endpoints(("peak", "fraction_in_band", "value_on_day"), None)
    return given(tj.cohort("itp").sample(MANY), ROMIPLOSTIM, asked, ("platelets",))


@functools.cache
def whole() -> engine.Solution:
    solution = crowd().solve()
    assert not solution.status.any()
    return solution


@pytest.mark.parametrize("n", [1, 3, 7, 8, 9, 15, 16, 17, 33, 500])
def test_any_number_of_patients(n):
    """Around every possible number of lanes (4, 8 and 16)."""
    same(crowd().solve(rows=slice(0, n)), whole(), others=slice(0, n))


def test_no_patients():
    assert crowd().solve(rows=slice(0, 0)).endpoints["the peak"].shape == (0,)


def test_any_order_and_any_neighbours():
    draw = np.random.default_rng(2)
    for rows in (draw.permutation(MANY), draw.choice(MANY, 77, replace=False), np.arange(MANY)[::-3], [5] * 20):
        same(crowd().solve(rows=rows), whole(), others=rows)


@pytest.mark.parametrize("threads", [1, 2, 3, 64, 5000])
def test_any_number_of_threads(monkeypatch, threads):
    monkeypatch.setattr(native, "cores", lambda: threads)
    same(crowd().solve(), whole())


def test_one_core_of_the_machine():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert native.cores() == 1
        same(crowd().solve(), whole())
    finally:
        os.sched_setaffinity(0, before)


def with_changes(problem: Given, leaf: str, changes: dict[int, float]) -> Given:
    """The same patients but for one parameter of a few."""
    names = struct.names(problem.model.Parameters)
    leaves, tree = jax.tree.flatten(problem.cohort.p)
    values = np.broadcast_to(leaves[names.index(leaf)], problem.cohort.n).copy()
    for row, value in changes.items():
        values[row] = value
    leaves[names.index(leaf)] = values
    return problem._replace(cohort=dataclasses.replace(problem.cohort, p=jax.tree.unflatten(tree, leaves)))


def test_what_is_not_finite_is_said_and_touches_nobody():
    bad = {0: np.nan, 5: np.inf, 16: -np.inf, 999: np.nan}
    broken = with_changes(crowd(), "megakaryocytes.cfu_rate", bad).solve()
    assert np.flatnonzero(broken.status == engine.NOT_FINITE).tolist() == sorted(bad)
    for values in numbers(broken).values():
        assert np.isnan(values[..., sorted(bad)]).all()
    good = np.setdiff1d(np.arange(MANY), sorted(bad))
    same(broken, whole(), good, good)


def test_a_state_that_is_not_finite_from_the_start():
    problem = crowd()
    leaves, tree = jax.tree.flatten(problem.cohort.y0)
    leaves[3] = np.where(np.arange(MANY) == 7, np.nan, leaves[3])
    broken = problem._replace(cohort=dataclasses.replace(problem.cohort, y0=jax.tree.unflatten(tree, leaves))).solve()
    assert np.flatnonzero(broken.status).tolist() == [7]


CONSTANTS = {
    "NaN": "float('nan')",
    "infinity": "float('inf')",
    "infinity times zero": "0.0 * (float('inf') * y.depot)",
    "a division by zero": "y.platelets / (y.depot - y.depot)",
    "logarithm of zero": "jnp.log(jnp.asarray(0.0))",
    "root of a negative number": "jnp.sqrt(jnp.asarray(-1.0))",
    "an overflow": "jnp.exp(jnp.asarray(1e3))",
}


@pytest.mark.parametrize(("backend", "precision"), [("native", "f32"), ("native", "f64"), ("xla", "f64")])
@pytest.mark.parametrize("what", CONSTANTS)
def test_a_model_that_is_not_finite_gives_no_number(tmp_path, what, backend, precision):
    text = MINE.read_text().replace("made - p.loss * y.platelets)", f"made - p.loss * y.platelets + {CONSTANTS[what]})")
    path = tmp_path / "model.py"
    path.write_text("import jax.numpy as jnp\n" + text)
    result = tj.simulate(user(path, count=[70.0, 80.0]), None, days=1, backend=backend, precision=precision)
    assert result.status.tolist() == [engine.NOT_FINITE] * 2
    assert np.isnan(result.platelets).all()


def test_a_stiff_patient_takes_its_own_steps():
    problem = crowd()
    rate = problem.cohort.rate.copy()
    rate[[3, 20]] *= 16
    stiff = problem._replace(cohort=dataclasses.replace(problem.cohort, rate=rate))
    together = stiff.solve()
    rest = np.setdiff1d(np.arange(MANY), [3, 20])
    same(together, whole(), rest, rest)
    same(stiff.solve(rows=[3, 20]), together, others=[3, 20])
    same(stiff.solve(rows=[20]), together, others=[20])
    assert not np.array_equal(together.saved["platelets"][:, [3, 20]], whole().saved["platelets"][:, [3, 20]])
    np.testing.assert_allclose(together.saved["platelets"], whole().saved["platelets"], rtol=1e-3)


# --- turns


@pytest.mark.parametrize(
    ("groups", "threads", "seconds"), [(1, 1, 0.0), (1000, 2, 0.0), (1000, 64, 10.0), (77, 2, 0.3)]
)
def test_turns_take_every_vector_once(monkeypatch, groups, threads, seconds):
    """seconds: that one vector takes a thread, by the clock of the test."""
    now, seen = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def kernel(reference):
        job = reference._obj
        seen.extend(range(job.row // 32, job.row // 32 + job.groups))
        now[0] += job.groups * seconds / threads
        shares.append(job.groups)

    shares: list[int] = []
    native.in_turns(kernel, native.Job(groups=groups, row=32 * 5, threads=threads), 8)
    assert seen == list(range(5, groups + 5))
    assert all(n * seconds / threads <= max(TURN, native.TAKE * seconds) for n in shares[1:])


def test_ctrl_c_is_heard_soon():
    """A solve of forty seconds ends within a few of the signal."""
    problem, rows = crowd(), np.resize(np.arange(MANY), 20_000)
    problem = problem._replace(cohort=picked(problem.cohort, rows))
    problem.solve(rows=slice(0, 1))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    sent: list[float] = []

    def interrupt() -> None:
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.5, interrupt)
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            problem.solve(accuracy=1e-12)
        assert time.monotonic() - sent[0] < 10
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)


# --- instruction sets


@pytest.fixture
def instructions(monkeypatch):
    """instructions(name): kernels are compiled for that set of instructions from now on."""

    def choose(march: str | None) -> None:
        if march is None:
            monkeypatch.delenv("THROMBOJAX_MARCH", raising=False)
        else:
            monkeypatch.setenv("THROMBOJAX_MARCH", march)
        native.kernel.cache_clear()

    yield choose
    monkeypatch.undo()
    native.kernel.cache_clear()


def runs(march: str) -> bool:
    """Whether this processor has the instructions of that name."""
    flags = set(build.processor().split())
    return march == "" or {"avx2", "fma", "bmi2"} <= flags


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="names of x86-64")
def test_instruction_sets_agree(instructions):
    problem = case("romiplostim")
    instructions(None)
    own = problem.solve(precision="f64")
    for march in filter(runs, ("", "x86-64-v3")):
        instructions(march)
        assert_near(problem.solve(precision="f64"), own, 1e-12, 1e-9)
