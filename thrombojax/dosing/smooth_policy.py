"""The smooth twin of `policy`: the same signatures and the same memory, with shares between 0 and 1 where that has yes or no.

A band's edges are as wide as `width` on the logarithm of the count, waits and numbers of visits are compared within half a visit,
amounts are not rounded and no vial is opened; levels of a table are interpolated. A stop rule ends a share of the drug, with
doses compared within half a step. As width goes to 0 it becomes the rule.
Reports never use it: what it finds is evaluated under the rule itself.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from thrombojax.dosing import policy
from thrombojax.dosing.policy import ALWAYS, KEPT, NEVER, Memory, Rule, Stop
from thrombojax.models.struct import Scalar

DAYS = 3.5
"""Half a week: within it a wait counts as over in part."""
LEAST = 1e-3


class Twin(NamedTuple):
    """width: of edges, on the logarithm of the count."""

    width: float

    def over(self, value: Scalar, edge: Scalar) -> Scalar:
        """1 above an edge, 0 below; edges at 0 or ALWAYS are never crossed."""
        inner = (jnp.log(jnp.maximum(value, LEAST)) - jnp.log(jnp.clip(edge, LEAST, 1e6))) / self.width
        return jnp.where(edge <= 0.0, 1.0, jnp.where(edge >= 0.1 * ALWAYS, 0.0, jax.nn.sigmoid(inner)))

    def decide(self, rule: Rule, m: Memory, seen: Scalar, present: Scalar, day: Scalar) -> Memory:
        """As `policy.decide`."""
        hard = policy.decide(rule, m, seen, present, day)
        seen = jnp.where(present > 0.5, seen, 100.0)
        begun = jnp.where((day > rule.first) & (present > 0.5), 1.0, 0.0)
        over = jnp.where(day >= rule.until, 1.0, 0.0)
        looked = begun * (1.0 - over) * (1.0 - m.stopped)
        free = looked * (1.0 - m.held)
        resume = looked * m.held * (1.0 - self.over(seen, rule.resume_below))
        dose = m.dose + resume * (jnp.maximum(m.dose - rule.resume_by, rule.lowest) - m.dose)
        withhold: Any = 0.0 * m.held
        changed: Any = resume
        streak = []
        for band, run in zip(rule.bands, m.streak, strict=True):
            inside = self.over(seen, band.low) * (1.0 - self.over(seen, band.high))
            run = jnp.where(looked > 0.0, inside * (run + 1.0), run)
            often = jax.nn.sigmoid((run - band.visits + 0.5) / (2.0 * self.width))
            often = jnp.where(band.visits <= 1.0, 1.0, often)
            waited = self._waited(day - m.changed, band.days)
            waited = jnp.where(band.days <= 0.0, 1.0, waited)
            ripe = free * inside * often * waited * jnp.where(day >= band.since, 1.0, 0.0)
            dose = dose + ripe * (jnp.clip(m.dose + band.by, rule.lowest, rule.highest) - m.dose)
            withhold = withhold + ripe * band.withhold
            acted = jnp.where((band.by != 0.0) | (band.withhold > 0.5), ripe, 0.0)
            changed = changed + acted
            streak.append(run * (1.0 - acted) * (1.0 - resume))
        going: Any = looked
        began: list[Any] = []
        for end, since in zip(rule.stops, m.began, strict=True):
            ends, since = self._ends(rule, end, m, seen, dose, since, day)
            going = going * (1.0 - ends)
            began.append(jnp.where(looked > 0.0, since, m.began[len(began)]))
        changed, withhold = jnp.clip(changed, 0.0, 1.0), jnp.clip(withhold, 0.0, 1.0)
        rescue = jnp.where((present > 0.5) & (day >= rule.rescue_from) & (day <= rule.rescue_to), 1.0, 0.0)
        rescue = rescue * (1.0 - self.over(seen, rule.rescue_below)) * jnp.where(rule.rescue_below > 0.0, 1.0, 0.0)
        before = jnp.maximum(m.changed, -1e3)  # no change yet is long ago, and no more than that
        return hard._replace(
            dose=dose,
            held=m.held * (1.0 - resume) + withhold * (1.0 - m.held),
            changed=jnp.where(
                (changed < 1e-9) & (m.changed <= -0.5 * NEVER), m.changed, before + changed * (day - before)
            ),
            rescue=rescue * rule.rescue,
            rescues=m.rescues + rescue,
            decision=KEPT + 0.0 * m.decision,
            streak=tuple(streak),
            stopped=jnp.where(over > 0.5, 1.0, m.stopped + looked - going),
            began=tuple(began),
        )

    def _ends(
        self, rule: Rule, end: Stop, m: Memory, seen: Scalar, dose: Scalar, since: Scalar, day: Scalar
    ) -> tuple[Scalar, Scalar]:
        """(share of the drug that a stop rule ends at a visit, day since which it holds).

        Where it does not hold, it could from the next visit on: that day lies ahead, and is brought back to the visit.
        """
        step: Any = 0.0 * dose + LEAST
        for band in rule.bands:
            step = jnp.maximum(step, jnp.abs(band.by))
        width = 2.0 * self.width * step
        holds = self.over(seen, end.low) * (1.0 - self.over(seen, end.high)) * self.over(seen, m.first + end.rise)
        holds = holds * jax.nn.sigmoid((dose - end.least + 0.5 * step) / width)
        holds = holds * jax.nn.sigmoid((end.most - dose + 0.5 * step) / width) * jnp.where(day >= end.since, 1.0, 0.0)
        settled = (1.0 - m.held) * self._waited(day - m.changed, end.settled)
        holds = holds * jnp.where(end.settled <= 0.0, 1.0, settled)
        since = day - holds * (day - jnp.minimum(since, day)) + (1.0 - holds) * end.days
        return holds * self._waited(day - since, end.days), since

    def _waited(self, days: Scalar, needed: Scalar) -> Scalar:
        """Whether so many days are enough, within half a week."""
        return jax.nn.sigmoid((days - needed + DAYS) / (10.0 * self.width))

    def amount(self, rule: Rule, m: Memory, place: Scalar, weight: Scalar) -> tuple[Scalar, Scalar]:
        """As `policy.amount`."""
        given = (1.0 - m.held) * (1.0 - m.stopped)
        dose = m.dose
        levels: Any = 0.0 * m.dose
        for level, row in enumerate(rule.table, 1):
            share = jnp.clip(1.0 - jnp.abs(m.dose - level), 0.0, 1.0)
            levels = levels + share * sum(jnp.where(place == day, listed, 0.0) for day, listed in enumerate(row, 1))
        if rule.table:
            dose = jnp.where(sum((v for row in rule.table for v in row), 0.0) > 0.0, levels, dose)
        dose = given * dose * jnp.where(rule.per_kg > 0.5, weight, 1.0)
        for band in rule.weights:
            dose = dose * jnp.where((weight >= band.low) & (weight < band.high), band.times, 1.0)
        dose = jnp.where((place > 0.5) & ((rule.clinic < 0.5) | (m.present > 0.5)), dose, 0.0)
        return dose * rule.unit, 0.0 * dose
