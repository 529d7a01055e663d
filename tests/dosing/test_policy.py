"""Policies against a clinic in plain Python: one patient at a time, by ifs, written from what `policy.py` says it does."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thrombojax.dosing import policy
from thrombojax.dosing.policy import Band, Rule, Stop, Weight


@dataclasses.dataclass
class Patient:
    """A clinic's notes on one patient. rows: what was decided at each visit."""

    rule: Rule
    baseline: float

    def __post_init__(self):
        self.dose = self.rule.start
        self.withheld = self.ended = self.over = False
        self.last_change = None
        self.came = True
        self.in_a_row = [0] * len(self.rule.bands)
        self.since = [None] * len(self.rule.stops)
        self.counts = {"raised": 0, "lowered": 0, "withheld": 0, "rescues": 0}
        self.end_day = self.last_rescue = None
        self.transfused = 0.0

    def visit(self, day, count):
        """What is decided; count: None where the visit is missed."""
        rule = self.rule
        self.came = count is not None
        self.transfused = 0.0
        over = day >= rule.until
        word = self.look(day, count, over) if self.came else "missed"
        if over:
            self.over = True
        if self.came and count < rule.rescue_below and rule.rescue_from <= day <= rule.rescue_to:
            self.transfused, self.last_rescue = rule.rescue, day
            self.counts["rescues"] += 1
        return word

    def look(self, day, count, over):
        rule = self.rule
        if day <= rule.first:  # before the drug: its count is the one that a rise is measured from
            self.baseline = count
            return "off" if over else "kept"
        if self.ended or self.over or over:
            return "off"
        was_withheld, before, changed = self.withheld, self.dose, self.last_change
        for k, band in enumerate(rule.bands):
            self.in_a_row[k] = self.in_a_row[k] + 1 if band.low <= count < band.high else 0
        word = self.restart(day, count) if was_withheld else self.adjust(day, count)
        if self.stops(day, count, was_withheld, changed):
            self.ended, self.end_day = True, day
            return "stopped"
        if word in ("raised", "lowered", "withheld"):
            self.counts[word] += 1
        if word == "resumed" and self.dose < before:
            self.counts["lowered"] += 1
        return word

    def restart(self, day, count):
        if count >= self.rule.resume_below:
            return "still_withheld"
        self.dose = max(self.dose - self.rule.resume_by, self.rule.lowest)
        self.withheld, self.last_change = False, day
        self.in_a_row = [0] * len(self.in_a_row)
        return "resumed"

    def adjust(self, day, count):
        for k, band in enumerate(self.rule.bands):
            if not band.low <= count < band.high:
                continue
            if self.in_a_row[k] < band.visits or day < band.since:
                return "kept"
            if self.last_change is not None and day - self.last_change < band.days:
                return "kept"
            if band.by or band.withhold:
                self.in_a_row[k] = 0
            if band.withhold:
                self.withheld, self.last_change = True, day
                return "withheld"
            dose = min(max(self.dose + band.by, self.rule.lowest), self.rule.highest)
            if dose == self.dose:
                return "kept"
            word = "raised" if dose > self.dose else "lowered"
            self.dose, self.last_change = dose, day
            return word
        return "kept"

    def stops(self, day, count, was_withheld, changed):
        """Whether any stop rule has held for long enough. changed: day of the last change before this visit."""
        ends = False
        for k, end in enumerate(self.rule.stops):
            holds = end.low <= count < end.high and count >= self.baseline + end.rise
            holds = holds and end.least <= self.dose <= end.most and day >= end.since
            if end.settled > 0:
                holds = holds and not was_withheld and (changed is None or day - changed >= end.settled)
            if not holds:
                self.since[k] = None
                continue
            if self.since[k] is None:
                self.since[k] = day
            ends = ends or day - self.since[k] >= end.days
        return ends

    @property
    def prescribed(self):
        return 0.0 if self.withheld or self.ended or self.over else self.dose

    def given(self, place, weight):
        """(amount, what is left in the vials) of an administration."""
        rule = self.rule
        if not place or (rule.clinic and not self.came) or not self.prescribed:
            return 0.0, 0.0
        dose = rule.table[int(self.dose) - 1][place - 1] if rule.table else self.dose
        if rule.per_kg:
            dose *= weight
        for band in rule.weights:
            if band.low <= weight < band.high:
                dose *= band.times
        if rule.rounding:
            dose = math.floor(dose / rule.rounding + 0.5) * rule.rounding
        left = 0.0
        while rule.strength and left < dose - 1e-6:
            left += rule.strength
        return dose * rule.unit, (max(left - dose, 0.0) if rule.strength else 0.0) * rule.unit


