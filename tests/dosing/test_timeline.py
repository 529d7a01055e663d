"""The timeline's arrays: what happens at a bound, when, and in how many steps; and the traced timeline against NumPy's."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thrombojax.dosing.timeline import Column, Slots, event_times, grid, schedule
from thrombojax.models import registry
from thrombojax.models.protocol import Breakpoints, Entry

END = 10.0
LAG = 0.25
SWITCH = (0.5, 0.75)
REFINE = ((0.1, 40.0), (0.6, 20.0))
COLUMNS = (Column(("a", "iv"), False), Column(("b", "oral"), False), Column(("b", "oral"), True))


@functools.cache
def model():
    """Drug a: bolus or infusion with short steps after it; drug b: lag and two breakpoints; an era from day 4.5."""
    base = registry.build(registry.Source("wang2010"))
    return dataclasses.replace(
        base,
        name="timeline",
        entries={
            ("a", "iv"): Entry("mg", {"central": lambda p: 1.0}, infusible=True, refine=REFINE),
            ("b", "oral"): Entry("mg", {"depot": lambda p: 1.0}, lag=lambda p: LAG),
        },
        breakpoints=lambda p: Breakpoints(at=(4.5,), after_dose={("b", "oral"): SWITCH}),
        steps_per_day=4.0,
    )


def made(a=(), infused=(), b=(), b_per_kg=(), days=END, save=()):
    """a, b, b_per_kg: (time, amount); infused: (time, amount, duration) of a."""
    rows = [(t, x, 0.0, 0) for t, x in a] + [(t, x, d, 0) for t, x, d in infused]
    rows += [(t, x, 0.0, 1) for t, x in b] + [(t, x, 0.0, 2) for t, x in b_per_kg]
    return schedule(model(), model().defaults, COLUMNS, slots_of(rows), grid(days, save))


def slots_of(rows):
    time, amount, duration, column = (np.array([r[k] for r in rows]) for k in range(4)) if rows else (np.zeros(0),) * 4
    return Slots(time, amount, duration, tuple(int(c) for c in column), tuple(bool(d > 0) for d in duration))


def segment(s, day):
    """The segment that holds the time just after `day`."""
    start, length = np.asarray(s.timeline.start), np.asarray(s.timeline.length)
    (k,) = np.flatnonzero((start <= day + 1e-7) & (day + 1e-7 < start + length))
    return int(k)


def test_a_dose_comes_after_what_is_saved_at_the_same_instant():
    s = made(a=[(0.0, 1.0), (7.0, 3.0)], save=[7.0])
    dose = s.timeline.dose[:, 0]
    assert dose[s.bound(0)] == 1.0  # bound b is the start of segment b: the saved value there is before its dose
    assert dose[s.bound(7.0)] == 3.0
    assert dose.sum() == 4.0
    assert s.timeline.start[s.bound(7.0)] == 7.0


def test_grid_is_the_union_of_days_and_given_times():
    np.testing.assert_array_equal(grid(3.0, [0.5, 3.0, 7.0, -1.0], [0.5 + 1e-12]), [0, 0.5, 1, 2, 3])
    np.testing.assert_array_equal(grid(2.5), [0, 1, 2, 2.5])
    np.testing.assert_array_equal(grid(0.5), [0, 0.5])


def test_doses_that_coincide_add_up_in_one_bound():
    once, twice = made(a=[(2.5, 5.0)]), made(a=[(2.5, 2.0), (2.5, 3.0)])
    assert len(once.timeline.start) == len(twice.timeline.start)
    np.testing.assert_array_equal(once.timeline.dose, twice.timeline.dose)
    near = made(a=[(2.5, 2.0), (2.5 + 4e-10, 3.0)])
    np.testing.assert_array_equal(once.timeline.dose, near.timeline.dose)
    apart = made(a=[(2.5, 2.0), (2.5 + 1e-8, 3.0)])
    assert len(apart.timeline.start) == len(once.timeline.start) + 3  # its bound and the ends of its two windows


def test_drugs_of_the_same_instant_share_a_bound():
    s = made(a=[(3.0, 1.0)], b=[(3.0 - LAG, 2.0)])
    k = segment(s, 3.0)
    np.testing.assert_array_equal(s.timeline.dose[k], [1.0, 2.0, 0.0])


def test_a_dose_at_the_horizon_has_no_effect():
    none, late = made(), made(a=[(END, 9.0)])
    assert not late.timeline.dose.any()
    np.testing.assert_array_equal(none.timeline.start, late.timeline.start)
    # and neither has one whose lag carries it past the end
    assert not made(b=[(END - LAG / 2, 9.0)]).timeline.dose.any()
    assert not made(infused=[(END, 9.0, 1.0)]).timeline.rate.any()


def test_lag_moves_the_arrival():
    s = made(b=[(1.0, 2.0)])
    k = int(np.flatnonzero(s.timeline.dose[:, 1])[0])
    assert s.timeline.start[k] == 1.0 + LAG


def test_infusions_are_rates_that_add():
    s = made(infused=[(1.0, 6.0, 2.0), (2.5, 1.0, 1.0)])
    rate = s.timeline.rate[:, 0]
    for day, expected in (
        (0.5, 0.0),
        (1.0, 3.0),
        (2.4, 3.0),
        (2.5, 4.0),
        (2.9, 4.0),
        (3.0, 1.0),
        (3.4, 1.0),
        (3.5, 0.0),
    ):
        assert rate[segment(s, day)] == expected, day
    assert rate @ s.timeline.length == pytest.approx(7.0, rel=1e-14)
    assert s.infusions
    assert not s.timeline.dose.any()
    cut = made(infused=[(9.0, 6.0, 2.0)])
    assert cut.timeline.rate[:, 0] @ cut.timeline.length == pytest.approx(3.0, rel=1e-14)


def test_phases_count_the_breakpoints_since_the_last_dose():
    key = ("b", "oral")
    s = made(b=[(1.0, 1.0), (3.0, 1.0), (3.6, 1.0)])
    phase = s.timeline.phase[key]
    for day, expected in (
        *((0.0, 2), (0.9, 2), (1.0, 0), (1.49, 0), (1.5, 1), (1.74, 1), (1.75, 2), (2.9, 2)),
        # a second dose before the first one's breakpoints have passed starts over
        *((3.0, 0), (3.5, 1), (3.6, 0), (3.75, 0), (4.1, 1), (4.35, 2), (9.9, 2)),
    ):
        assert phase[segment(s, day)] == expected, day
    assert (made().timeline.phase[key] == 2).all()


def test_phases_follow_a_drug_given_in_two_units():
    """75 mg and 1 mg/kg of one drug are two columns but one drug: each dose starts its own phases."""
    one = made(b=[(1.0, 1.0), (3.0, 1.0)])
    two = made(b=[(1.0, 1.0)], b_per_kg=[(3.0, 1.0)])
    np.testing.assert_array_equal(one.timeline.phase["b", "oral"], two.timeline.phase["b", "oral"])
    swapped = made(b=[(3.0, 1.0)], b_per_kg=[(1.0, 1.0)])
    np.testing.assert_array_equal(one.timeline.phase["b", "oral"], swapped.timeline.phase["b", "oral"])


def test_era_counts_absolute_breakpoints():
    s = made()
    assert s.timeline.era[segment(s, 4.4)] == 0
    assert s.timeline.era[segment(s, 4.5)] == 1


def test_short_steps_after_a_dose():
    s = made(a=[(2.0, 1.0), (5.0, 1.0), (5.3, 1.0)])
    steps, length = s.timeline.steps, s.timeline.length
    expected = [
        *((0.0, 4), (1.0, 4), (2.0, 4), (2.1, 10), (2.6, 2), (3.0, 4)),
        # the second dose's windows replace what is left of the first one's, whose end stays a bound
        *((5.0, 4), (5.1, 4), (5.3, 4), (5.4, 4), (5.6, 6), (5.9, 1)),
    ]
    for day, count in expected:
        assert steps[segment(s, day)] == count, day
    assert s.most_steps == 10
    assert (steps >= length * 4 - 1e-6).all()


def test_windows_of_two_drugs_take_the_shorter_steps():
    m = dataclasses.replace(
        model(),
        entries={
            ("a", "iv"): Entry("mg", {"central": lambda p: 1.0}, refine=((0.5, 40.0),)),
            ("b", "oral"): Entry("mg", {"depot": lambda p: 1.0}, refine=((0.5, 10.0),)),
        },
        breakpoints=lambda p: Breakpoints(),
    )
    s = schedule(m, m.defaults, COLUMNS, slots_of([(1.0, 1.0, 0.0, 0), (1.2, 1.0, 0.0, 1)]), grid(END))
    assert [int(s.timeline.steps[segment(s, d)]) for d in (1.0, 1.2, 1.5, 1.7)] == [8, 12, 2, 2]


TIMES = st.one_of(
    st.sampled_from([0.0, 1.0, 2.0, 2.25, 2.5, 2.75, 3.0, 4.5, 5.0, 9.75, END]),
    st.floats(0, END).map(lambda t: round(t, 3)),
)
AMOUNTS = st.sampled_from([0.0, 1.0, 2.5])
ARMS = st.tuples(
    st.lists(st.tuples(TIMES, AMOUNTS), max_size=4),
    st.lists(st.tuples(TIMES, AMOUNTS, st.sampled_from([0.25, 1.0, 3.0])), max_size=3),
    st.lists(st.tuples(TIMES, AMOUNTS), max_size=4),
)


@given(ARMS)
def test_what_holds_for_any_arm(arm):
    a, infused, b = arm
    s = made(a, infused, b)
    t = s.timeline
    assert (t.length > 0).all()
    assert t.length.max() <= 1.0
    assert t.start[0] == 0.0
    np.testing.assert_allclose(t.start[1:], np.cumsum(t.length)[:-1], atol=1e-12)
    assert t.start[-1] + t.length[-1] == END
    np.testing.assert_allclose(t.dose[:, 0].sum(), sum(x for day, x in a if day < END))
    np.testing.assert_allclose(t.dose[:, 1].sum(), sum(x for day, x in b if day + LAG < END))
    inside = sum(x * max(min(d, END - day), 0.0) / d for day, x, d in infused)
    np.testing.assert_allclose(t.rate[:, 0] @ t.length, inside, atol=1e-12)
    assert (np.diff(t.position) > 0).all()
    np.testing.assert_allclose(np.append(t.start, END)[t.position], s.grid, atol=1e-9)
    assert (t.steps >= 1).all()
    assert s.most_steps == t.steps.max()
    bounds = np.append(t.start, END)
    wanted = event_times(model(), model().defaults, slots_of(_rows(arm)), COLUMNS)
    for time in wanted[wanted < END]:
        assert np.abs(bounds - time).min() < 2e-9


def _rows(arm):
    a, infused, b = arm
    return [*((t, x, 0.0, 0) for t, x in a), *((t, x, d, 0) for t, x, d in infused), *((t, x, 0.0, 1) for t, x in b)]


@functools.cache
def traced(column, infused, count):
    del count  # the shape is part of what is compiled
    fixed = grid(END)
    static = {}

    @jax.jit
    def run(time, amount, duration):
        s = schedule(model(), model().defaults, COLUMNS, Slots(time, amount, duration, column, infused), fixed)
        static["most"] = s.most_steps
        return s.timeline._replace(phase=tuple(s.timeline.phase.values()))

    return run, static


@pytest.mark.parametrize("seed", range(40))
def test_traced_times_give_the_same_timeline(seed):
    """Evaluated at 200 times: payload so far, rates, phases, eras, positions; and steps bounded by what is promised."""
    rng = np.random.default_rng(seed)
    special = np.array([0.0, 1.0, 2.0, 2.25, 2.5, 3.0, 4.5, 9.75, END])
    time = np.where(rng.random(8) < 0.5, rng.choice(special, 8), np.round(rng.uniform(0, END, 8), 3))
    amount = rng.choice([0.0, 1.0, 2.5], 8)
    duration = np.array([0, 0, 0, 0.25, 1.0, 0, 0, 0.0])
    column = (0, 0, 0, 0, 0, 1, 1, 1)
    infused = tuple(bool(d > 0) for d in duration)
    known = schedule(model(), model().defaults, COLUMNS, Slots(time, amount, duration, column, infused), grid(END))
    plain = known.timeline
    run, static = traced(column, infused, len(time))
    ours = jax.tree.map(np.asarray, run(time, amount, duration))
    assert (ours.length >= 0).all()
    np.testing.assert_array_equal(ours.steps[ours.length == 0], 1)  # a step of nothing carries gradients across
    assert ours.steps.max() <= static["most"]
    assert static["most"] == 10
    at = np.sort(np.append(rng.uniform(0, END, 200), np.asarray(known.grid[:-1]) + 1e-6))
    at = at[np.min(np.abs(at[:, None] - np.append(plain.start, END)), axis=1) > 1e-8]
    mine, theirs = _covering(ours, at), _covering(plain, at)
    np.testing.assert_allclose(np.cumsum(ours.dose, 0)[mine], np.cumsum(plain.dose, 0)[theirs], atol=1e-12)
    np.testing.assert_allclose(ours.rate[mine], plain.rate[theirs], atol=1e-12)
    np.testing.assert_array_equal(ours.phase[0][mine], plain.phase["b", "oral"][theirs])
    np.testing.assert_array_equal(ours.era[mine], plain.era[theirs])
    np.testing.assert_array_equal(ours.steps[mine], plain.steps[theirs])
    # a grid time's bound comes before the doses of its instant
    np.testing.assert_allclose(np.append(ours.start, END)[ours.position], known.grid, atol=1e-12)
    before = np.concatenate([np.zeros((1, 3)), np.cumsum(ours.dose, 0)])[ours.position]
    expected = np.concatenate([np.zeros((1, 3)), np.cumsum(plain.dose, 0)])[plain.position]
    np.testing.assert_allclose(before, expected, atol=1e-12)


def _covering(timeline, at):
    """The segment of positive length that covers each time."""
    live = np.flatnonzero(timeline.length > 0)
    return live[np.searchsorted(timeline.start[live], at, "right") - 1]
