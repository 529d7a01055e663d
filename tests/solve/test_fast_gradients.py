"""Gradients through the generated kernel: against central differences, forward against reverse, and against XLA's reverse."""

import dataclasses
import functools
import os
import signal
import threading
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from differentiable import course
from gradient_cases import CASES, DAYS, QUICK, SAVE, dot, forward, itp, moved, patient_rows, reverse, user

from thrombojax.codegen import build
from thrombojax.models import struct
from thrombojax.solve import adjoint, native, tangent, ways
from thrombojax.solve.engine import NO_BASELINE, Cohort
from thrombojax.solve.steppers import FixedSteps, method
from thrombojax.solve.turns import turns

pytestmark = pytest.mark.xdist_group("fast gradients")


@pytest.fixture(scope="module", autouse=True)
def compiler():
    try:
        build.load("int thrombojax_works(void) { return 1; }")
    except build.NoCompiler as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in CASES])
def test_reverse_and_forward_mode_against_central_differences(name):
    """Along a direction of the amounts, the times, the durations, the first state, and of every parameter; jitted."""
    case = CASES[name]()
    value = jax.jit(case.objective)
    slope, push = reverse(case.objective)(case.at), forward(case.objective)
    for what, direction in case.directions().items():
        along = float(push(case.at, direction))
        h = 1e-5
        difference = float(value(moved(case.at, direction, h)) - value(moved(case.at, direction, -h))) / (2 * h)
        size = 1e-6 * float(np.abs(value(case.at)))
        assert dot(slope, direction) == pytest.approx(along, rel=1e-10, abs=1e-7 * size), what
        assert along == pytest.approx(difference, rel=1e-6, abs=size), what
        assert along != 0.0, what


@pytest.mark.slow
def test_segments_of_one_length_whose_ends_move_differently():
    """Their propagator has one value, but not one tangent: what is kept from the segment before is of no use."""
    case = dataclasses.replace(user(), doses=((2.40625, 0.05, 0.0, 1), (2.8125, 0.04, 0.0, 1)))
    direction = {**jax.tree.map(np.zeros_like, case.at), "times": np.array([1.0, 0.5])}
    value, slope = jax.jit(case.objective), reverse(case.objective)(case.at)
    along = float(forward(case.objective)(case.at, direction))
    ahead, behind = (float(value(moved(case.at, direction, h))) for h in (1e-5, -1e-5))
    assert along == pytest.approx((ahead - behind) / 2e-5, rel=1e-6)
    assert along == pytest.approx(dot(slope, direction), rel=1e-10)


@pytest.mark.parametrize("outputs", ["saved", pytest.param("endpoints", marks=pytest.mark.slow)])
def test_only_one_kind_of_output(outputs):
    """The other kind is not in the kernel at all."""
    case = user()
    how = {"wanted": ()} if outputs == "saved" else {"save": ()}
    f = functools.partial(case.objective, **how)
    slope, push = reverse(f)(case.at), forward(f)
    for what, direction in case.directions().items():
        assert dot(slope, direction) == pytest.approx(float(push(case.at, direction)), rel=1e-10), what


def test_single_precision():
    case = user()
    exact = reverse(case.objective)(case.at)
    single = reverse(functools.partial(case.objective, precision="f32"))(case.at)
    for a, b in zip(jax.tree.leaves(single), jax.tree.leaves(exact), strict=True):
        assert np.all(np.isfinite(a))
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max())


def test_memory_changes_no_bit():
    """However short the windows are between which states are kept."""
    case = itp("romiplostim")
    whole, *short = (
        reverse(functools.partial(case.objective, memory=memory))(case.at) for memory in (adjoint.MEMORY, 10**6, 1)
    )
    for other in short:
        jax.tree.map(np.testing.assert_array_equal, other, whole)


@pytest.mark.parametrize("why", ["not finite", pytest.param("no baseline", marks=pytest.mark.slow)])
def test_a_patient_without_a_result_has_no_gradient_and_harms_no_neighbour(why):
    case = user()
    bad = 5
    live = np.arange(case.cohort.n) != bad
    sound = jax.grad(functools.partial(case.objective, live=live))(case.at)
    cohort, at = case.cohort, case.at
    if why == "not finite":
        slope = at["parameters"]["slope"].copy()
        slope[bad] = 1e308
        at = {**at, "parameters": {**at["parameters"], "slope": slope}}
    else:
        status = cohort.status.copy()
        status[bad] = NO_BASELINE
        cohort = dataclasses.replace(cohort, status=status)
    found, saved = case.solve(at, cohort=cohort)
    for value in (*found.values(), *saved.values()):
        np.testing.assert_array_equal(np.isnan(value), np.broadcast_to(~live, value.shape))
    slope = jax.grad(functools.partial(case.objective, live=live, cohort=cohort))(at)
    for part in jax.tree.leaves(patient_rows(slope, bad)):
        assert part == 0.0
    jax.tree.map(np.testing.assert_array_equal, patient_rows(slope, live), patient_rows(sound, live))
    for what in ("amounts", "times", "durations"):
        np.testing.assert_allclose(slope[what], sound[what], rtol=1e-12)
    # Also where the objective does not leave the patient out: NaN there, and nothing to the sums.
    whole = jax.grad(functools.partial(case.objective, cohort=cohort))(at)
    np.testing.assert_allclose(whole["amounts"], sound["amounts"], rtol=1e-12)
    push = jax.jvp(functools.partial(case.objective, live=live, cohort=cohort), (at,), (case.directions()["times"],))[1]
    assert float(push) == pytest.approx(dot(sound, case.directions()["times"]), rel=1e-10)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_threads_change_no_bit():
    """With more patients than one share of the common sums."""
    case = user(1500)
    mine = os.sched_getaffinity(0)
    several = jax.grad(case.objective)(case.at)
    try:
        os.sched_setaffinity(0, {min(mine)})
        one = jax.grad(case.objective)(case.at)
    finally:
        os.sched_setaffinity(0, mine)
    jax.tree.map(np.testing.assert_array_equal, one, several)


