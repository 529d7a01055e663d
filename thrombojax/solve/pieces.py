"""What a trajectory is made of, whatever runs it: pure functions of flat states (tuples of the State's leaves).

`xla` composes them with `lax.scan`; code generation traces each one once and prints it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from thrombojax.dosing import policy, smooth_policy
from thrombojax.dosing.policy import Memory, Policy, Rule
from thrombojax.dosing.timeline import Column
from thrombojax.endpoints.reducers import LEDGER, REDUCERS, Seen
from thrombojax.models import struct
from thrombojax.models.protocol import Inputs, Key, Model
from thrombojax.models.struct import Scalar
from thrombojax.solve import linear
from thrombojax.solve.steppers import Exact, FixedSteps, Stepper

Flat = tuple[Any, ...]
Slopes = tuple[Flat, Flat]
"""Values of the observables, and their slopes per day."""


class Reduction(NamedTuple):
    """Static part of an endpoint: which reducer, over which observable (or which columns for a dose).

    relative: "ratio" or "change" against the value before any dose, which is then carried in front of the reducer's own.
    """

    name: str
    reducer: str
    observable: str
    columns: tuple[int, ...]
    relative: str = ""

    def against(self, value: Scalar, baseline: Scalar) -> Scalar:
        return value / baseline if self.relative == "ratio" else value - baseline


class Clinic(NamedTuple):
    """Static part of what differs between patients in time. own: whether administrations have a factor of each patient's own;

    varying: leaves of Parameters that change in the course of time; rules: whether numbers of the policy are each patient's own.
    """

    policy: Policy = Policy()
    own: bool = False
    varying: tuple[int, ...] = ()
    rules: bool = False


class Plan(NamedTuple):
    """Static part of a trajectory: what to compile for. save: observables kept at every bound."""

    columns: tuple[Column, ...]
    reductions: tuple[Reduction, ...]
    save: tuple[str, ...]
    phases: tuple[Key, ...]
    infusions: bool
    stepper: Stepper = FixedSteps()
    clinic: Clinic | None = None
    each: bool = False
    """Whether every patient has a timeline of its own: its arrays then have the patient as their last axis."""
    past: int = 0
    """Rows of the past that are kept for delays."""

    @property
    def observables(self) -> tuple[str, ...]:
        """Everything that is looked at."""
        seen = [COUNT] if self.clinic is not None else []
        return tuple(dict.fromkeys([*self.save, *(r.observable for r in self.reductions if r.observable), *seen]))


COUNT = "platelets"
"""The observable that a visit sees."""


class Part(NamedTuple):
    """One segment as reducers see it, besides the observables; dose, rate: per column; inside, pick: per endpoint."""

    start: Scalar
    length: Scalar
    dose: Sequence[Scalar]
    rate: Sequence[Scalar]
    inside: Sequence[Scalar]
    pick: Sequence[Scalar]


class Visit(NamedTuple):
    """The end of a segment where a clinic looks: the count that it sees (NaN: none), and the memory of visits before it."""

    seen: Scalar
    memory: Memory


def state(model: Model, flat: Sequence[Any]) -> Any:
    return struct.unflatten(model.State, flat)


def scales(model: Model, columns: Sequence[Column], p: Any) -> list[Any]:
    """What an amount of each column is multiplied by."""
    if not any(c.per_kg for c in columns):
        return [1.0 for _ in columns]
    weight = struct.as_dict(p)[model.weight]
    return [weight if c.per_kg else jnp.ones_like(weight) for c in columns]


class Target(NamedTuple):
    """A place in the flat state that an amount reaches, and how much of it; share: of what the place holds."""

    place: int
    factor: Scalar
    share: bool


def targets(model: Model, plan: Plan, p: Any, scale: Sequence[Scalar]) -> list[list[Target]]:
    """Where an amount of each column goes."""
    index = {name: i for i, name in enumerate(struct.names(model.State))}

    def of(column: Column, times: Scalar) -> list[Target]:
        entry = model.entries[column.key]
        return [
            Target(index[leaf], fraction(p) * times, share)
            for leaves, share in ((entry.into, False), (entry.shares, True))
            for leaf, fraction in leaves.items()
        ]

    return [of(column, scale[c]) for c, column in enumerate(plan.columns)]


def weight(model: Model, plan: Plan, p: Any) -> Scalar:
    """What doses per kg are multiplied by; 1 where a policy gives none."""
    return struct.as_dict(p).get(model.weight, 1.0)


def deciding(plan: Plan) -> Any:
    """Who decides and gives: the rule, or its smooth twin."""
    width = plan.clinic.policy.smooth if plan.clinic is not None else 0.0
    return smooth_policy.Twin(width) if width > 0.0 else policy


def give(
    model: Model, plan: Plan, rule: Rule, memory: Memory, dose: Sequence[Scalar], taken: Sequence[Scalar], p: Any
) -> tuple[list[Scalar], Memory]:
    """Amounts that arrive at a bound, per column, and the memory after it. dose: the timeline's payload there; taken: what
    each patient takes of each column, as a factor."""
    amounts = []
    for c, column in enumerate(plan.columns):
        amount = dose[c]
        if column.by == "policy":
            amount, wasted = deciding(plan).amount(rule, memory, dose[c], weight(model, plan, p))
            amount, wasted = (amount * taken[c], wasted * taken[c]) if len(taken) else (amount, wasted)
            memory = policy.count(memory, amount, wasted)
        elif column.by == "rescue":
            amount = jnp.where(dose[c] > 0.0, memory.rescue, 0.0)
        elif len(taken):
            amount = amount * taken[c]
        amounts.append(amount)
    return amounts, memory


def attend(plan: Plan, rule: Rule, memory: Memory, values: Sequence[Any], factor: Scalar, day: Scalar,
           acts: Scalar) -> tuple[Memory, tuple[Scalar, ...]]:  # fmt: skip
    """Memory after a visit and its row in the ledger; acts: 1, or 0 where it only looks."""
    count = values[plan.observables.index(COUNT)]
    seen, present = policy.observed(rule, count, factor)
    after = deciding(plan).decide(rule, memory, seen, present, day)
    # A factor below zero: the visit is on another day of its window. What it decided there stays, but for the transfusion.
    here = (acts > 0.5) & (factor >= 0.0)
    before = memory._replace(rescue=jnp.where(acts > 0.5, 0.0 * memory.rescue, memory.rescue))
    after = jax.tree.map(lambda new, old: jnp.where(here, new, old), after, before)
    return after, policy.written(after, jnp.zeros_like(count) + day, count, seen)


def admit(plan: Plan, rule: Rule, values: Sequence[Any], factor: Scalar) -> tuple[Memory, tuple[Scalar, ...]]:
    """Memory before the first dose, and the first row of the ledger."""
    assert plan.clinic is not None
    count = values[plan.observables.index(COUNT)]
    seen, present = policy.observed(rule, count, factor)
    memory = policy.begin(plan.clinic.policy, rule, jnp.where(present > 0.5, seen, count))
    return memory, policy.written(memory, jnp.zeros_like(count), count, seen)


def look(plan: Plan, rule: Rule, memory: Memory, values: Sequence[Any], factor: Scalar) -> Visit:
    """The end of a segment as reducers of visits see it; factor: 1 where no clinic looks."""
    return Visit(policy.observed(rule, values[plan.observables.index(COUNT)], factor)[0], memory)


NEGATIVE = -1e-4
"""Below it a state that is never below 0 is a sign of steps too long, not of rounding."""


def inject(model: Model, into: Sequence[Sequence[Target]], dose: Sequence[Scalar], flat: Sequence[Any]) -> Flat:
    """State after the boluses of a bound: column after column, so that a share is of what the columns before it left.

    A state that steps have made impossible is not a number from here on.
    """
    after = list(flat)
    for i, name in enumerate(struct.names(model.State)):
        if name in model.positive:
            wrong = jnp.minimum(after[i] - NEGATIVE, 0.0)
            after[i] = after[i] + jax.lax.stop_gradient(jnp.sqrt(wrong))  # 0, or not a number
    for c, places in enumerate(into):
        for i, factor, share in places:
            given = dose[c] * factor
            after[i] = after[i] + (given * after[i] if share else given)
    return tuple(after)


def infuse(into: Sequence[Sequence[Target]], rate: Sequence[Scalar]) -> dict[int, Scalar]:
    """Constant rates into states, by their places."""
    rates: dict[int, Scalar] = {}
    for c, places in enumerate(into):
        for i, factor, share in places:
            if not share:  # an entry with shares cannot be infused
                rates[i] = rates.get(i, 0.0) + rate[c] * factor
    return rates


def derivative(
    model: Model, t: Scalar, flat: Sequence[Any], p: Any, u: Inputs, rates: Mapping[int, Scalar]
) -> tuple[Any, ...]:
    d = jax.tree.leaves(model.rhs(t, state(model, flat), p, u))
    return tuple(d[i] + rates[i] if i in rates else d[i] for i in range(len(d)))


def see(model: Model, plan: Plan, flat: Sequence[Any], p: Any) -> Flat:
    """Values of `plan.observables`."""
    seen = struct.as_dict(model.observe(state(model, flat), p))
    return tuple(seen[name] for name in plan.observables)


def slopes(
    model: Model, plan: Plan, t: Scalar, flat: Sequence[Any], p: Any, u: Inputs, rates: Mapping[int, Scalar]
) -> Slopes:
    """Values of `plan.observables` and how fast they change along the trajectory."""
    flat = tuple(flat)
    return jax.jvp(lambda flat: see(model, plan, flat, p), (flat,), (derivative(model, t, flat, p, u, rates),))


def exact(model: Model, plan: Plan, p: Any, u: Inputs, rates: Mapping[int, Scalar], h: Scalar) -> Exact | None:
    """Propagators of the linear compartments to the middle and the end of a step, with their infusions.

    None where there are none, or the method looks elsewhere too: then they are integrated like all others.
    """
    if model.linear_block is None or not isinstance(plan.stepper, FixedSteps):
        return None
    if not set(plan.stepper.tableau.nodes) <= {0.0, 0.5, 1.0}:
        return None
    block = model.linear_block(p, u)
    index = {name: i for i, name in enumerate(struct.names(model.State))}
    states = tuple(index[name] for name in block.states)
    inputs = {k: rates[i] for k, i in enumerate(states) if i in rates}
    return Exact(states, linear.halves(linear.generator(block, inputs), h))


def begin(
    plan: Plan,
    values: Sequence[Any],
    zero: Scalar,
    first: Sequence[Scalar],
    numbers: Sequence[Any],
    visit: Visit | None = None,
) -> Any:
    """Carries of all reducers, from the values before any dose."""
    seen = dict(zip(plan.observables, values, strict=True))

    def value(r: Reduction) -> Any:
        if visit is not None and r.observable == COUNT and REDUCERS[r.reducer].kind == "visit":
            return visit.seen
        return seen.get(r.observable, zero)

    def init(i: int, r: Reduction) -> Any:
        v = value(r)
        own = REDUCERS[r.reducer].init(r.against(v, v) if r.relative else v, first[i], numbers[i])
        return (v, *own) if r.relative else own

    return tuple(init(i, r) for i, r in enumerate(plan.reductions))


def reduce(
    plan: Plan,
    carries: Any,
    part: Part,
    start: Slopes,
    end: Slopes,
    numbers: Sequence[Any],
    scale: Sequence[Scalar],
    visit: Visit | None = None,
) -> Any:
    """Carries of all reducers after one more segment; start: after its doses, end: before those of its end."""

    def update(i: int, r: Reduction) -> Any:
        seen = _seen(plan, r, i, carries[i], part, start, end, scale, visit)
        if not r.relative:
            return REDUCERS[r.reducer].update(carries[i], seen, numbers[i])
        baseline, *own = carries[i]
        slopes = (seen.d0 / baseline, seen.d1 / baseline) if r.relative == "ratio" else (seen.d0, seen.d1)
        seen = seen._replace(
            v0=r.against(seen.v0, baseline), d0=slopes[0], v1=r.against(seen.v1, baseline), d1=slopes[1]
        )
        return (baseline, *REDUCERS[r.reducer].update(tuple(own), seen, numbers[i]))

    return tuple(update(i, r) for i, r in enumerate(plan.reductions))


def _seen(plan: Plan, r: Reduction, i: int, carry: Any, part: Part, start: Slopes, end: Slopes,
          scale: Sequence[Scalar], visit: Visit | None) -> Seen:  # fmt: skip
    given: Scalar = 0.0
    bolus: Scalar = 0.0
    kind = REDUCERS[r.reducer].kind
    if kind == "ledger":
        ends: Any = (0.0, 0.0, 0.0 if visit is None else visit.seen, 0.0)
    elif kind == "dose":
        given = sum((scale[c] * (part.dose[c] + part.rate[c] * part.length) for c in r.columns), 0.0 * carry[0])
        bolus = sum((scale[c] * part.dose[c] for c in r.columns), 0.0 * carry[0])
        ends = (given,) * 4
    else:
        o = plan.observables.index(r.observable)
        last = visit.seen if visit is not None and kind == "visit" and r.observable == COUNT else end[0][o]
        ends = (start[0][o], start[1][o], last, end[1][o])
    v0, d0, v1, d1 = ends
    found = Seen(part.start, part.length, v0, d0, v1, d1, part.inside[i], part.pick[i], given, bolus=bolus)
    if visit is None:
        return found
    memory = visit.memory
    return found._replace(rescued=memory.rescued, rescues=memory.rescues, prescribed=policy.prescribed(memory))


def finish(
    plan: Plan, carries: Any, window: Sequence[Any], numbers: Sequence[Any], memory: Memory | None = None
) -> dict[str, Any]:
    """Endpoints by name; window: per endpoint (from, to) in days; memory: as the last visit left it."""

    def value(i: int, r: Reduction) -> Any:
        if r.reducer not in LEDGER:
            own = carries[i][1:] if r.relative else carries[i]
            return REDUCERS[r.reducer].finish(own, window[i], numbers[i])
        written = getattr(memory, LEDGER[r.reducer])
        written = jnp.minimum(written, 1.0) if r.reducer == "rescued" else written
        return jnp.where(written >= policy.NEVER, jnp.nan, written)

    return {r.name: value(i, r) for i, r in enumerate(plan.reductions)}