EDGES = [0.0, 20.0, 50.0, 150.0, 200.0, 250.0, 400.0]
COUNTS = sorted({*EDGES, *(e - 0.1 for e in EDGES if e), 5.0, 30.0, 35.0, 70.0, 120.0, 180.0, 220.0, 300.0, 500.0})


def random_rule(rng, levels):
    """Bands that do not overlap, of every kind; stop rules of every kind; doses, or levels of a weekly table."""
    cuts = sorted(rng.choice(EDGES[1:], size=rng.integers(1, 4), replace=False))
    withholds = rng.random() < 0.7
    bands = []
    for low, high in zip([0.0, *cuts], [*cuts, policy.ALWAYS], strict=True):
        weeks = 7.0 * rng.integers(0, 4)
        by = float(rng.choice([-2, -1, 1, 2])) * (1.0 if levels else rng.choice([0.5, 1.0]))
        last = withholds and high == policy.ALWAYS
        since = rng.choice([0.0, weeks])
        bands.append(Band(low, high, float(rng.integers(1, 4)), weeks, since, 0.0 if last else by, float(last)))
    bands = [b for b in bands if b.withhold or rng.random() < 0.8]
    stops = []
    for _ in range(rng.integers(0, 4)):
        low, high = sorted(rng.choice([*EDGES, policy.ALWAYS], size=2, replace=False))
        dose = float(rng.integers(0, 6))
        stops.append(Stop(
            low, high, float(rng.choice([-policy.ALWAYS, 0.0, 20.0])), *rng.permutation([(0.0, dose), (dose, policy.ALWAYS)])[0],
            7.0 * rng.integers(0, 5), float(rng.choice([0.0, 30.0])), float(rng.choice([0.0, 0.0, 14.0])),
        ))  # fmt: skip
    weights = (Weight(0.0, 70.0, 0.5), Weight(70.0, policy.ALWAYS, 1.5)) if rng.random() < 0.3 else ()
    start = float(rng.integers(1, 5))
    lowest = float(rng.choice([1.0, start])) if levels else float(rng.choice([0.0, 0.5, start]))
    table = tuple(tuple(float(a) for a in rng.choice([0, 10, 20], size=3)) for _ in range(5)) if levels else ()
    weigh = {"per_kg": 1.0, "rounding": float(rng.choice([0, 5])), "strength": float(rng.choice([0, 125]))}
    return Rule(
        start=start, lowest=lowest, highest=float(rng.choice([start, 5.0])), clinic=float(rng.integers(0, 2)),
        unit=float(rng.choice([1.0, 1e-3])), resume_below=float(rng.choice([50.0, 150.0, 400.0])),
        resume_by=float(rng.integers(0, 3)), rescue_below=float(rng.choice([0.0, 20.0])), rescue=40.0,
        rescue_from=float(rng.choice([0.0, 30.0])), rescue_to=float(rng.choice([90.0, 1e30])),
        first=float(rng.choice([0.0, 0.0, 7.0, 14.0])), until=float(rng.choice([policy.ALWAYS, policy.ALWAYS, 70.0])),
        bands=tuple(bands), stops=tuple(stops), table=table, weights=weights,
        **({} if levels else weigh),
    )  # fmt: skip


SHAPE = policy.Policy(4, 3, 5, 3, 2)
PATIENTS, VISITS = 60, 24


@functools.partial(jax.jit, static_argnames="shape")
def run(shape, rule, first, days, counts, factor, places, weight):
    """Memory at the end, and by visit the decision, the doses, the transfusion and what the next administration gives."""

    def visit(m, given):
        day, count, factor, place = given
        after = policy.decide(rule, m, *policy.observed(rule, count, factor), day)
        rows = after.decision, policy.prescribed(after), after.dose, after.rescue
        return after, (*rows, *policy.amount(rule, after, place, weight))

    return jax.lax.scan(visit, policy.begin(shape, rule, first), (days, counts, factor, places))