def test_turns_change_no_bit(monkeypatch):
    """Short turns and one that takes all."""
    monkeypatch.setattr(native, "cores", lambda: 1)
    case = user(1500)
    seen: list[int] = []

    def derivatives(turns: Any) -> Any:
        def watched(groups: int, least: int) -> Any:
            for first, count in turns(groups, least):
                seen.append(count)
                yield first, count

        monkeypatch.setattr(adjoint, "turns", watched)
        return jax.grad(case.objective)(case.at)

    parts = derivatives(turns)
    assert len(seen) > 1
    jax.tree.map(np.testing.assert_array_equal, parts, derivatives(lambda groups, least: [(0, groups)]))


@pytest.mark.parametrize("way", ["reverse", "forward"])
def test_ctrl_c_is_heard_soon(monkeypatch, way):
    """Half a minute of derivatives ends within a few seconds of the signal; JAX wraps what its callback raised."""
    case = user(20_000)
    monkeypatch.setattr(
        ways.Ways,
        "forward",
        lambda self, moving, fixed: jax.tree.map(lambda s: np.ones(s.shape, s.dtype), self.shapes(fixed)),
    )
    module: Any = {"reverse": adjoint, "forward": tangent}[way]
    run, sent = module.run, []

    def interrupt() -> None:
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    def interrupted(*given: Any, **how: Any) -> Any:
        threading.Timer(0.3, interrupt).start()
        return run(*given, **how)

    monkeypatch.setattr(module, "run", interrupted)
    exact = functools.partial(case.objective, accuracy=1e-10)
    derivative = {
        "reverse": lambda: jax.grad(exact)(case.at),
        "forward": lambda: jax.jvp(exact, (case.at,), (case.directions()["times"],)),
    }[way]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(jax.errors.JaxRuntimeError, match="KeyboardInterrupt"):
            derivative()
        assert time.monotonic() - sent[0] < 10
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    "case",
    [user, pytest.param(functools.partial(itp, "romiplostim"), marks=pytest.mark.slow)],
    ids=["infusions", "romiplostim"],
)
def test_times_that_nobody_asks_for_change_nothing(case, monkeypatch):
    kernel, made = adjoint.kernel, []

    def noted(*given: Any, times: bool) -> Any:
        made.append(times)
        return kernel(*given, times=times)

    monkeypatch.setattr(adjoint, "kernel", noted)
    asked, not_asked = (float(case().slope_of_amounts(times, backend="native")) for times in (True, False))
    assert made == [True, False]
    assert not_asked == pytest.approx(asked, rel=1e-12)


def test_the_order_of_patients():
    """A patient's own gradient is the same wherever it stands; common sums are the same to rounding."""
    case = user(1500)
    order = np.random.default_rng(1).permutation(1500)
    slope = jax.grad(case.objective)(case.at)
    cohort = case.cohort
    p = jax.tree.map(lambda a: a[order], cohort.p)
    y0 = jax.tree.map(lambda a: a[order], cohort.y0)
    mixed = Cohort(p, y0, cohort.rate[order], cohort.status[order])
    at = {**case.at, **patient_rows(case.at, order)}
    other = jax.grad(functools.partial(case.objective, cohort=mixed))(at)
    jax.tree.map(np.testing.assert_array_equal, patient_rows(other, slice(None)), patient_rows(slope, order))
    for what in ("amounts", "times", "durations"):
        np.testing.assert_allclose(other[what], slope[what], rtol=1e-11, atol=1e-11 * np.abs(slope[what]).max())


def test_against_reverse_mode_of_xla():
    """One patient, to amounts, times, durations and parameters; its first state follows no parameter that moves."""
    case = user()
    row = 4
    of = lambda a: np.asarray(a)[row : row + 1]  # noqa: E731
    cohort = Cohort(jax.tree.map(of, case.cohort.p), jax.tree.map(of, case.cohort.y0), case.cohort.rate[row : row + 1],
                    case.cohort.status[row : row + 1])  # fmt: skip
    leaves = tuple(name for name in case.leaves if name != "weight")
    p = {name: float(v[0]) for name, v in struct.as_dict(cohort.p).items()}
    column, infused = tuple(d[3] for d in case.doses), tuple(d[2] > 0 for d in case.doses)
    how = FixedSteps(16, method(case.model))
    f = course(case.model, case.columns, column, infused, DAYS, SAVE, ("platelets",), stepper=how)

    def theirs(moving: Any, amounts: Any, times: Any, durations: Any) -> Any:
        return jnp.sum(jnp.log(f({**p, **moving}, times, amounts, durations)))

    one = {name: p[name] for name in leaves}
    at = case.at
    exact = jax.jit(jax.grad(theirs, argnums=(0, 1, 2, 3)))(one, at["amounts"], at["times"], at["durations"])
    mine = {**at, **patient_rows(at, slice(row, row + 1))}
    slope = reverse(functools.partial(case.objective, wanted=(), cohort=cohort))(mine)
    for name in leaves:
        np.testing.assert_allclose(slope["parameters"][name][0], exact[0][name], rtol=1e-9, err_msg=name)
    for got, want in zip((slope["amounts"], slope["times"], slope["durations"]), exact[1:], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)
