"""Gradients through titrated doses: of the generated kernels, against XLA's, forward mode and central differences."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from policy_cases import Case, case

from thrombojax.dosing import policy
from thrombojax.dosing.policy import Band
from thrombojax.errors import InputError
from thrombojax.models import struct
from thrombojax.solve import cuda, engine, gradient, pieces, places
from thrombojax.solve.steppers import FixedSteps, method
from thrombojax.solve.xla import Plan, trajectory

pytestmark = pytest.mark.xdist_group("policy gradients")
WIDTH = 0.1
"""Of the smooth twin's edges."""
DAYS = tuple(float(day) for day in range(7, 85, 7))
WEIGHTS = {"peak": 1e-3, "titrated_dose": 1e-2, "dose": 2e-3}
"""Of the endpoints in the objective, which is also the sum of the logarithms of all weekly counts."""


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


class Smooth:
    """A case whose rule is its smooth twin, and an objective of (rule, first state, weight of the body, doses)."""

    def __init__(self, of: Case):
        self.of = of
        fastest = np.max(engine.fastest(of.model, of.cohort, of.clinic, of.care))
        self.cohort = dataclasses.replace(of.cohort, rate=np.full(of.cohort.n, fastest))  # XLA has one level for all
        self.clinic = of.clinic._replace(policy=of.clinic.policy._replace(smooth=WIDTH))
        self.endpoints = tuple(e for e in of.endpoints if e.name in WEIGHTS)
        self.tree = jax.tree.structure(of.care.rule)
        weight = np.asarray(struct.as_dict(of.cohort.p)["body.weight"])
        rule = np.array(policy.numbers(of.care.rule), float)
        self.at: Any = (rule, of.cohort.y0, weight, np.asarray(of.line.timeline.dose))

    def given(self, rule: Any, dose: Any) -> Any:
        line = self.of.line._replace(timeline=self.of.line.timeline._replace(dose=dose))
        return line, self.of.care._replace(rule=jax.tree.unflatten(self.tree, list(rule)))

    def objective(self, rule: Any, y0: Any, weight: Any, dose: Any, backend: str = "native", **how: Any) -> Any:
        line, care = self.given(rule, dose)
        people = {"parameters": {"body.weight": weight}, "y0": y0, "clinic": self.clinic, "care": care}
        found, saved = gradient.solve(self.of.model, self.cohort, line, endpoints=self.endpoints, save=("platelets",),
                                      days=DAYS, backend=backend, **people, **how)  # fmt: skip
        return score(found, saved["platelets"])

    def by_xla(self, rule: Any, y0: Any, weight: Any, dose: Any) -> Any:
        (line, care), model, cols = self.given(rule, dose), self.of.model, self.of.line.columns
        level = float(np.max(engine.buckets(model, self.cohort.rate, method(model))))
        level *= engine.refinement(model, cols, 1e-4)
        stepper = FixedSteps(int(np.ceil(line.most_steps * level)), method(model))
        kinds = tuple(engine.reduction(e, cols) for e in self.endpoints)
        phases = tuple(line.timeline.phase)
        plan = Plan(cols, kinds, ("platelets",), phases, line.infusions, stepper, self.clinic)
        p = struct.replace(self.cohort.p, {"body.weight": weight})
        watch: Any = engine.watched(self.endpoints, line)
        out = trajectory(model, plan, p, y0, pieces.scales(model, cols, p), line.timeline, watch, level, care)
        return score(out.endpoints, out.saved["platelets"][np.array([line.bound(day) for day in DAYS])])

    def direction(self, doses: bool = False) -> Any:
        """A random one, where a small step crosses no edge: amounts of the titrated drug are places in its pattern."""
        draw = np.random.default_rng(3)

        def of(a: Any) -> Any:
            a = np.asarray(a)
            return draw.normal(size=a.shape) * np.where(np.abs(a) < 1e6, np.abs(a), 0.0)

        rule, y0, weight, dose = jax.tree.map(of, self.at)
        # Days, weight bands and yes-or-no are compared sharply by the twin as well.
        soft = jax.tree.map(lambda _: 0.0, self.of.care.rule)._replace(
            **dict.fromkeys(("start", "resume_below", "resume_by", "rescue_below", "rescue"), 1.0),
            bands=tuple(Band(low=1.0, high=1.0, by=1.0, visits=0.0) for _ in self.of.care.rule.bands),
        )
        rule = rule * np.array(policy.numbers(soft))
        fixed = np.array([column.by == "" for column in self.of.line.columns])
        return rule, y0, weight, dose * fixed if doses else np.zeros_like(dose)


def score(found: Any, counts: Any) -> Any:
    return jnp.sum(jnp.log(counts)) + sum(jnp.sum(WEIGHTS[name] * value) for name, value in found.items())


@functools.cache
def smooth(name: str) -> Smooth:
    return Smooth(case(name))


@functools.cache
def slope(name: str, backend: str = "native", **how: Any) -> Any:
    c = smooth(name)
    f = functools.partial(c.objective, backend=backend, **how) if backend != "xla" else c.by_xla
    return jax.jit(jax.grad(f, argnums=(0, 1, 2, 3)))(*c.at)


def assert_near(ours: Any, theirs: Any, tolerance: float) -> None:
    for mine, exact in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(mine, exact, rtol=tolerance, atol=tolerance * max(np.abs(exact).max(), 1e-9))