def padded(rule, shape):
    return jax.tree.map(np.float64, policy.padded(rule, shape))


def drawn(seed, levels):
    """A rule, and counts, visits and administrations: `run`'s arguments from the rule on."""
    rng = np.random.default_rng([seed, levels])
    rule = random_rule(rng, levels)
    # the counts of a patient linger, so that rows of visits in one band occur
    counts = rng.choice(COUNTS, size=(VISITS + 1, PATIENTS))
    for k in range(VISITS):
        counts[k + 1] = np.where(rng.random(PATIENTS) < 0.6, counts[k], counts[k + 1])
    factor = np.where(rng.random((VISITS, PATIENTS)) < 0.15, 0.0, 1.0)
    days = np.cumsum(rng.choice([3.5, 7.0, 7.0, 14.0], size=VISITS))
    places = rng.integers(0, 4 if levels else 2, size=VISITS).astype(float)
    weight = rng.choice([62.5, 70.0, 72.4, 83.3], size=PATIENTS)
    return rule, counts[0], days, counts[1:], factor, places, weight


@pytest.mark.parametrize("levels", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_a_clinic_in_plain_python_decides_alike(seed, levels):
    rule, first, days, counts, factor, places, weight = drawn(seed, levels)
    m, rows = run(SHAPE, padded(rule, SHAPE), first, days, counts, factor, places, weight)
    decision, prescribed, dose, rescue, given, wasted = map(np.asarray, rows)
    m = jax.tree.map(np.asarray, m)
    for i in range(PATIENTS):
        p = Patient(rule, first[i])
        for k in range(VISITS):
            word = p.visit(days[k], counts[k, i] if factor[k, i] else None)
            place = (i, k)
            assert (policy.DECISIONS[int(decision[k, i])], place) == (word, place)
            assert (prescribed[k, i], dose[k, i], rescue[k, i]) == (p.prescribed, p.dose, p.transfused), place
            expected = p.given(int(places[k]), weight[i])
            assert (given[k, i], wasted[k, i]) == pytest.approx(expected, rel=1e-12, abs=1e-9 * rule.unit), place
        for name, times in p.counts.items():
            assert getattr(m, name)[i] == times, (name, i)
        assert m.ended[i] == (policy.NEVER if p.end_day is None else p.end_day)
        assert m.rescued[i] == (-policy.NEVER if p.last_rescue is None else p.last_rescue)
        assert m.first[i] == p.baseline


def test_random_rules_reach_every_decision():
    """Else the comparison above would compare nothing."""
    found = {word: 0 for word in policy.DECISIONS}
    for seed in range(10):
        rng = np.random.default_rng(seed)
        for count in rng.choice(COUNTS, size=40):
            p = Patient(random_rule(rng, False), 30.0)
            for day in range(7, 100, 7):
                seen = None if rng.random() < 0.1 else float(count if rng.random() < 0.5 else rng.choice(COUNTS))
                found[p.visit(float(day), seen)] += 1
    assert min(found.values()) > 20, found


def test_a_rule_in_a_larger_shape_is_the_same_rule():
    rule, *given = drawn(3, True)
    shape = policy.shape((rule,))
    assert shape != SHAPE
    for a, b in zip(
        run(shape, padded(rule, shape), *given)[1], run(SHAPE, padded(rule, SHAPE), *given)[1], strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_no_rule_keeps_a_dose_of_nothing():
    m = policy.begin(policy.Policy(), Rule(), jnp.asarray(30.0))
    m = policy.decide(Rule(), m, jnp.asarray(5.0), jnp.asarray(1.0), 7.0)
    assert policy.DECISIONS[int(m.decision)] == "kept"
    assert policy.prescribed(m) == m.rescue == policy.amount(Rule(), m, 1.0, 70.0)[0] == 0


def test_a_visit_sees_the_measured_count_or_the_least_reported_or_nothing():
    seen, present = policy.observed(
        Rule(lloq=3.0), jnp.asarray([10.0, 2.0, 2.0, 10.0]), jnp.asarray([1.2, 1.2, 2.0, 0.0])
    )
    np.testing.assert_allclose(seen, [12.0, 3.0, 4.0, np.nan])
    assert present.tolist() == [1, 1, 1, 0]
