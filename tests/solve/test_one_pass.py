"""An objective of each patient's own: its value and gradient from one pass of the kernel are those of two."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradient_cases import SAVE, dot, forward, itp, patient_rows, user

from thrombojax.codegen.trace import CannotTranslate
from thrombojax.solve import gradient
from thrombojax.solve.engine import NO_BASELINE

pytestmark = pytest.mark.xdist_group("fast gradients")


def score(saved):
    days = saved["platelets"]
    return sum(jnp.log(count / 100.0) ** 2 for count in days) / days[0]


def once(case, at, days=SAVE, objective=score, cohort=None, **how):
    given = {"parameters": at["parameters"], "y0": at["y0"], "backend": "native", **how}
    cohort = case.cohort if cohort is None else cohort
    weights = np.linspace(0.5, 1.5, cohort.n)
    return gradient.total(case.model, cohort, case.line(at, days), objective, weights, days=days, **given)


def twice(case, at, days=SAVE, **how):
    saved = case.solve(at, save=days, wanted=(), **how)[1]
    return jnp.sum(np.linspace(0.5, 1.5, case.cohort.n) * score({name: tuple(v) for name, v in saved.items()}))


@pytest.mark.parametrize("case", [user, functools.partial(itp, "romiplostim")], ids=["infusions", "romiplostim"])
def test_one_pass_is_two(case):
    """In all that gradients reach, in both directions."""
    case = case()
    value, slope = jax.jit(jax.value_and_grad(functools.partial(once, case)))(case.at)
    known, steep = jax.value_and_grad(functools.partial(twice, case))(case.at)
    assert float(once(case, case.at)) == pytest.approx(float(known), rel=1e-13)
    assert float(value) == pytest.approx(float(known), rel=1e-13)
    largest = max(np.abs(b).max() for b in jax.tree.leaves(steep))  # some are nothing but rounding
    for a, b in zip(jax.tree.leaves(slope), jax.tree.leaves(steep), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-15 * largest)
    push = forward(functools.partial(once, case))
    for what, direction in case.directions().items():
        assert float(push(case.at, direction)) == pytest.approx(dot(steep, direction), rel=1e-9), what


def test_days_at_one_bound():
    case, days = user(), (3.5, 3.5 + 1e-10, 20.0)
    slope, steep = (jax.grad(functools.partial(f, case, days=days))(case.at) for f in (once, twice))
    np.testing.assert_allclose(slope["amounts"], steep["amounts"], rtol=1e-10)


def test_memory_changes_no_bit():
    case = user(1500)
    whole, short = (jax.grad(functools.partial(once, case, memory=memory))(case.at) for memory in (None, 1))
    jax.tree.map(np.testing.assert_array_equal, whole, short)


def test_a_patient_without_a_result():
    """Has no gradient and harms no neighbour's; the sum is not a number."""
    case, bad = user(), 5
    status = case.cohort.status.copy()
    status[bad] = NO_BASELINE
    cohort = dataclasses.replace(case.cohort, status=status)
    value, slope = jax.value_and_grad(functools.partial(once, case, cohort=cohort))(case.at)
    sound = jax.grad(functools.partial(once, case))(case.at)
    live = np.arange(cohort.n) != bad
    assert np.isnan(value)
    assert not any(part.any() for part in jax.tree.leaves(patient_rows(slope, bad)))
    jax.tree.map(np.testing.assert_array_equal, patient_rows(slope, live), patient_rows(sound, live))


def test_an_objective_without_a_translation():
    def odd(saved):
        return jax.scipy.special.bessel_jn(saved["platelets"][0], v=1)[0]

    with pytest.raises(CannotTranslate):
        jax.grad(functools.partial(once, user(), objective=odd))(user().at)
