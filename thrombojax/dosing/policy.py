"""Doses that follow counts: titration, hold and restart, stop rules and rescue, as pure functions of floats.

A visit sees a count and changes a patient's `Memory`; an administration asks the memory how much to give. All numbers are in
`Rule`, so that arms of a study share one program; `Policy` is the shape that the program is compiled for. What happens at one
visit, in this order: a missed visit decides nothing; a stopped drug stays stopped, and a course that is over is off; a drug
that is withheld is resumed or not; else the band of the count says whether the dose goes up, down or is withheld; then the stop
rules look at the dose that results; then rescue, whatever became of the drug. Visits up to the first dose decide on rescue only.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from thrombojax.models.struct import Scalar

NEVER = 1e9
"""A day that does not come; the last one that was, before the first, is -NEVER."""
ALWAYS = 1e30
"""Beyond every count and dose: infinities would make NaN of a sum."""

DECISIONS = ("kept", "raised", "lowered", "withheld", "still_withheld", "resumed", "stopped", "off", "missed")
KEPT, RAISED, LOWERED, WITHHELD, STILL_WITHHELD, RESUMED, STOPPED, OFF, MISSED = map(float, range(len(DECISIONS)))
LEDGER = ("day", "count", "seen", "decision", "dose", "rescue")
"""What is written down of a visit: its day, the true count, the one measured (NaN: missed), the decision, the dose from now
on, the transfusion given."""


class Policy(NamedTuple):
    """Shape of a study's rules. levels: rows of a table of weekly patterns, period: its columns (days); weights: weight bands.

    smooth: width of edges where the smooth twin decides (`smooth_policy`), 0: the rule itself.
    """

    bands: int = 0
    stops: int = 0
    levels: int = 0
    period: int = 0
    weights: int = 0
    smooth: float = 0.0


class Band(NamedTuple):
    """low <= count < high, seen at `visits` visits in a row, `days` after the last change and from day `since` on: the dose moves
    by `by`. The start is no change: labels wait before they raise the first dose, but lower it at any time."""

    low: Scalar = 0.0
    high: Scalar = 0.0
    visits: Scalar = 1.0
    days: Scalar = 0.0
    since: Scalar = 0.0
    by: Scalar = 0.0
    withhold: Scalar = 0.0


class Stop(NamedTuple):
    """The drug ends where all of this has held for `days`: low <= count < high, count >= first count + rise, dose in range,
    from day `since` on; and, where `settled` is not 0, a drug that was given, unchanged, for that many days."""

    low: Scalar = 0.0
    high: Scalar = ALWAYS
    rise: Scalar = -ALWAYS
    least: Scalar = 0.0
    most: Scalar = ALWAYS
    days: Scalar = 0.0
    since: Scalar = 0.0
    settled: Scalar = 0.0


class Weight(NamedTuple):
    """low <= weight < high (kg): amounts are multiplied by `times`."""

    low: Scalar = 0.0
    high: Scalar = 0.0
    times: Scalar = 1.0


class Rule(NamedTuple):
    """Every number of an arm's policy.

    start, lowest, highest: doses per administration, or levels; per_kg, clinic: 1 or 0, the dose is per weight, it is given at
    visits only; rounding: amounts are multiples of it (0: any); strength: amount of the smallest vial, of which the rest is
    wasted (0: none is); unit: factor to the model's unit; table: amounts of each level by day of the period; resume_below,
    resume_by: when a drug that is withheld comes back, and how much lower; rescue_below, rescue, rescue_from,
    rescue_to: a transfusion's amount, and the days on which it may be given;
    lloq: the least count that is reported; first: day of the first dose; until: day from which there are none.
    """

    start: Scalar = 0.0
    lowest: Scalar = 0.0
    highest: Scalar = 0.0
    per_kg: Scalar = 0.0
    clinic: Scalar = 0.0
    rounding: Scalar = 0.0
    strength: Scalar = 0.0
    unit: Scalar = 1.0
    resume_below: Scalar = 0.0
    resume_by: Scalar = 0.0
    rescue_below: Scalar = 0.0
    rescue: Scalar = 0.0
    rescue_from: Scalar = 0.0
    rescue_to: Scalar = ALWAYS
    lloq: Scalar = 0.0
    first: Scalar = 0.0
    until: Scalar = ALWAYS
    bands: tuple[Band, ...] = ()
    stops: tuple[Stop, ...] = ()
    table: tuple[tuple[Scalar, ...], ...] = ()
    weights: tuple[Weight, ...] = ()


class Memory(NamedTuple):
    """What is known of a patient. streak: visits in a row in each band, counted anew once it acts or the drug is resumed (a
    missed visit neither counts nor breaks it); began: day since which each stop rule holds.

    first: the last count up to the first dose; changed: day of the last change; stopped: 1 from the visit at which a stop rule
    ended the drug (on day `ended`) or its course was over; present: 1 if the last visit was kept; raised, lowered (restarts one
    step lower among them), withheld, rescues: how many; rescue: transfusion of this visit; rescued: day of the last one; given,
    wasted: amounts of the titrated drug so far, in the model's unit.
    """

    first: Scalar
    dose: Scalar
    held: Scalar
    stopped: Scalar
    changed: Scalar
    present: Scalar
    rescue: Scalar
    rescued: Scalar
    decision: Scalar
    raised: Scalar
    lowered: Scalar
    withheld: Scalar
    rescues: Scalar
    ended: Scalar
    given: Scalar
    wasted: Scalar
    streak: tuple[Scalar, ...]
    began: tuple[Scalar, ...]


def shape(rules: "tuple[Rule, ...]") -> Policy:
    """The smallest shape that holds all of these rules."""
    return Policy(
        max((len(r.bands) for r in rules), default=0),
        max((len(r.stops) for r in rules), default=0),
        max((len(r.table) for r in rules), default=0),
        max((len(row) for r in rules for row in r.table), default=0),
        max((len(r.weights) for r in rules), default=0),
    )


def padded(rule: Rule, policy: Policy) -> Rule:
    """The rule with bands, stops and levels that never hold, up to a shape."""
    never = Stop(low=ALWAYS, days=NEVER)
    rows = [(*row, *(0.0,) * (policy.period - len(row))) for row in rule.table]
    return rule._replace(
        bands=(*rule.bands, *(Band(),) * (policy.bands - len(rule.bands))),
        stops=(*rule.stops, *(never,) * (policy.stops - len(rule.stops))),
        table=(*rows, *((0.0,) * policy.period,) * (policy.levels - len(rows))),
        weights=(*rule.weights, *(Weight(),) * (policy.weights - len(rule.weights))),
    )


def observed(rule: Rule, count: Scalar, factor: Scalar) -> tuple[Scalar, Scalar]:
    """(what a visit sees of a count, 1 or 0 for a visit that is kept or missed); factor: measured over true, 0 if missed."""
    present = jnp.where(factor > 0.0, 1.0, 0.0)
    return jnp.where(factor > 0.0, jnp.maximum(count * factor, rule.lloq), jnp.nan), present


def begin(policy: Policy, rule: Rule, seen: Scalar) -> Memory:
    """Before the first dose; seen: the count of that day."""
    zero = 0.0 * seen
    return Memory(
        seen, zero + rule.start, *(zero,) * 2, zero - NEVER, zero + 1.0, zero, zero - NEVER, *(zero,) * 5, zero + NEVER,
        *(zero,) * 2, (zero,) * policy.bands, (zero + NEVER,) * policy.stops,
    )  # fmt: skip


def prescribed(m: Memory) -> Scalar:
    """The dose, or level, as it stands."""
    return jnp.where((m.held > 0.5) | (m.stopped > 0.5), 0.0, m.dose)


def decide(rule: Rule, m: Memory, seen: Scalar, present: Scalar, day: Scalar) -> Memory:
    """Memory after a visit. seen: the count as measured; present: 1, or 0 where the visit is missed."""
    here, begun, over = present > 0.5, day > rule.first, day >= rule.until
    off, held = (m.stopped > 0.5) | over, m.held > 0.5
    looked = here & begun & ~off
    free = looked & ~held
    resume = looked & held & (seen < rule.resume_below)
    dose = jnp.where(resume, jnp.maximum(m.dose - rule.resume_by, rule.lowest), m.dose)
    withhold: Any = jnp.zeros_like(m.held) > 0.5
    streak = []
    for band, run in zip(rule.bands, m.streak, strict=True):
        inside = (seen >= band.low) & (seen < band.high)
        run = jnp.where(looked, jnp.where(inside, run + 1.0, 0.0), run)
        ripe = free & inside & (run >= band.visits) & (day - m.changed >= band.days) & (day >= band.since)
        dose = jnp.where(ripe, jnp.clip(m.dose + band.by, rule.lowest, rule.highest), dose)
        withhold = withhold | (ripe & (band.withhold > 0.5))
        acted = ripe & ((band.by != 0.0) | (band.withhold > 0.5))
        streak.append(jnp.where(acted | resume, 0.0, run))
    up, down = dose > m.dose, dose < m.dose
    stop: Any = jnp.zeros_like(m.held) > 0.5
    began = []
    for end, first in zip(rule.stops, m.began, strict=True):
        holds: Any = (seen >= end.low) & (seen < end.high) & (seen >= m.first + end.rise)
        holds = holds & (dose >= end.least) & (dose <= end.most) & (day >= end.since)
        holds = holds & ((end.settled <= 0.0) | (~held & (day - m.changed >= end.settled)))
        first = jnp.where(looked, jnp.where(holds, jnp.minimum(first, day), NEVER), first)
        stop = stop | (looked & holds & (day - first >= end.days))
        began.append(first)
    rescue = here & (seen < rule.rescue_below) & (day >= rule.rescue_from) & (day <= rule.rescue_to)
    decision = jnp.where(held, STILL_WITHHELD, KEPT)
    codes = (
        (up, RAISED),
        (down, LOWERED),
        (resume, RESUMED),
        (withhold, WITHHELD),
        (stop, STOPPED),
        (off, OFF),
        (~here, MISSED),
    )
    for happened, code in codes:
        decision = jnp.where(happened, code, decision)
    return Memory(
        first=jnp.where(here & (day <= rule.first), seen, m.first),
        dose=dose,
        held=jnp.where(withhold, 1.0, jnp.where(resume, 0.0, m.held)),
        stopped=jnp.where(stop | over, 1.0, m.stopped),
        changed=jnp.where(up | down | withhold | resume, day, m.changed),
        present=present,
        rescue=jnp.where(rescue, rule.rescue, 0.0),
        rescued=jnp.where(rescue, day, m.rescued),
        decision=decision,
        raised=m.raised + jnp.where(up & ~resume & ~stop, 1.0, 0.0),
        lowered=m.lowered + jnp.where(down & ~stop, 1.0, 0.0),
        withheld=m.withheld + jnp.where(withhold & ~stop, 1.0, 0.0),
        rescues=m.rescues + jnp.where(rescue, 1.0, 0.0),
        ended=jnp.where(stop, day, m.ended),
        given=m.given,
        wasted=m.wasted,
        streak=tuple(streak),
        began=tuple(began),
    )


def amount(rule: Rule, m: Memory, place: Scalar, weight: Scalar) -> tuple[Scalar, Scalar]:
    """What an administration gives and what of an opened vial is left, in the model's unit.

    place: 1 + its place in the period of a table of levels (1 where there is none); 0: no administration.
    """
    dose = prescribed(m)
    for level, row in enumerate(rule.table, 1):
        for day, listed in enumerate(row, 1):
            # tables come with levels; an arm without one has zeros, and its dose stands
            dose = jnp.where((m.dose == level) & (place == day) & _has(rule), jnp.where(dose > 0.0, listed, 0.0), dose)
    dose = dose * jnp.where(rule.per_kg > 0.5, weight, 1.0)
    for band in rule.weights:
        dose = dose * jnp.where((weight >= band.low) & (weight < band.high), band.times, 1.0)
    step = jnp.where(rule.rounding > 0.0, rule.rounding, 1.0)
    dose = jnp.where(rule.rounding > 0.0, jnp.floor(dose / step + 0.5) * step, dose)
    dose = jnp.where((place > 0.5) & ((rule.clinic < 0.5) | (m.present > 0.5)), dose, 0.0)
    vial = jnp.where(rule.strength > 0.0, rule.strength, 1.0)
    # a hair less than one vial more, so that rounding never opens a vial for nothing
    used = -jnp.floor(1e-5 - dose / vial) * vial
    return dose * rule.unit, jnp.where(rule.strength > 0.0, used - dose, 0.0) * rule.unit


def _has(rule: Rule) -> Any:
    """Whether the rule's doses are levels of its table."""
    return sum((value for row in rule.table for value in row), 0.0) > 0.0


def count(m: Memory, given: Scalar, wasted: Scalar) -> Memory:
    """Memory after an administration."""
    return m._replace(given=m.given + given, wasted=m.wasted + wasted)


def written(m: Memory, day: Scalar, true: Scalar, seen: Scalar) -> tuple[Scalar, ...]:
    """A visit's row in the ledger, in the order of LEDGER."""
    return day, true, seen, m.decision, prescribed(m), m.rescue


def numbers(rule: Rule) -> list[Any]:
    """All numbers in the order in which a kernel gets them."""
    return list(jax.tree.leaves(rule))