def dot(a: Any, b: Any) -> float:
    return float(sum(np.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)))


def forward(c: Smooth, direction: Any, **how: Any) -> float:
    f = functools.partial(c.objective, **how)
    return float(jax.jit(lambda at, along: jax.jvp(f, at, along)[1])(c.at, direction))


LEVELS, BESIDE = (pytest.param(name, marks=pytest.mark.slow) for name in ("levels", "beside a fixed regimen"))


@pytest.mark.parametrize("name", ["with misses", LEVELS, BESIDE])
def test_native_is_xla(name):
    ours = slope(name)
    assert np.count_nonzero(ours[0]) > 5
    assert_near(ours, slope(name, "xla"), 1e-9)


@pytest.mark.parametrize("name", ["with misses", BESIDE])
def test_both_modes_are_central_differences(name):
    c, h = smooth(name), 1e-6
    along = c.direction(doses=name.startswith("beside"))
    reverse = dot(slope(name), along)
    assert forward(c, along) == pytest.approx(reverse, rel=1e-10)
    value = jax.jit(c.objective)
    at = [jax.tree.map(lambda a, d, s=s: a + s * h * d, c.at, along) for s in (1.0, -1.0)]
    assert (float(value(*at[0])) - float(value(*at[1]))) / (2 * h) == pytest.approx(reverse, rel=1e-5)


@pytest.mark.parametrize("name", ["with misses", LEVELS])
def test_the_text_for_gpus_is_native(name, monkeypatch):
    monkeypatch.setattr(cuda, "unusable", lambda model, precision="f32": None)
    monkeypatch.setattr(places, "gpus", lambda: (places.Host(),))
    c = smooth(name)
    assert_near(slope(name, "cuda"), slope(name), 1e-10)
    along = c.direction()
    assert forward(c, along, backend="cuda") == pytest.approx(dot(slope(name), along), rel=1e-10)


def test_memory_changes_no_bit():
    """A record of few segments at a time, with the clinic's between them."""
    jax.tree.map(np.testing.assert_array_equal, slope("with misses", memory=1 << 19), slope("with misses"))


@pytest.mark.slow
def test_single_precision():
    single = slope("with misses", precision="f32")
    for mine, exact in zip(jax.tree.leaves(single), jax.tree.leaves(slope("with misses")), strict=True):
        np.testing.assert_allclose(mine, exact, rtol=1e-3, atol=1e-4 * max(np.abs(exact).max(), 1e-9))


def counts(c: Smooth, rule: Any, **how: Any) -> Any:
    line, care = c.given(rule, c.at[3])
    how = {"save": ("platelets",), "days": DAYS, "clinic": c.clinic, "care": care, **how}
    return gradient.solve(c.of.model, c.cohort, line, **how)[1]["platelets"]


def logs(saved: Any) -> Any:
    return sum(jnp.log(value) for value in saved["platelets"])


def test_one_pass_is_two_passes():
    c = smooth("with misses")
    weights = np.linspace(0.5, 1.5, c.cohort.n)

    def once(rule: Any) -> Any:
        line, care = c.given(rule, c.at[3])
        return gradient.total(c.of.model, c.cohort, line, logs, weights, days=DAYS, clinic=c.clinic, care=care)

    def twice(rule: Any) -> Any:
        return jnp.sum(weights * jnp.sum(jnp.log(counts(c, rule)), axis=0))

    assert_near(jax.value_and_grad(once)(c.at[0]), jax.value_and_grad(twice)(c.at[0]), 1e-12)


def test_some_patients_in_another_order():
    c, chosen = smooth("with misses"), np.array([7, 2, 11, 4])
    weights = np.broadcast_to([1.0, -2.0, 0.5, 3.0], (len(DAYS), 4))
    whole = jax.grad(lambda rule: jnp.sum(weights * jnp.log(counts(c, rule))[:, chosen]))(c.at[0])
    some = jax.jit(jax.grad(lambda rule, rows: jnp.sum(weights * jnp.log(counts(c, rule, rows=rows)))))
    assert_near(some(c.at[0], chosen), whole, 1e-12)


@pytest.mark.slow
def test_rules_of_patients_own():
    """A rule for each patient, all alike: what they ask adds up to what the one rule does."""
    c = smooth("with misses")
    own = c.clinic._replace(rules=True)
    spread = np.repeat(c.at[0][:, None], c.cohort.n, axis=1)
    each = jax.grad(lambda rule: jnp.sum(jnp.log(counts(c, rule, clinic=own))))(spread)
    one = jax.grad(lambda rule: jnp.sum(jnp.log(counts(c, rule))))(c.at[0])
    assert each.shape == spread.shape
    np.testing.assert_allclose(np.sum(each, axis=1), one, rtol=1e-10, atol=1e-12 * np.abs(one).max())


def test_a_parameter_that_varies_in_time_has_no_gradient():
    c = smooth("with misses")
    names = struct.names(c.of.model.Parameters)
    varying = [names[k] for k in c.clinic.varying]
    assert varying
    line, care = c.given(c.at[0], c.at[3])
    moved = {varying[0]: np.asarray(struct.as_dict(c.cohort.p)[varying[0]])}
    with pytest.raises(InputError, match=varying[0]):
        gradient.solve(c.of.model, c.cohort, line, save=("platelets",), days=DAYS, parameters=moved, clinic=c.clinic,
                       care=care)  # fmt: skip
